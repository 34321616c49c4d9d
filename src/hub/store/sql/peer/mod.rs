//! Peers: their rows, and what every change of one goes through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::check::{conflict, not_found};
use super::db::{RowExt as _, Run as _, Tx, is_unique, q, to_json, to_word};
use super::instance::{self, Inst, next_revision};
use super::list::Sql;
use super::{pool, prefix, rotate};
use crate::api::{AccountId, InstanceId, PeerId, PeerKind, SiteId, code};
use crate::domain::{Endpoint, PublicKey, Secret, SubnetSet};
use crate::hub::store::{Scope, Stored};
use crate::hub::wake::{Signal, Topic};

mod change;
mod create;
mod delete;
mod read;

pub(super) use change::edit;
pub(super) use create::create;
pub(super) use delete::delete;
pub(super) use read::{get, list, read, usage};

/// A handshake this young, in seconds, is a connection: WireGuard makes a new one every two minutes.
pub(super) const CONNECTED_WITHIN: i64 = 180;
/// What a gateway has not reported for this long, in seconds, nobody knows.
pub(super) const REPORTED_WITHIN: i64 = 60;
/// Keepalive of a peer that names none, in seconds: below the timeouts of NAT.
pub(super) const DEFAULT_KEEPALIVE: u16 = 25;

/// A row of `peer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pr {
    pub id: PeerId,
    pub instance: InstanceId,
    pub account: AccountId,
    pub kind: PeerKind,
    pub name: String,
    pub enabled: bool,
    pub site: Option<SiteId>,
    pub person: Option<String>,
    pub public_key: Option<PublicKey>,
    pub key_at: Option<i64>,
    /// The gateway's device that it is on.
    pub device: u32,
    /// Which tunnel in a row; how many were given out; from which revision of the agent's on.
    pub generation: u32,
    pub generations: u32,
    pub generation_revision: i64,
    pub preshared_key: Option<Secret>,
    pub host: u32,
    pub address4: Ipv4Addr,
    pub address6: Option<Ipv6Addr>,
    pub subnets: SubnetSet,
    pub reach: Option<SubnetSet>,
    pub route_all: bool,
    pub dns: Option<Vec<IpAddr>>,
    pub keepalive: u16,
    pub endpoint: Option<Endpoint>,
    pub revision: i64,
    pub agent_revision: i64,
    pub created_at: i64,
    pub version: i64,
}

impl Pr {
    pub fn from_row(row: &AnyRow) -> Stored<Self> {
        Ok(Self {
            id: row.word("id")?,
            instance: row.word("instance")?,
            account: row.word("account")?,
            kind: row.variant("kind")?,
            name: row.text("name")?,
            enabled: row.flag("enabled")?,
            site: row.opt_word("site")?,
            person: row.opt_text("person")?,
            public_key: row.opt_word("public_key")?,
            key_at: row.opt_int("key_at")?,
            device: row.small("device")?,
            generation: row.small("generation")?,
            generations: row.small("generations")?,
            generation_revision: row.int("generation_revision")?,
            preshared_key: row.opt_text("preshared_key")?.map(Secret::new),
            host: row.small("host")?,
            address4: row.word("address4")?,
            address6: row.opt_word("address6")?,
            subnets: row.json("subnets")?,
            reach: row.opt_json("reach")?,
            route_all: row.flag("route_all")?,
            dns: row.opt_json("dns")?,
            keepalive: row.small("keepalive")?,
            endpoint: row.opt_word("endpoint")?,
            revision: row.int("revision")?,
            agent_revision: row.int("agent_revision")?,
            created_at: row.int("created_at")?,
            version: row.int("version")?,
        })
    }

    pub fn addresses(&self) -> Vec<IpAddr> {
        std::iter::once(IpAddr::V4(self.address4)).chain(self.address6.map(IpAddr::V6)).collect()
    }

    /// Gives it the addresses of a host number.
    pub fn set_host(&mut self, inst: &Inst, host: u32) {
        self.host = host;
        self.address4 = pool::address4(inst.tunnel4, host);
        self.address6 = inst.tunnel6.map(|net| pool::address6(net, host));
    }

    pub fn object(&self) -> String {
        format!("peer {} ({})", self.id, self.name)
    }

    /// Whether a gateway has to hear of the difference.
    fn differs_at_gateway(&self, old: &Self) -> bool {
        self.enabled != old.enabled
            || self.public_key != old.public_key
            || self.device != old.device
            || self.preshared_key != old.preshared_key
            || self.host != old.host
            || self.subnets != old.subnets
            || self.route_all != old.route_all
            || self.endpoint != old.endpoint
            || self.keepalive != old.keepalive
    }

    /// Whether the peer's agent has to hear of the difference.
    fn differs_on_router(&self, old: &Self) -> bool {
        self.enabled != old.enabled
            || self.public_key != old.public_key
            || (self.device, self.generation) != (old.device, old.generation)
            || self.host != old.host
            || self.subnets != old.subnets
            || self.reach != old.reach
            || self.keepalive != old.keepalive
    }

    /// What subnets are called in requests for this kind.
    pub fn subnets_field(&self) -> &'static str {
        if self.kind == PeerKind::Remote { "allowed_ips" } else { "subnets" }
    }
}

/// Finds a peer and holds its instance until the change is made; out of scope, it does not exist.
pub(super) async fn lock(tx: &mut Tx, scope: &Scope, id: &PeerId) -> Stored<(Inst, Pr)> {
    let mut sql = Sql::new("SELECT instance FROM peer WHERE 1 = 1");
    sql.scope("account", scope).push(" AND id = ").bind(id.as_str().to_owned());
    let row = sql.query().maybe(tx).await?.ok_or_else(|| not_found("peer", id))?;
    let inst = instance::lock(tx, &Scope::All, &row.word("instance")?).await;
    // The instance may be gone since, and the peer with it.
    let inst = inst.map_err(|error| {
        if matches!(error, crate::hub::store::StoreError::NotFound { .. }) { not_found("peer", id) } else { error }
    })?;
    Ok((inst, find(tx, id).await?))
}

/// Reads a row.
pub(super) async fn find(connection: &mut AnyConnection, id: &PeerId) -> Stored<Pr> {
    let row = q!("SELECT peer.* FROM peer WHERE id = $1", id.as_str()).maybe(connection).await?;
    Pr::from_row(&row.ok_or_else(|| not_found("peer", id))?)
}

/// Holds a new or changed peer against all rules, writes it, and tells whom it concerns. No other peer's row is touched.
pub(super) async fn settle(tx: &mut Tx, inst: &mut Inst, old: Option<&Pr>, new: &mut Pr) -> Stored<()> {
    let field = new.subnets_field();
    free(tx, inst, new).await?;
    rotate::key_changes(tx, inst, old, new).await?;
    let subnets_changed = old.is_none_or(|old| old.subnets != new.subnets);
    let enabled_changed = old.is_some_and(|old| old.enabled != new.enabled);
    if subnets_changed {
        prefix::beside_tunnel(field, inst, &new.subnets)?;
    }
    if new.enabled && (subnets_changed || enabled_changed) {
        prefix::disjoint(tx, field, inst, &new.id, &new.subnets).await?;
    }
    // Whether it is enabled makes no difference: switching a peer off and on touches no other site's router.
    if subnets_changed && !(old.is_none() && new.subnets.is_empty()) {
        inst.offers_changed(tx.now_ms);
    }
    if old.is_none_or(|old| new.differs_at_gateway(old)) {
        new.revision = next_revision(tx, inst.gateway.as_ref()).await?;
    }
    if old.is_none_or(|old| new.differs_on_router(old)) {
        new.agent_revision = inst.agents_changed(tx);
        if old.is_some_and(|old| old.generation != new.generation) {
            new.generation_revision = new.agent_revision;
        }
        if new.kind == PeerKind::Site {
            tx.signal(Signal::Topic(Topic::Peer(new.id.clone())));
        }
    }
    let saved = if old.is_some() { update(tx, new).await } else { insert(tx, new).await };
    saved.map_err(|error| taken(error, new))?;
    if subnets_changed && (old.is_some_and(|old| !old.subnets.is_empty()) || !new.subnets.is_empty()) {
        prefix::write(tx, &inst.id, Some(&new.id), &new.subnets, new.enabled).await?;
    } else if enabled_changed {
        let enabled = i64::from(new.enabled);
        q!(
            "UPDATE prefix SET enabled = $3 WHERE instance = $1 AND peer = $2",
            inst.id.as_str(),
            new.id.as_str(),
            enabled
        )
        .run(tx)
        .await?;
    }
    inst.save_counters(tx).await
}

/// Refuses a name or key that another peer has, naming it.
async fn free(tx: &mut Tx, inst: &Inst, new: &Pr) -> Stored<()> {
    let row = q!(
        "SELECT id FROM peer WHERE instance = $1 AND name = $2 AND id <> $3",
        inst.id.as_str(),
        new.name.as_str(),
        new.id.as_str()
    );
    if let Some(row) = row.maybe(tx).await? {
        let detail = format!("peer {} has the name {:?} already", row.text("id")?, new.name);
        return Err(conflict("name", detail, code::NAME_TAKEN));
    }
    let Some(key) = &new.public_key else { return Ok(()) };
    if inst.public_key.as_ref() == Some(key) {
        return Err(conflict("public_key", "this is the key of the instance's own gateway", code::KEY_TAKEN));
    }
    rotate::key_is_free(tx, inst, &new.id, key).await?;
    let row = q!(
        "SELECT id, name FROM peer WHERE instance = $1 AND public_key = $2 AND id <> $3",
        inst.id.as_str(),
        key.to_string(),
        new.id.as_str()
    );
    let Some(row) = row.maybe(tx).await? else { return Ok(()) };
    let detail = format!("peer {} ({}) has this public key already", row.text("id")?, row.text("name")?);
    Err(conflict("public_key", detail, code::KEY_TAKEN))
}

/// The constraints' word, should a rule above have a hole.
fn taken(error: sqlx::Error, peer: &Pr) -> crate::hub::store::StoreError {
    if is_unique(&error) {
        return conflict("name", format!("peer {} meets another in name, key or address", peer.id), code::NAME_TAKEN);
    }
    error.into()
}

async fn insert(tx: &mut Tx, peer: &Pr) -> Result<(), sqlx::Error> {
    write(
        tx,
        "INSERT INTO peer (id, instance, account, kind, name, enabled, site, person, public_key, preshared_key, host, address4, \
         address6, subnets, reach, route_all, dns, keepalive, endpoint, revision, agent_revision, created_at, version, key_at, \
         device, generation, generations, generation_revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
         $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)",
        peer,
    )
    .await
}

async fn update(tx: &mut Tx, peer: &Pr) -> Result<(), sqlx::Error> {
    write(
        tx,
        "UPDATE peer SET instance = $2, account = $3, kind = $4, name = $5, enabled = $6, site = $7, person = $8, \
         public_key = $9, preshared_key = $10, host = $11, address4 = $12, address6 = $13, subnets = $14, reach = $15, \
         route_all = $16, dns = $17, keepalive = $18, endpoint = $19, revision = $20, agent_revision = $21, created_at = $22, \
         version = $23, key_at = $24, device = $25, generation = $26, generations = $27, generation_revision = $28 WHERE id = $1",
        peer,
    )
    .await
}

async fn write(tx: &mut Tx, sql: &'static str, peer: &Pr) -> Result<(), sqlx::Error> {
    let encode = |error: crate::hub::store::StoreError| sqlx::Error::Encode(error.into());
    q!(
        sql,
        peer.id.as_str(),
        peer.instance.as_str(),
        peer.account.as_str(),
        to_word(&peer.kind).map_err(encode)?,
        peer.name.as_str(),
        i64::from(peer.enabled),
        peer.site.as_ref().map(|site| site.as_str().to_owned()),
        peer.person.clone(),
        peer.public_key.map(|key| key.to_string()),
        peer.preshared_key.as_ref().map(|key| key.expose().to_owned()),
        i64::from(peer.host),
        peer.address4.to_string(),
        peer.address6.map(|address| address.to_string()),
        to_json(&peer.subnets).map_err(encode)?,
        peer.reach.as_ref().map(to_json).transpose().map_err(encode)?,
        i64::from(peer.route_all),
        peer.dns.as_ref().map(to_json).transpose().map_err(encode)?,
        i64::from(peer.keepalive),
        peer.endpoint.as_ref().map(ToString::to_string),
        peer.revision,
        peer.agent_revision,
        peer.created_at,
        peer.version,
        peer.key_at,
        i64::from(peer.device),
        i64::from(peer.generation),
        i64::from(peer.generations),
        peer.generation_revision
    )
    .run(tx)
    .await
    .map(|_| ())
}
