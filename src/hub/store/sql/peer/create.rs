//! Making a peer.

use std::net::IpAddr;

use super::{DEFAULT_KEEPALIVE, Pr, read, settle};
use crate::api::{InstanceId, NewPeer, Peer, PeerId, PeerKind, Protocol, SiteId, code};
use crate::domain::{PresharedKey, Secret, SubnetSet};
use crate::hub::store::sql::check::{invalid, name, not_found, prefixes};
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, q};
use crate::hub::store::sql::instance::{Inst, lock};
use crate::hub::store::sql::once::{Change, audit, fields, first_time};
use crate::hub::store::sql::secret::new_id;
use crate::hub::store::sql::{cap, pool, reach};
use crate::hub::store::{Actor, Once, StoreError, Stored};

/// Most DNS servers of a client.
const MAX_DNS: usize = 8;

pub(in crate::hub::store::sql) async fn create(
    db: &Db,
    by: &Actor,
    once: Option<&Once>,
    instance: &InstanceId,
    new: NewPeer,
) -> Stored<Peer> {
    protocol(&new)?;
    let mut tx = db.begin().await?;
    let mut inst = lock(&mut tx, &by.scope, instance).await?;
    let id: PeerId = new_id()?;
    let now = tx.now;
    if let Some(made) = first_time(&mut tx, by, once, id.as_str()).await? {
        let made = made.parse().map_err(|_| not_found("peer", &made))?;
        return read(&mut tx, &by.scope, &made, now).await;
    }
    cap::peer(&mut tx, &inst).await?;
    let mut peer = build(&mut tx, &inst, id, new).await?;
    let host = match peer.wanted {
        Some(address) => pool::take(&mut tx, &inst, address, None).await?,
        None => pool::next(&mut tx, &mut inst).await?,
    };
    peer.row.set_host(&inst, host);
    settle(&mut tx, &mut inst, None, &mut peer.row).await?;
    let made = read(&mut tx, &by.scope, &peer.row.id, now).await?;
    let change = Change {
        action: "peer.create",
        object: peer.row.object(),
        account: Some(&inst.account),
        before: None,
        after: fields(&made)?,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await?;
    Ok(made)
}

fn protocol(new: &NewPeer) -> Stored<()> {
    let (NewPeer::Site { protocol, .. } | NewPeer::Client { protocol, .. } | NewPeer::Remote { protocol, .. }) = new;
    match protocol {
        Protocol::Wireguard => Ok(()),
        Protocol::Openvpn => {
            Err(invalid("protocol", "OpenVPN is not served yet", code::PROTOCOL).hint("use wireguard"))
        }
    }
}

/// A row as it was asked for, without addresses.
struct Built {
    row: Pr,
    /// The tunnel address that was asked for.
    wanted: Option<IpAddr>,
}

async fn build(tx: &mut Tx, inst: &Inst, id: PeerId, new: NewPeer) -> Stored<Built> {
    let mut row = blank(inst, id, tx.now);
    let mut wanted = None;
    match new {
        NewPeer::Site { site, name: asked, subnets, reach, address, keepalive_secs, allow_broad, .. } => {
            let site_name = site_name(tx, inst, &site).await?;
            row.name = asked.unwrap_or(site_name);
            row.site = Some(site);
            row.subnets = prefixes("subnets", &subnets, allow_broad)?;
            row.reach = reach.map(|reach| own_reach(&reach, allow_broad)).transpose()?.flatten();
            row.keepalive = keepalive_secs.unwrap_or(DEFAULT_KEEPALIVE);
            wanted = address;
        }
        NewPeer::Client { user, name: asked, route_all, public_key, dns: servers, keepalive_secs, address, .. } => {
            name("user", &user)?;
            row.kind = PeerKind::Client;
            row.name = asked.unwrap_or_else(|| user.clone());
            row.person = Some(user);
            row.route_all = route_all;
            row.public_key = public_key;
            row.dns = servers.map(dns).transpose()?.flatten();
            row.keepalive = keepalive_secs.unwrap_or(DEFAULT_KEEPALIVE);
            wanted = address;
        }
        NewPeer::Remote {
            name: asked,
            public_key,
            endpoint,
            allowed_ips,
            preshared_key,
            keepalive_secs,
            allow_broad,
            ..
        } => {
            row.kind = PeerKind::Remote;
            row.name = asked;
            row.public_key = Some(public_key);
            row.endpoint = endpoint;
            row.subnets = prefixes("allowed_ips", &allowed_ips, allow_broad)?;
            row.preshared_key = preshared_key.map(psk).transpose()?.flatten();
            row.keepalive = keepalive_secs.unwrap_or(DEFAULT_KEEPALIVE);
        }
    }
    name("name", &row.name)?;
    Ok(Built { row, wanted })
}

fn blank(inst: &Inst, id: PeerId, now: i64) -> Pr {
    Pr {
        id,
        instance: inst.id.clone(),
        account: inst.account.clone(),
        kind: PeerKind::Site,
        name: String::new(),
        enabled: true,
        site: None,
        person: None,
        public_key: None,
        key_at: None,
        device: inst.device,
        generation: 0,
        generations: 0,
        generation_revision: 0,
        preshared_key: None,
        host: 0,
        address4: inst.tunnel4.network(),
        address6: None,
        subnets: SubnetSet::default(),
        reach: None,
        route_all: false,
        dns: None,
        keepalive: DEFAULT_KEEPALIVE,
        endpoint: None,
        revision: 0,
        agent_revision: 0,
        created_at: now,
        version: 1,
    }
}

/// The name of a site of the same account; another account's does not exist.
async fn site_name(tx: &mut Tx, inst: &Inst, site: &SiteId) -> Stored<String> {
    let row = q!("SELECT name FROM site WHERE id = $1 AND account = $2", site.as_str(), inst.account.as_str());
    let row = row.maybe(tx).await?.ok_or_else(|| not_found("site", site))?;
    row.text("name")
}

/// What a site may reach of its own; an empty list is what the instance offers to all.
pub(super) fn own_reach(asked: &[ipnet::IpNet], allow_broad: bool) -> Stored<Option<SubnetSet>> {
    let set = prefixes("reach", asked, allow_broad)?;
    if reach::carried(&set).len() > reach::MOST_PUBLISHED {
        let detail = format!("reach makes more than {} prefixes on a router", reach::MOST_PUBLISHED);
        return Err(
            invalid("reach", detail, code::LIMIT).hint("name wider prefixes: the site's own are left out of them")
        );
    }
    Ok(Some(set).filter(|set| !set.is_empty()))
}

/// A client's own DNS servers; an empty list is the instance's.
pub(super) fn dns(servers: Vec<IpAddr>) -> Stored<Option<Vec<IpAddr>>> {
    if servers.len() > MAX_DNS {
        return Err(invalid("dns", format!("at most {MAX_DNS} DNS servers"), code::INVALID));
    }
    Ok(Some(servers).filter(|servers| !servers.is_empty()))
}

/// A preshared key; an empty text is none. What is wrong with it never repeats it.
pub(super) fn psk(key: Secret) -> Stored<Option<Secret>> {
    if key.expose().is_empty() {
        return Ok(None);
    }
    let bad =
        |error: crate::domain::InvalidKey| -> StoreError { invalid("preshared_key", error.to_string(), code::INVALID) };
    let key: PresharedKey = key.expose().parse().map_err(bad)?;
    Ok(Some(Secret::new(key.expose_base64().to_string())))
}
