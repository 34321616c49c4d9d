//! What agents did by themselves, and what they found done: kept and listed like transitions, and as bounded.

use serde::Serialize;

use super::course::made_at;
use crate::api::{AgentReport, AgentReports, EventKind, MAX_EVENTS, Page, PeerId, SiteEvent, SiteId};
use crate::hub::store::sql::db::{Db, Dialect, RowExt as _, Run as _, Tx, q, to_json};
use crate::hub::store::sql::list::{Page as _, Sql};
use crate::hub::store::{Actor, Paging, Stored};

/// Most events kept of one peer: an agent that heals as often as it may takes a month and a half to fill it.
const MOST_EVENTS: i64 = 1000;

/// A row of `event` on its way, as JSON: one statement takes all of a batch.
#[derive(Serialize)]
struct EventRow<'a> {
    peer: &'a str,
    site: &'a str,
    at: i64,
    kind: EventKind,
    code: &'a str,
    words: &'a str,
}

/// Keeps the events of reports that are new.
pub(super) async fn save(
    tx: &mut Tx,
    peer: &PeerId,
    site: &str,
    batch: &AgentReports,
    new: &[&AgentReport],
) -> Stored<()> {
    let rows: Vec<_> = new
        .iter()
        .flat_map(|report| report.events.iter().take(MAX_EVENTS).map(move |event| (report, event)))
        .map(|(report, event)| EventRow {
            peer: peer.as_str(),
            site,
            // As long before its report as the agent says, by the hub's clock; never after it.
            at: made_at(batch, report, tx.now).saturating_sub(report.at.saturating_sub(event.at).max(0)),
            kind: event.kind,
            code: &event.code,
            words: &event.words,
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let from = match tx.dialect {
        Dialect::Sqlite => {
            "SELECT json_extract(value, '$.peer'), json_extract(value, '$.site'), json_extract(value, '$.at'), \
             json_extract(value, '$.kind'), json_extract(value, '$.code'), json_extract(value, '$.words') \
             FROM json_each($1) ORDER BY key"
        }
        Dialect::Postgres => {
            "SELECT r.row->>'peer', r.row->>'site', (r.row->>'at')::bigint, r.row->>'kind', r.row->>'code', r.row->>'words' \
             FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS r(row, place) ORDER BY r.place"
        }
    };
    let mut sql = Sql::new("");
    sql.bind(to_json(&rows)?);
    let text = format!("INSERT INTO event (peer, site, at, kind, code, words) {from}");
    sql.with_text(text).query().run(tx).await?;
    // Bounded where it grows.
    q!(
        "DELETE FROM event WHERE peer = $1 AND number <= \
         (SELECT number FROM event WHERE peer = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
        peer.as_str(),
        MOST_EVENTS
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Lists a site's events, newest first.
pub(in crate::hub::store::sql) async fn events(
    db: &Db,
    by: &Actor,
    id: &SiteId,
    paging: &Paging,
) -> Stored<Page<SiteEvent>> {
    let mut connection = db.read().await?;
    super::super::site::read(&mut connection, &by.scope, id).await?;
    let mut sql = Sql::new("SELECT number, peer, at, kind, code, words FROM event WHERE site = ");
    sql.bind(id.as_str().to_owned());
    if let Some(before) = paging.cursor.as_deref() {
        sql.push(" AND number < ").bind(before.parse::<i64>().map_err(|_| super::read::no_cursor())?);
    }
    sql.push(" ORDER BY number DESC LIMIT ").bind(paging.more());
    let mut items = Vec::new();
    for row in sql.query().all(&mut connection).await? {
        items.push(SiteEvent {
            number: row.int("number")?,
            peer: row.word("peer")?,
            at: row.int("at")?,
            kind: row.variant("kind")?,
            code: row.text("code")?,
            words: row.text("words")?,
        });
    }
    Ok(paging.page(items, |event| event.number.to_string()))
}
