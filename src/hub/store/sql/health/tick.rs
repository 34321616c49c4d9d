//! Marks agents that are silent, and forgets what is old, a little at a time.

use super::take::{TransitionRow, save_transitions};
use super::{KEEP_HOURS, KEEP_RAW, SILENT_AFTER};
use crate::api::TunnelState;
use crate::hub::store::Stored;
use crate::hub::store::sql::db::{Db, Dialect, RowExt as _, Run as _, Tx, q, to_json};

/// Agents marked in one change: a few milliseconds' work. The rest follow at once.
const SILENT_AT_ONCE: i64 = 500;
/// Rows forgotten by one statement of a round. A round a minute keeps pace with 60,000 rows an hour, six times what 10,000 peers make.
const PRUNE_AT_ONCE: i64 = 1_000;
/// The cause of a state that nobody told.
const AGENT_SILENT: &str = "agent-silent";

/// Who is silent: agents that once reported and have not for [`SILENT_AFTER`].
const SILENT: &str = "FROM agent a JOIN peer p ON p.id = a.peer WHERE a.heard_at < $1 AND a.state <> 'stale'";

/// Changes nothing, and is refused wherever what agents say could not be written.
const CAN_WRITE: &str = "UPDATE agent SET cause = cause WHERE peer = ''";

/// Marks agents stale that are silent by the hub's own clock. `listening_since` is when this hub began to hear: its own absence is
/// no silence of theirs. So long as it could not write what they say, it does not hear them: this fails then.
pub(in crate::hub::store::sql) async fn mark_silent(db: &Db, now: i64, listening_since: i64) -> Stored<()> {
    db.alone(q!(CAN_WRITE)).await?;
    let before = now - SILENT_AFTER;
    if listening_since > before {
        return Ok(());
    }
    let any = format!("SELECT 1 {SILENT} LIMIT 1");
    // Each round is a change of its own, so that what agents say comes between.
    while q!(sqlx::AssertSqlSafe(any.clone()), before).maybe(&mut *db.read().await?).await?.is_some() {
        let mut tx = db.begin().await?;
        let marked = mark(&mut tx, before).await?;
        tx.commit().await?;
        if marked == 0 {
            break;
        }
    }
    Ok(())
}

async fn mark(tx: &mut Tx, before: i64) -> Stored<usize> {
    // In the order of all who write what agents say.
    let hold = tx.dialect.lock("a");
    let text = format!("SELECT a.peer, a.state, p.site {SILENT} ORDER BY a.peer LIMIT $2{hold}");
    let rows = q!(sqlx::AssertSqlSafe(text), before, SILENT_AT_ONCE).all(tx).await?;
    let mut silent: Vec<(String, String, TunnelState)> = Vec::with_capacity(rows.len());
    for row in rows {
        silent.push((row.text("peer")?, row.opt_text("site")?.unwrap_or_default(), row.variant("state")?));
    }
    if silent.is_empty() {
        return Ok(0);
    }
    let list = match tx.dialect {
        Dialect::Sqlite => "SELECT value FROM json_each($1)",
        Dialect::Postgres => "SELECT jsonb_array_elements_text($1::jsonb)",
    };
    let peers: Vec<&str> = silent.iter().map(|(peer, ..)| peer.as_str()).collect();
    let text = format!("UPDATE agent SET state = 'stale', since = $2, cause = '{AGENT_SILENT}' WHERE peer IN ({list})");
    q!(sqlx::AssertSqlSafe(text), to_json(&peers)?, tx.now).run(tx).await?;
    let at = tx.now;
    let evidence = format!("the agent said nothing for {SILENT_AFTER} s");
    let rows: Vec<_> = silent
        .iter()
        .map(|(peer, site, was)| TransitionRow {
            peer,
            site,
            at,
            was: *was,
            state: TunnelState::Stale,
            cause: Some(AGENT_SILENT),
            evidence: Some(&evidence),
        })
        .collect();
    save_transitions(tx, &rows).await?;
    Ok(rows.len())
}

/// Forgets raw points, hours and transitions that are old, and what is left of peers that are gone.
pub(in crate::hub::store::sql) async fn prune(tx: &mut Tx) -> Stored<()> {
    let row = if tx.dialect == Dialect::Sqlite { "rowid" } else { "ctid" };
    let old = |change: &str, table: &str, which: &str| {
        format!("{change} WHERE {row} IN (SELECT {row} FROM {table} WHERE {which} < $1 LIMIT $2)")
    };
    for (text, keep) in [
        (old("UPDATE health_hour SET raw = NULL", "health_hour", "raw IS NOT NULL AND hour"), KEEP_RAW + super::HOUR),
        (old("DELETE FROM health_hour", "health_hour", "hour"), KEEP_HOURS),
        (old("DELETE FROM transition", "transition", "at"), KEEP_HOURS),
        (old("DELETE FROM event", "event", "at"), KEEP_HOURS),
    ] {
        q!(sqlx::AssertSqlSafe(text), tx.now - keep, PRUNE_AT_ONCE).run(tx).await?;
    }
    prune_gone(tx, row).await
}

async fn prune_gone(tx: &mut Tx, row: &str) -> Stored<()> {
    let mut left = PRUNE_AT_ONCE;
    for found in q!("SELECT peer FROM gone ORDER BY peer LIMIT $1", PRUNE_AT_ONCE).all(tx).await? {
        let peer = found.text("peer")?;
        for table in ["health_hour", "transition", "event"] {
            let text =
                format!("DELETE FROM {table} WHERE {row} IN (SELECT {row} FROM {table} WHERE peer = $1 LIMIT $2)");
            let removed = q!(sqlx::AssertSqlSafe(text), peer.as_str(), left).run(tx).await?;
            left -= i64::try_from(removed).unwrap_or(left);
        }
        if left <= 0 {
            return Ok(());
        }
        q!("DELETE FROM gone WHERE peer = $1", peer.as_str()).run(tx).await?;
        left -= 1;
    }
    Ok(())
}
