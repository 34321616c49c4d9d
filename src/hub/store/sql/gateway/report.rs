//! What gateways see of their peers: five hundred in one short transaction of a few statements.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::{GatewayId, GatewayReport, MAX_REPORTS, PeerTraffic, ReportsTaken, code};
use crate::hub::store::Stored;
use crate::hub::store::sql::check::{invalid, not_found};
use crate::hub::store::sql::db::{Db, Dialect, RowExt as _, Run as _, Tx, plus, q, to_int, to_json};
use crate::hub::store::sql::list::Sql;
use crate::hub::store::sql::usage::period;

/// Longest epoch, in characters.
const MAX_EPOCH: usize = 64;

/// A row of `link` on its way, as JSON: one statement takes all of a report.
#[derive(Serialize)]
struct LinkRow {
    peer: String,
    handshake_at: Option<i64>,
    connected_since: Option<i64>,
    endpoint: Option<String>,
    rx: i64,
    tx: i64,
    revision: i64,
}

/// Traffic to be added up.
#[derive(Serialize)]
struct TrafficRow {
    kind: &'static str,
    object: String,
    rx: i64,
    tx: i64,
}

pub(in crate::hub::store::sql) async fn report(db: &Db, id: &GatewayId, report: GatewayReport) -> Stored<ReportsTaken> {
    check(&report)?;
    let mut tx = db.begin().await?;
    let mut hold = Sql::new("SELECT epoch, number FROM gateway_seen WHERE gateway = ");
    hold.bind(id.as_str().to_owned()).push(&tx.dialect.lock("gateway_seen"));
    let row = hold.query().maybe(&mut tx).await?.ok_or_else(|| not_found("gateway", id))?;
    let same_epoch = row.text("epoch")? == report.epoch;
    let stored = if same_epoch { row.int("number")? } else { 0 };
    if report.number <= stored {
        return Ok(ReportsTaken { number: stored, gateway_online: None });
    }
    let (links, traffic) = known(&mut tx, id, &report, same_epoch).await?;
    if !links.is_empty() {
        save_links(&mut tx, &links).await?;
    }
    if !traffic.is_empty() {
        save_traffic(&mut tx, &traffic).await?;
    }
    q!(
        "UPDATE gateway_seen SET seen_at = $2, epoch = $3, number = $4 WHERE gateway = $1",
        id.as_str(),
        tx.now,
        report.epoch.as_str(),
        report.number
    )
    .run(&mut tx)
    .await?;
    tx.commit().await?;
    Ok(ReportsTaken { number: report.number, gateway_online: None })
}

fn check(report: &GatewayReport) -> Stored<()> {
    if report.peers.len() > MAX_REPORTS {
        return Err(invalid("peers", format!("at most {MAX_REPORTS} in a report"), code::INVALID));
    }
    if !(1..=MAX_EPOCH).contains(&report.epoch.chars().count()) || report.epoch.chars().any(char::is_control) {
        return Err(invalid("epoch", format!("an epoch has 1 to {MAX_EPOCH} characters"), code::INVALID));
    }
    if report.number < 1 {
        return Err(invalid("number", "the first report has the number 1", code::INVALID));
    }
    Ok(())
}

/// Of what is reported, that which this gateway serves; and what it adds to the traffic.
async fn known(
    tx: &mut Tx,
    id: &GatewayId,
    report: &GatewayReport,
    same_epoch: bool,
) -> Stored<(Vec<LinkRow>, Vec<TrafficRow>)> {
    let tx_now = tx.now;
    // Times are the gateway's: what counts is how long ago they were.
    let here = |at: i64| tx_now.saturating_sub(report.at.saturating_sub(at).max(0));
    let reported: BTreeMap<&str, &PeerTraffic> = report.peers.iter().map(|peer| (peer.peer.as_str(), peer)).collect();
    let ids = to_json(&reported.keys().collect::<Vec<_>>())?;
    // SQLite would go through all peers of the gateway, and for each through the whole report: CROSS keeps the order.
    let (list, join) = match tx.dialect {
        Dialect::Sqlite => ("SELECT value AS id FROM json_each($2)", "CROSS JOIN"),
        Dialect::Postgres => ("SELECT r.id FROM jsonb_array_elements_text($2::jsonb) AS r(id)", "JOIN"),
    };
    let mut sql = Sql::new("");
    sql.bind(id.as_str().to_owned()).bind(ids);
    let mut sql = sql.with_text(format!(
        "SELECT p.id, p.instance, l.rx, l.tx FROM ({list}) AS n {join} peer p ON p.id = n.id {join} instance i ON i.id = p.instance \
         LEFT JOIN link l ON l.peer = p.id WHERE i.gateway = $1"
    ));
    sql.push(" ORDER BY p.id");
    let mut links = Vec::with_capacity(reported.len());
    let mut traffic: BTreeMap<(&'static str, String), (i64, i64)> = BTreeMap::new();
    for row in sql.query().all(tx).await? {
        let peer = row.text("id")?;
        let Some(seen) = reported.get(peer.as_str()) else { continue };
        let (rx, more_rx) = grown(row.opt_int("rx")?, to_int(seen.rx_bytes), same_epoch);
        let (tx, more_tx) = grown(row.opt_int("tx")?, to_int(seen.tx_bytes), same_epoch);
        let more = (more_rx, more_tx);
        for place in [("instance", row.text("instance")?), ("peer", peer.clone())] {
            let sum = traffic.entry(place).or_default();
            *sum = (sum.0.saturating_add(more.0), sum.1.saturating_add(more.1));
        }
        links.push(LinkRow {
            peer,
            handshake_at: seen.handshake_at.map(here),
            connected_since: seen.connected_since.map(here),
            endpoint: seen.endpoint.map(|endpoint| endpoint.to_string()),
            rx,
            tx,
            revision: seen.revision,
        });
    }
    let moved = traffic.into_iter().filter(|(_, sum)| *sum != (0, 0));
    Ok((links, moved.map(|((kind, object), (rx, tx))| TrafficRow { kind, object, rx, tx }).collect()))
}

/// The total to keep, and what was added to it. Within an epoch it never falls, and one that did is not believed; with a new epoch
/// the gateway may have lost its count and begun again at 0.
fn grown(before: Option<i64>, now: i64, same_epoch: bool) -> (i64, i64) {
    let before = before.unwrap_or(0);
    match (now >= before, same_epoch) {
        (true, _) => (now, now - before),
        (false, true) => (before, 0),
        (false, false) => (now, now),
    }
}

async fn save_links(tx: &mut Tx, links: &[LinkRow]) -> Stored<()> {
    let rows = match tx.dialect {
        Dialect::Sqlite => {
            "SELECT json_extract(value, '$.peer'), json_extract(value, '$.handshake_at'), \
             json_extract(value, '$.connected_since'), json_extract(value, '$.endpoint'), json_extract(value, '$.rx'), \
             json_extract(value, '$.tx'), $2, json_extract(value, '$.revision') FROM json_each($1) WHERE true"
        }
        Dialect::Postgres => {
            "SELECT r.peer, r.handshake_at, r.connected_since, r.endpoint, r.rx, r.tx, $2, r.revision \
             FROM jsonb_to_recordset($1::jsonb) AS r(peer TEXT, handshake_at BIGINT, connected_since BIGINT, endpoint TEXT, \
             rx BIGINT, tx BIGINT, revision BIGINT)"
        }
    };
    let mut sql = Sql::new("");
    sql.bind(to_json(links)?).bind(tx.now);
    let sql = sql.with_text(format!(
        "INSERT INTO link (peer, handshake_at, connected_since, endpoint, rx, tx, reported_at, gateway_revision) {rows} \
         ON CONFLICT (peer) DO UPDATE SET handshake_at = excluded.handshake_at, connected_since = excluded.connected_since, \
         endpoint = COALESCE(excluded.endpoint, link.endpoint), rx = excluded.rx, tx = excluded.tx, \
         reported_at = excluded.reported_at, gateway_revision = excluded.gateway_revision"
    ));
    sql.query().run(tx).await?;
    Ok(())
}

async fn save_traffic(tx: &mut Tx, traffic: &[TrafficRow]) -> Stored<()> {
    let rows = match tx.dialect {
        Dialect::Sqlite => {
            "SELECT json_extract(value, '$.kind'), json_extract(value, '$.object'), $2, json_extract(value, '$.rx'), \
             json_extract(value, '$.tx') FROM json_each($1) WHERE true"
        }
        Dialect::Postgres => {
            "SELECT r.kind, r.object, $2, r.rx, r.tx \
             FROM jsonb_to_recordset($1::jsonb) AS r(kind TEXT, object TEXT, rx BIGINT, tx BIGINT)"
        }
    };
    let mut sql = Sql::new("");
    sql.bind(to_json(traffic)?).bind(period(tx.now));
    let sql = sql.with_text(format!(
        "INSERT INTO traffic (kind, object, period, rx, tx) {rows} \
         ON CONFLICT (kind, object, period) DO UPDATE SET rx = {}, tx = {}",
        plus("traffic.rx", "excluded.rx"),
        plus("traffic.tx", "excluded.tx")
    ));
    sql.query().run(tx).await?;
    Ok(())
}
