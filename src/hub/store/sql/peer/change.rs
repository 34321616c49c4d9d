//! Changing a peer: live, and no other peer is touched.

use super::create::{dns, own_reach, psk};
use super::{Pr, lock, read, settle};
use crate::api::{Peer, PeerEdit, PeerId, PeerKind, code};
use crate::hub::store::sql::check::{invalid, name, prefixes, version};
use crate::hub::store::sql::db::{Db, Tx};
use crate::hub::store::sql::instance::Inst;
use crate::hub::store::sql::once::{Change, audit, fields};
use crate::hub::store::sql::pool;
use crate::hub::store::{Actor, Stored};

pub(in crate::hub::store::sql) async fn edit(
    db: &Db,
    by: &Actor,
    id: &PeerId,
    if_match: Option<i64>,
    edit: PeerEdit,
) -> Stored<Peer> {
    let mut tx = db.begin().await?;
    let (mut inst, old) = lock(&mut tx, &by.scope, id).await?;
    version("peer", id, old.version, if_match)?;
    let now = tx.now;
    let before = read(&mut tx, &by.scope, id, now).await?;
    let action = action(&edit);
    let mut new = old.clone();
    merge(&mut tx, &inst, &mut new, edit).await?;
    if new == old {
        return Ok(before);
    }
    new.version += 1;
    settle(&mut tx, &mut inst, Some(&old), &mut new).await?;
    let after = read(&mut tx, &by.scope, id, now).await?;
    let change = Change {
        action,
        object: new.object(),
        account: Some(&inst.account),
        before: fields(&before)?,
        after: fields(&after)?,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await?;
    Ok(after)
}

/// An edit that only switches has a name of its own in the audit log.
fn action(edit: &PeerEdit) -> &'static str {
    let only_switch = PeerEdit { enabled: edit.enabled, ..PeerEdit::default() } == *edit;
    match edit.enabled {
        Some(true) if only_switch => "peer.enable",
        Some(false) if only_switch => "peer.disable",
        _ => "peer.edit",
    }
}

/// Refuses fields that the peer's kind does not have.
fn fits(kind: PeerKind, edit: &PeerEdit) -> Stored<()> {
    use PeerKind::{Client, Remote, Site};
    let fields: [(&str, bool, &[PeerKind]); 9] = [
        ("subnets", edit.subnets.is_some(), &[Site, Remote]),
        ("reach", edit.reach.is_some(), &[Site]),
        ("route_all", edit.route_all.is_some(), &[Client]),
        ("user", edit.user.is_some(), &[Client]),
        ("public_key", edit.public_key.is_some(), &[Client, Remote]),
        ("dns", edit.dns.is_some(), &[Client]),
        ("endpoint", edit.endpoint.is_some(), &[Remote]),
        ("preshared_key", edit.preshared_key.is_some(), &[Remote]),
        ("allow_broad", edit.allow_broad, &[Site, Remote]),
    ];
    let foreign = fields.iter().find(|(_, set, kinds)| *set && !kinds.contains(&kind));
    let Some((field, ..)) = foreign else { return Ok(()) };
    let (what, why) = match kind {
        Site if *field == "public_key" => ("site", "; its key comes from its router"),
        Site => ("site", ""),
        Client => ("client", ""),
        Remote => ("remote", ""),
    };
    Err(invalid(*field, format!("a {what} peer has no `{field}` to change{why}"), code::INVALID))
}

async fn merge(tx: &mut Tx, inst: &Inst, peer: &mut Pr, edit: PeerEdit) -> Stored<()> {
    fits(peer.kind, &edit)?;
    if let Some(new) = edit.name {
        name("name", &new)?;
        peer.name = new;
    }
    if let Some(user) = edit.user {
        name("user", &user)?;
        peer.person = Some(user);
    }
    if let Some(subnets) = edit.subnets {
        peer.subnets = prefixes("subnets", &subnets, edit.allow_broad)?;
    }
    if let Some(reach) = edit.reach {
        peer.reach = own_reach(&reach, edit.allow_broad)?;
    }
    if let Some(servers) = edit.dns {
        peer.dns = dns(servers)?;
    }
    if let Some(key) = edit.preshared_key {
        peer.preshared_key = psk(key)?;
    }
    if let Some(address) = edit.address {
        let host = pool::take(tx, inst, address, Some(&peer.id)).await?;
        peer.set_host(inst, host);
    }
    peer.enabled = edit.enabled.unwrap_or(peer.enabled);
    peer.route_all = edit.route_all.unwrap_or(peer.route_all);
    peer.public_key = edit.public_key.or(peer.public_key);
    peer.keepalive = edit.keepalive_secs.unwrap_or(peer.keepalive);
    peer.endpoint = edit.endpoint.or_else(|| peer.endpoint.clone());
    Ok(())
}
