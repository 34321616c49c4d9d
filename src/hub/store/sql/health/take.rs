//! Writes what follows from a batch of reports, in the transaction that takes it.

use serde::Serialize;
use sqlx::any::AnyRow;

use super::MOST_TRANSITIONS;
use super::course::{Change, Course, Hour, Standing, made_at};
use crate::api::{AgentReport, AgentReports, HealthSample, PeerId, TunnelState};
use crate::hub::store::Stored;
use crate::hub::store::sql::db::{Dialect, RowExt as _, Run as _, Tx, plus, q, to_int, to_json};
use crate::hub::store::sql::list::Sql;

/// A row of `transition` on its way, as JSON: one statement takes all of a change.
#[derive(Serialize)]
pub(super) struct TransitionRow<'a> {
    pub peer: &'a str,
    pub site: &'a str,
    pub at: i64,
    pub was: TunnelState,
    pub state: TunnelState,
    pub cause: Option<&'a str>,
    pub evidence: Option<&'a str>,
}

/// Takes reports in order, all of them newer than what is there; `row` is the peer's of `agent`, with its site.
pub(in crate::hub::store::sql) async fn take(
    tx: &mut Tx,
    peer: &PeerId,
    row: &AnyRow,
    batch: &AgentReports,
    new: &[&AgentReport],
) -> Stored<()> {
    let Some(newest) = new.last() else { return Ok(()) };
    let mut course = Course::begin(standing(row)?, tx.now);
    for report in new {
        course.step(report, made_at(batch, report, tx.now));
    }
    for (hour, more) in &course.hours {
        save_hour(tx, peer, *hour, more).await?;
    }
    if let Some(site) = row.opt_text("site")? {
        if !course.changes.is_empty() {
            save_changes(tx, peer, &site, &course.changes).await?;
        }
        super::events::save(tx, peer, &site, batch, new).await?;
    }
    let cause = match course.changes.last() {
        Some(change) => change.cause.clone(),
        None => row.opt_text("cause")?,
    };
    let sample = new.iter().rev().find_map(|report| report.sample.as_ref()).map(to_json).transpose()?;
    let dropped = plus("dropped", "$5");
    let text = format!(
        "UPDATE agent SET epoch_before = CASE WHEN epoch = $6 THEN epoch_before ELSE epoch END, epoch = $6, number = $2, says = $3, \
         said_at = $4, dropped = {dropped}, state = $7, since = $8, cause = $9, heard_at = $10, counted_at = $11, findings = $12, \
         sample = COALESCE($13, sample), told = $7 WHERE peer = $1"
    );
    q!(
        sqlx::AssertSqlSafe(text),
        peer.as_str(),
        newest.number,
        newest.tunnel.verdict.as_str(),
        newest.at,
        to_int(batch.dropped),
        batch.epoch.as_str(),
        course.standing.state.unwrap_or(TunnelState::Unknown).word(),
        course.standing.since,
        cause,
        tx.now,
        course.standing.counted_at,
        to_json(&newest.findings)?,
        sample
    )
    .run(tx)
    .await?;
    Ok(())
}

fn standing(row: &AnyRow) -> Stored<Standing> {
    if row.opt_text("state")?.is_none() {
        return Ok(Standing::default());
    }
    let sample: HealthSample = row.opt_json("sample")?.unwrap_or_default();
    Ok(Standing {
        state: Some(row.variant("state")?),
        since: row.opt_int("since")?.unwrap_or(0),
        told: row.opt_text("told")?.map(|_| row.variant("told")).transpose()?,
        counted_at: row.opt_int("counted_at")?.unwrap_or(0),
        rx: sample.rx_bytes,
        tx: sample.tx_bytes,
    })
}

async fn save_hour(tx: &mut Tx, peer: &PeerId, hour: i64, more: &Hour) -> Stored<()> {
    let sum = |column: &str| format!("{column} = health_hour.{column} + excluded.{column}");
    let most = |column: &str| {
        format!(
            "{column} = CASE WHEN excluded.{column} > health_hour.{column} THEN excluded.{column} ELSE health_hour.{column} END"
        )
    };
    let sums = ["up", "degraded", "down", "disabled", "losses", "loss_sum", "rtts", "rtt_sum", "points"].map(sum);
    let (rx, tx_bytes) = (plus("health_hour.rx", "excluded.rx"), plus("health_hour.tx", "excluded.tx"));
    // What a row had before decides: a column of an UPDATE is that of before. NULL and a text are NULL: what was forgotten stays so.
    let text = format!(
        "INSERT INTO health_hour (peer, hour, up, degraded, down, disabled, losses, loss_sum, loss_max, rtts, rtt_min, rtt_sum, \
         rtt_max, rx, tx, points, raw) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
         ON CONFLICT (peer, hour) DO UPDATE SET {sums}, {loss_max}, {rtt_max}, \
         rtt_min = CASE WHEN health_hour.rtts = 0 OR (excluded.rtts > 0 AND excluded.rtt_min < health_hour.rtt_min) \
         THEN excluded.rtt_min ELSE health_hour.rtt_min END, rx = {rx}, tx = {tx_bytes}, \
         raw = CASE WHEN health_hour.points >= {points} THEN health_hour.raw ELSE health_hour.raw || excluded.raw END",
        sums = sums.join(", "),
        loss_max = most("loss_max"),
        rtt_max = most("rtt_max"),
        points = super::MOST_POINTS,
    );
    let mut raw = String::new();
    for point in &more.points {
        raw.push_str(&to_json(point)?);
        raw.push(',');
    }
    let mut sql = Sql::new("");
    sql.bind(peer.as_str().to_owned()).bind(hour);
    let numbers = [
        more.up,
        more.degraded,
        more.down,
        more.disabled,
        more.losses,
        more.loss_sum,
        more.loss_max,
        more.rtts,
        more.rtt_min,
        more.rtt_sum,
        more.rtt_max,
    ];
    for number in numbers.into_iter().chain([to_int(more.rx), to_int(more.tx), to_int(more.points.len() as u64)]) {
        sql.bind(number);
    }
    sql.bind(raw);
    sql.with_text(text).query().run(tx).await?;
    Ok(())
}

async fn save_changes(tx: &mut Tx, peer: &PeerId, site: &str, changes: &[Change]) -> Stored<()> {
    let rows: Vec<_> = changes
        .iter()
        .map(|change| TransitionRow {
            peer: peer.as_str(),
            site,
            at: change.at,
            was: change.was,
            state: change.state,
            cause: change.cause.as_deref(),
            evidence: change.evidence.as_deref(),
        })
        .collect();
    save_transitions(tx, &rows).await?;
    // Bounded where it grows: this happens when a state changes, and touches one peer's rows by their index.
    q!(
        "DELETE FROM transition WHERE peer = $1 AND number <= \
         (SELECT number FROM transition WHERE peer = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
        peer.as_str(),
        MOST_TRANSITIONS
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Writes transitions in their order.
pub(super) async fn save_transitions(tx: &mut Tx, rows: &[TransitionRow<'_>]) -> Stored<()> {
    let from = match tx.dialect {
        Dialect::Sqlite => {
            "SELECT json_extract(value, '$.peer'), json_extract(value, '$.site'), json_extract(value, '$.at'), \
             json_extract(value, '$.was'), json_extract(value, '$.state'), json_extract(value, '$.cause'), \
             json_extract(value, '$.evidence') FROM json_each($1) ORDER BY key"
        }
        Dialect::Postgres => {
            "SELECT r.row->>'peer', r.row->>'site', (r.row->>'at')::bigint, r.row->>'was', r.row->>'state', r.row->>'cause', \
             r.row->>'evidence' FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS r(row, place) ORDER BY r.place"
        }
    };
    let mut sql = Sql::new("");
    sql.bind(to_json(rows)?);
    let text = format!("INSERT INTO transition (peer, site, at, was, state, cause, evidence) {from}");
    sql.with_text(text).query().run(tx).await?;
    Ok(())
}
