//! Both ends of a site's tunnels, joined; transitions and hours in pages; how a month went.

use std::collections::HashMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::course::Point;
use super::{HOUR, SILENT_AFTER};
use crate::api::{
    AgentEnd, Availability, GatewayEnd, HealthHour, HealthPoint, Page, PeerHealth, RoundTrip, SiteHealth, SiteId,
    SiteVerdict, Transition, code,
};
use crate::hub::store::sql::check::invalid;
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, q};
use crate::hub::store::sql::gateway::HEARD_WITHIN;
use crate::hub::store::sql::list::{Page as _, Sql};
use crate::hub::store::sql::peer::REPORTED_WITHIN;
use crate::hub::store::sql::usage::{month, period};
use crate::hub::store::verdict::{Ends, Switch, verdict};
use crate::hub::store::{Actor, Paging, StoreError, Stored};

/// Most peers of a site that are shown, in the order of ids: a site has one for each instance that it is in.
const MOST_PEERS: i64 = 256;
/// Transitions that are shown with a site's health.
const LAST_TRANSITIONS: usize = 10;

const PEERS: &str = "SELECT p.id, p.name, p.enabled, p.created_at, p.instance, i.name AS instance_name, i.suspended, \
    CASE WHEN p.public_key IS NULL THEN 0 ELSE 1 END AS has_key, w.seen_at, l.handshake_at, l.endpoint, l.rx, l.tx, l.reported_at, \
    a.state, a.since, a.heard_at, a.findings, a.sample, a.dropped FROM peer p JOIN instance i ON i.id = p.instance \
    LEFT JOIN gateway_seen w ON w.gateway = i.gateway LEFT JOIN link l ON l.peer = p.id LEFT JOIN agent a ON a.peer = p.id \
    WHERE p.site = $1 ORDER BY p.id LIMIT $2";

pub(in crate::hub::store::sql) async fn site(
    db: &Db,
    by: &Actor,
    id: &SiteId,
    wanted: Option<&str>,
) -> Stored<SiteHealth> {
    let now = db.clock.now();
    let wanted = wanted.map_or_else(|| period(now), str::to_owned);
    let span = month(&wanted)
        .ok_or_else(|| invalid("month", "a month is a year and a month, such as 2026-11", code::INVALID))?;
    let mut snapshot = db.snapshot().await?;
    let site = super::super::site::read(&mut snapshot, &by.scope, id).await?;
    let sums = sums(&mut snapshot, id, span).await?;
    let mut peers = Vec::new();
    for row in q!(PEERS, id.as_str(), MOST_PEERS).all(&mut snapshot).await? {
        let sum = sums.get(&row.text("id")?).copied().unwrap_or_default();
        // Before the peer was made there was nothing to watch.
        let watched = (span.0.max(row.int("created_at")?), span.1.min(now));
        peers.push(peer(&row, sum.availability(&wanted, watched.1.saturating_sub(watched.0)), now)?);
    }
    let last = Paging { cursor: None, limit: LAST_TRANSITIONS };
    let transitions = list_transitions(&mut snapshot, id, &last).await?.items;
    snapshot.commit().await?;
    let verdict = SiteVerdict::gravest(peers.iter().map(|peer| peer.verdict));
    Ok(SiteHealth { site: site.id, name: site.name, verdict, frozen: site.frozen, peers, transitions })
}

fn peer(row: &AnyRow, availability: Availability, now: i64) -> Stored<PeerHealth> {
    let ago = |at: i64| u64::try_from(now.saturating_sub(at)).unwrap_or(0);
    let (enabled, suspended) = (row.flag("enabled")?, row.flag("suspended")?);
    let reported_at = row.opt_int("reported_at")?;
    let gateway = GatewayEnd {
        enabled: enabled && !suspended,
        online: row.opt_int("seen_at")?.is_some_and(|at| at >= now - HEARD_WITHIN),
        reported_at,
        handshake_age_secs: row.opt_int("handshake_at")?.map(ago),
        endpoint: row.opt_word("endpoint")?,
        rx_bytes: row.opt_small("rx")?.unwrap_or(0),
        tx_bytes: row.opt_small("tx")?.unwrap_or(0),
    };
    let agent = agent(row)?;
    let (verdict, findings) = verdict(&Ends {
        switch: match (enabled, suspended) {
            (false, _) => Switch::PeerOff,
            (true, true) => Switch::Suspended,
            (true, false) => Switch::On,
        },
        has_key: row.flag("has_key")?,
        fresh: gateway.online && reported_at.is_some_and(|at| at >= now - REPORTED_WITHIN),
        gateway: &gateway,
        agent: agent.as_ref(),
        silent: agent.as_ref().is_some_and(|agent| now.saturating_sub(agent.heard_at) > SILENT_AFTER),
        now,
    });
    Ok(PeerHealth {
        peer: row.word("id")?,
        name: row.text("name")?,
        instance: row.word("instance")?,
        instance_name: row.text("instance_name")?,
        verdict,
        findings,
        gateway,
        agent,
        availability,
    })
}

fn agent(row: &AnyRow) -> Stored<Option<AgentEnd>> {
    let (Some(since), Some(heard_at)) = (row.opt_int("since")?, row.opt_int("heard_at")?) else { return Ok(None) };
    Ok(Some(AgentEnd {
        state: row.variant("state")?,
        since,
        heard_at,
        findings: row.opt_json("findings")?.unwrap_or_default(),
        sample: row.opt_json("sample")?,
        dropped: row.opt_small("dropped")?.unwrap_or(0),
    }))
}

/// Seconds of a month in each state.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    up: u64,
    degraded: u64,
    down: u64,
    disabled: u64,
}

impl Sums {
    fn availability(self, month: &str, watched: i64) -> Availability {
        let (good, known) = (self.up + self.degraded, self.up + self.degraded + self.down);
        let ppm = (good * 1_000_000).checked_div(known).and_then(|ppm| u32::try_from(ppm).ok());
        Availability {
            month: month.to_owned(),
            up_secs: self.up,
            degraded_secs: self.degraded,
            down_secs: self.down,
            disabled_secs: self.disabled,
            unknown_secs: u64::try_from(watched).unwrap_or(0).saturating_sub(known + self.disabled),
            available_ppm: ppm,
        }
    }
}

async fn sums(connection: &mut AnyConnection, id: &SiteId, (from, to): (i64, i64)) -> Stored<HashMap<String, Sums>> {
    // PostgreSQL's sum of BIGINT is a NUMERIC.
    let rows = q!(
        "SELECT h.peer, CAST(SUM(h.up) AS BIGINT) AS up, CAST(SUM(h.degraded) AS BIGINT) AS degraded, \
         CAST(SUM(h.down) AS BIGINT) AS down, CAST(SUM(h.disabled) AS BIGINT) AS disabled \
         FROM peer p JOIN health_hour h ON h.peer = p.id WHERE p.site = $1 AND h.hour >= $2 AND h.hour < $3 GROUP BY h.peer",
        id.as_str(),
        from,
        to
    );
    let mut sums = HashMap::new();
    for row in rows.all(connection).await? {
        let seconds = Sums {
            up: row.count("up")?,
            degraded: row.count("degraded")?,
            down: row.count("down")?,
            disabled: row.count("disabled")?,
        };
        sums.insert(row.text("peer")?, seconds);
    }
    Ok(sums)
}

pub(in crate::hub::store::sql) async fn transitions(
    db: &Db,
    by: &Actor,
    id: &SiteId,
    paging: &Paging,
) -> Stored<Page<Transition>> {
    let mut connection = db.read().await?;
    super::super::site::read(&mut connection, &by.scope, id).await?;
    list_transitions(&mut connection, id, paging).await
}

async fn list_transitions(connection: &mut AnyConnection, id: &SiteId, paging: &Paging) -> Stored<Page<Transition>> {
    let mut sql = Sql::new("SELECT number, peer, at, was, state, cause, evidence FROM transition WHERE site = ");
    sql.bind(id.as_str().to_owned());
    if let Some(before) = paging.cursor.as_deref() {
        sql.push(" AND number < ").bind(before.parse::<i64>().map_err(|_| no_cursor())?);
    }
    sql.push(" ORDER BY number DESC LIMIT ").bind(paging.more());
    let mut items = Vec::new();
    for row in sql.query().all(connection).await? {
        items.push(Transition {
            number: row.int("number")?,
            peer: row.word("peer")?,
            at: row.int("at")?,
            was: row.variant("was")?,
            state: row.variant("state")?,
            cause: row.opt_text("cause")?,
            evidence: row.opt_text("evidence")?,
        });
    }
    Ok(paging.page(items, |transition| transition.number.to_string()))
}

pub(super) fn no_cursor() -> StoreError {
    invalid("cursor", "this is no `next` of a page", code::INVALID)
}

pub(in crate::hub::store::sql) async fn hours(
    db: &Db,
    by: &Actor,
    id: &SiteId,
    paging: &Paging,
) -> Stored<Page<HealthHour>> {
    let mut connection = db.read().await?;
    super::super::site::read(&mut connection, &by.scope, id).await?;
    let mut sql = Sql::new("SELECT h.* FROM peer p JOIN health_hour h ON h.peer = p.id WHERE p.site = ");
    sql.bind(id.as_str().to_owned());
    if let Some(cursor) = paging.cursor.as_deref() {
        let (hour, peer) = cursor.split_once('-').ok_or_else(no_cursor)?;
        let hour = hour.parse::<i64>().map_err(|_| no_cursor())?;
        sql.push(" AND (h.hour < ").bind(hour).push(" OR (h.hour = ").bind(hour);
        sql.push(" AND h.peer > ").bind(peer.replace('\0', "")).push("))");
    }
    sql.push(" ORDER BY h.hour DESC, h.peer LIMIT ").bind(paging.more());
    let rows = sql.query().all(&mut connection).await?;
    let items = rows.iter().map(hour).collect::<Stored<Vec<_>>>()?;
    Ok(paging.page(items, |hour| format!("{}-{}", hour.at, hour.peer)))
}

fn hour(row: &AnyRow) -> Stored<HealthHour> {
    let at = row.int("hour")?;
    let (losses, rtts) = (row.count("losses")?, row.count("rtts")?);
    let mean = row.count("loss_sum")?.checked_div(losses).and_then(|mean| u8::try_from(mean).ok());
    let rtt = row.count("rtt_sum")?.checked_div(rtts);
    Ok(HealthHour {
        peer: row.word("peer")?,
        at,
        up_secs: row.count("up")?,
        degraded_secs: row.count("degraded")?,
        down_secs: row.count("down")?,
        disabled_secs: row.count("disabled")?,
        loss_percent: mean,
        loss_percent_max: mean.map(|_| row.small("loss_max")).transpose()?,
        rtt_us: match rtt {
            Some(avg) => Some(RoundTrip { min: row.count("rtt_min")?, avg, max: row.count("rtt_max")? }),
            None => None,
        },
        rx_bytes: row.count("rx")?,
        tx_bytes: row.count("tx")?,
        points: points(at, row.opt_text("raw")?.as_deref().unwrap_or_default())?,
    })
}

/// Reads the points of an hour: JSON arrays, each with a comma behind it.
fn points(at: i64, raw: &str) -> Stored<Vec<HealthPoint>> {
    let list = format!("[{}]", raw.trim_end_matches(','));
    let points: Vec<Point> = serde_json::from_str(&list)
        .map_err(|error| StoreError::Corrupt { path: "its column raw".to_owned(), source: Box::new(error) })?;
    let point = |(second, state, loss_percent, rtt_us, handshake_age_secs): Point| HealthPoint {
        at: at + second.rem_euclid(HOUR),
        state,
        loss_percent,
        rtt_us,
        handshake_age_secs,
    };
    Ok(points.into_iter().map(point).collect())
}
