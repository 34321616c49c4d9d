//! Peers as they are shown: with what is known of their tunnels, in one query for a whole page.

use std::net::IpAddr;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::{CONNECTED_WITHIN, REPORTED_WITHIN};
use crate::api::{Link, Page, Peer, PeerId, Protocol, Usage};
use crate::hub::store::sql::check::not_found;
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, q, to_word};
use crate::hub::store::sql::list::{Page as _, Sql};
use crate::hub::store::sql::rotate;
use crate::hub::store::sql::usage::{KEPT_PERIODS, from_row as usage_row, period};
use crate::hub::store::{Actor, Paging, PeerFilter, Scope, Stored};

/// A peer's status in a word: the one place where it is decided.
macro_rules! status {
    () => {
        "CASE WHEN p.enabled = 0 THEN 'disabled' WHEN p.public_key IS NULL THEN 'waiting' \
         WHEN l.reported_at IS NULL OR l.reported_at < $1 THEN 'unknown' \
         WHEN l.handshake_at >= $2 THEN 'connected' ELSE 'offline' END"
    };
}

const SELECT: &str = concat!(
    "SELECT p.id, p.instance, p.account, p.kind, p.name, p.enabled, p.site, p.person, p.public_key, p.address4, p.address6, \
     p.subnets, p.reach, p.route_all, p.dns, p.keepalive, p.endpoint, p.revision, p.agent_revision, p.created_at, p.version, \
     p.key_at, p.device, p.generation, m.generation AS next_generation, m.device AS next_device, m.public_key AS next_key, \
     m.step, m.step_at, m.since, m.cause, CASE WHEN p.preshared_key IS NULL THEN 0 ELSE 1 END AS preshared, i.name AS instance_name, \
     i.agent_revision AS all_revision, l.handshake_at, l.connected_since, l.endpoint AS seen_at, l.rx AS link_rx, \
     l.tx AS link_tx, l.reported_at, CASE WHEN w.applied_revision >= p.revision AND COALESCE(f.revision, -1) <> p.revision \
     THEN p.revision ELSE l.gateway_revision END AS gateway_revision, CASE WHEN f.revision = p.revision AND \
     COALESCE(l.gateway_revision, 0) <> p.revision THEN f.error END AS gateway_error, g.router_revision, g.says, g.said_at, t.rx, t.tx, ",
    status!(),
    " AS status FROM peer p JOIN instance i ON i.id = p.instance LEFT JOIN site s ON s.id = p.site \
     LEFT JOIN link l ON l.peer = p.id LEFT JOIN agent g ON g.peer = p.id LEFT JOIN failure f ON f.peer = p.id \
     LEFT JOIN gateway_seen w ON w.gateway = i.gateway LEFT JOIN moving m ON m.peer = p.id \
     LEFT JOIN traffic t ON t.kind = 'peer' AND t.object = p.id AND t.period = $3 WHERE 1 = 1"
);

fn select(now: i64) -> Sql {
    Sql::with(SELECT, [now - REPORTED_WITHIN, now - CONNECTED_WITHIN], period(now))
}

fn from_row(row: &AnyRow, now: i64) -> Stored<Peer> {
    let four: IpAddr = row.word("address4")?;
    Ok(Peer {
        id: row.word("id")?,
        instance: row.word("instance")?,
        instance_name: row.text("instance_name")?,
        account: row.word("account")?,
        kind: row.variant("kind")?,
        name: row.text("name")?,
        protocol: Protocol::Wireguard,
        enabled: row.flag("enabled")?,
        status: row.variant("status")?,
        site: row.opt_word("site")?,
        user: row.opt_text("person")?,
        public_key: row.opt_word("public_key")?,
        key_at: row.opt_int("key_at")?,
        device: row.small("device")?,
        generation: row.small("generation")?,
        next: rotate::shown(row)?,
        addresses: std::iter::once(four).chain(row.opt_word("address6")?).collect(),
        subnets: row.json("subnets")?,
        reach: row.opt_json("reach")?,
        route_all: row.flag("route_all")?,
        dns: row.opt_json("dns")?,
        keepalive_secs: row.small("keepalive")?,
        remote_endpoint: row.opt_word("endpoint")?,
        preshared_key: row.flag("preshared")?,
        link: link(row, now)?,
        usage: Usage {
            period: period(now),
            rx_bytes: row.opt_small("rx")?.unwrap_or(0),
            tx_bytes: row.opt_small("tx")?.unwrap_or(0),
        },
        created_at: row.int("created_at")?,
        version: row.int("version")?,
    })
}

fn link(row: &AnyRow, now: i64) -> Stored<Link> {
    let handshake_at = row.opt_int("handshake_at")?;
    Ok(Link {
        handshake_at,
        // A gateway's clock may be ahead of ours: an age is never negative.
        handshake_age_secs: handshake_at.map(|at| u64::try_from(now.saturating_sub(at)).unwrap_or(0)),
        endpoint: row.opt_word("seen_at")?,
        connected_since: row.opt_int("connected_since")?,
        rx_bytes: row.opt_small("link_rx")?.unwrap_or(0),
        tx_bytes: row.opt_small("link_tx")?.unwrap_or(0),
        reported_at: row.opt_int("reported_at")?,
        revision: row.int("agent_revision")?.max(row.int("all_revision")?),
        router_revision: row.opt_int("router_revision")?,
        gateway_wanted: row.int("revision")?,
        gateway_revision: row.opt_int("gateway_revision")?,
        gateway_error: row.opt_text("gateway_error")?,
        agent_says: row.opt_text("says")?,
        agent_at: row.opt_int("said_at")?,
    })
}

/// Reads a peer as it is shown.
pub(in crate::hub::store::sql) async fn read(
    connection: &mut AnyConnection,
    scope: &Scope,
    id: &PeerId,
    now: i64,
) -> Stored<Peer> {
    let mut sql = select(now);
    sql.scope("p.account", scope).push(" AND p.id = ").bind(id.as_str().to_owned());
    let row = sql.query().maybe(connection).await?;
    from_row(&row.ok_or_else(|| not_found("peer", id))?, now)
}

pub(in crate::hub::store::sql) async fn get(db: &Db, by: &Actor, id: &PeerId) -> Stored<Peer> {
    read(&mut *db.read().await?, &by.scope, id, db.clock.now()).await
}

pub(in crate::hub::store::sql) async fn list(
    db: &Db,
    by: &Actor,
    filter: &PeerFilter,
    paging: &Paging,
) -> Stored<Page<Peer>> {
    let now = db.clock.now();
    let mut sql = select(now);
    sql.scope("p.account", &by.scope);
    if let Some(instance) = &filter.instance {
        sql.push(" AND p.instance = ").bind(instance.as_str().to_owned());
    }
    if let Some(site) = &filter.site {
        sql.push(" AND p.site = ").bind(site.as_str().to_owned());
    }
    if let Some(kind) = &filter.kind {
        sql.push(" AND p.kind = ").bind(to_word(kind)?);
    }
    if let Some(status) = &filter.status {
        sql.push(concat!(" AND ", status!(), " = ")).bind(to_word(status)?);
    }
    sql.search(&["p.name", "p.person", "s.name", "i.name"], filter.search.as_deref());
    sql.after("p.id", paging);
    let rows = sql.query().all(&mut *db.read().await?).await?;
    let items = rows.iter().map(|row| from_row(row, now)).collect::<Stored<_>>()?;
    Ok(paging.page(items, |peer: &Peer| peer.id.to_string()))
}

pub(in crate::hub::store::sql) async fn usage(db: &Db, by: &Actor, id: &PeerId) -> Stored<Vec<Usage>> {
    let mut connection = db.read().await?;
    let mut sql = Sql::new("SELECT id FROM peer WHERE 1 = 1");
    sql.scope("account", &by.scope).push(" AND id = ").bind(id.as_str().to_owned());
    sql.query().maybe(&mut connection).await?.ok_or_else(|| not_found("peer", id))?;
    let rows = q!(
        "SELECT period, rx, tx FROM traffic WHERE kind = 'peer' AND object = $1 ORDER BY period DESC LIMIT $2",
        id.as_str(),
        KEPT_PERIODS
    );
    rows.all(&mut connection).await?.iter().map(usage_row).collect()
}
