//! Instances: their rows, and what follows from a change of one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sqlx::any::AnyRow;

use super::check::not_found;
use super::db::{RowExt as _, Run as _, Tx, q};
use super::list::Sql;
use crate::api::{AccountId, GatewayId, InstanceId, InstanceStatus, Policy};
use crate::domain::{Endpoint, Host, InstanceName, PublicKey, SubnetSet};
use crate::hub::store::{Scope, Stored};
use crate::hub::wake::{Signal, Topic};

pub(super) mod assign;
mod change;
mod create;
mod life;
mod read;

pub(super) use assign::{Assigned, assign};
pub(super) use change::edit;
pub(super) use create::create;
pub(super) use life::{delete, fail, retry, suspend};
pub(super) use read::{get, list, read as shown, usage};

/// From a change of what is offered to its publication: changes that come together are told once.
const DEBOUNCE_MS: i64 = 200;
/// Later changes do not put it off longer than this in all.
const DEBOUNCE_MOST_MS: i64 = 500;

/// A row of `instance`.
#[derive(Debug, Clone)]
pub(super) struct Inst {
    pub id: InstanceId,
    pub account: AccountId,
    pub name: InstanceName,
    pub hostname: String,
    pub region: String,
    pub suspended: bool,
    pub state: InstanceStatus,
    pub reason: Option<String>,
    pub gateway: Option<GatewayId>,
    pub asked_port: Option<u16>,
    pub listen_port: Option<u16>,
    pub tunnel4: Ipv4Net,
    pub tunnel6: Option<Ipv6Net>,
    pub dns: Vec<IpAddr>,
    pub search: Vec<String>,
    pub pushed: SubnetSet,
    pub policy: Policy,
    pub public_key: Option<PublicKey>,
    pub key_at: Option<i64>,
    /// The number of the device that key and port are of; how many were given out.
    pub device: u32,
    pub devices: u32,
    pub rotating_since: Option<i64>,
    pub rotate_days: Option<u32>,
    /// What sites were last told that they may reach.
    pub reach: SubnetSet,
    pub reach_since_ms: Option<i64>,
    pub reach_due_ms: Option<i64>,
    pub agent_counter: i64,
    pub agent_revision: i64,
    pub revision: i64,
    pub cursor: i64,
    pub created_at: i64,
    pub version: i64,
}

impl Inst {
    pub fn from_row(row: &AnyRow) -> Stored<Self> {
        Ok(Self {
            id: row.word("id")?,
            account: row.word("account")?,
            name: row.word("name")?,
            hostname: row.text("hostname")?,
            region: row.text("region")?,
            suspended: row.flag("suspended")?,
            state: row.variant("state")?,
            reason: row.opt_text("reason")?,
            gateway: row.opt_word("gateway")?,
            asked_port: row.opt_small("asked_port")?,
            listen_port: row.opt_small("listen_port")?,
            tunnel4: row.word("tunnel4")?,
            tunnel6: row.opt_word("tunnel6")?,
            dns: row.json("dns")?,
            search: row.json("search")?,
            pushed: row.json("pushed")?,
            policy: Policy { client_to_client: row.flag("client_to_client")?, site_to_site: row.flag("site_to_site")? },
            public_key: row.opt_word("public_key")?,
            key_at: row.opt_int("key_at")?,
            device: row.small("device")?,
            devices: row.small("devices")?,
            rotating_since: row.opt_int("rotating_since")?,
            rotate_days: row.opt_small("rotate_days")?,
            reach: row.json("reach")?,
            reach_since_ms: row.opt_int("reach_since_ms")?,
            reach_due_ms: row.opt_int("reach_due_ms")?,
            agent_counter: row.int("agent_counter")?,
            agent_revision: row.int("agent_revision")?,
            revision: row.int("revision")?,
            cursor: row.int("cursor")?,
            created_at: row.int("created_at")?,
            version: row.int("version")?,
        })
    }

    /// The tunnel's networks.
    pub fn tunnels(&self) -> impl Iterator<Item = IpNet> + '_ {
        std::iter::once(IpNet::V4(self.tunnel4)).chain(self.tunnel6.map(IpNet::V6))
    }

    /// Notes that what is offered has changed. It is told later, once for all changes that come together; who reads the offers
    /// meanwhile knows by the counter that there was another one since.
    pub fn offers_changed(&mut self, now_ms: i64) {
        self.count(now_ms);
        let since = *self.reach_since_ms.get_or_insert(now_ms);
        self.reach_due_ms = Some((now_ms + DEBOUNCE_MS).min(since + DEBOUNCE_MOST_MS));
    }

    /// Counts a change that concerns agents, by the clock as gateways' are.
    pub fn agents_changed(&mut self, tx: &Tx) -> i64 {
        self.count(tx.now_ms);
        self.agent_counter
    }

    fn count(&mut self, now_ms: i64) {
        self.agent_counter = (self.agent_counter + 1).max(now_ms.saturating_mul(1000));
    }

    /// Counts a change that concerns all agents of the instance, and wakes them, some at a time.
    pub fn all_agents_changed(&mut self, tx: &mut Tx) {
        self.agent_revision = self.agents_changed(tx);
        tx.signal(Signal::Reach(self.id.clone()));
    }

    /// Writes what a change of a peer moves: counters, when what is offered is due, where the pool stands.
    pub async fn save_counters(&self, tx: &mut Tx) -> Stored<()> {
        q!(
            "UPDATE instance SET agent_counter = $2, agent_revision = $3, cursor = $4, reach_since_ms = $5, \
             reach_due_ms = $6 WHERE id = $1",
            self.id.as_str(),
            self.agent_counter,
            self.agent_revision,
            self.cursor,
            self.reach_since_ms,
            self.reach_due_ms
        )
        .run(tx)
        .await?;
        Ok(())
    }

    pub fn object(&self) -> String {
        format!("instance {} ({})", self.id, self.name)
    }

    /// Why nobody could reach the gateway: its own address lies in the tunnel, and would be sought inside it.
    pub fn swallowed(&self, public_host: Option<&str>) -> Option<String> {
        let address = host_address(public_host)?;
        let tunnel = self.tunnels().find(|tunnel| tunnel.contains(&address))?;
        Some(format!("the gateway's own address {address} lies in the tunnel subnet {tunnel}"))
    }

    /// Where peers connect to, once a gateway has it that can be reached.
    pub fn endpoint(&self, domain: Option<&str>, public_host: Option<&str>) -> Option<Endpoint> {
        if self.swallowed(public_host).is_some() {
            return None;
        }
        let host: Host = match domain {
            Some(domain) => format!("{}.{domain}", self.hostname).parse().ok()?,
            None => public_host?.parse().ok()?,
        };
        self.gateway.as_ref()?;
        Some(Endpoint { host, port: self.listen_port? })
    }
}

/// A gateway's public host, where it is an address.
pub(super) fn host_address(public_host: Option<&str>) -> Option<IpAddr> {
    public_host?.parse().ok()
}

/// Reads an instance and holds it until the change is made; out of scope, it does not exist.
pub(super) async fn lock(tx: &mut Tx, scope: &Scope, id: &InstanceId) -> Stored<Inst> {
    let mut sql = Sql::new("SELECT instance.* FROM instance WHERE 1 = 1");
    sql.scope("account", scope).push(" AND id = ").bind(id.as_str().to_owned()).push(&tx.dialect.lock("instance"));
    let row = sql.query().maybe(tx).await?;
    Inst::from_row(&row.ok_or_else(|| not_found("instance", id))?)
}

/// Counts a change for the gateway of an instance and wakes it; 0 as long as there is none.
pub(super) async fn next_revision(tx: &mut Tx, gateway: Option<&GatewayId>) -> Stored<i64> {
    next_revisions(tx, gateway, 1).await
}

/// Counts several changes at once; returns the last of their numbers. They follow the clock, in microseconds, so that a store that
/// was set back to an older state never gives out a number again.
pub(super) async fn next_revisions(tx: &mut Tx, gateway: Option<&GatewayId>, count: i64) -> Stored<i64> {
    let Some(gateway) = gateway else { return Ok(0) };
    let next = q!(
        "UPDATE gateway SET revision = CASE WHEN revision + $2 > $3 THEN revision + $2 ELSE $3 END WHERE id = $1 \
         RETURNING revision",
        gateway.as_str(),
        count,
        tx.now_us()
    );
    let row = next.one(tx).await?;
    tx.signal(Signal::Topic(Topic::Gateway(gateway.clone())));
    row.int("revision")
}
