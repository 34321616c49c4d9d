//! Housekeeping: gateways for instances that wait, reach that is due, and what is old enough to forget.

use std::sync::atomic::{AtomicI64, Ordering};

use ipnet::IpNet;

use super::db::{Db, Dialect, RowExt as _, Run as _, Tx, q, to_json};
use super::freeze;
use super::gateway::HEARD_WITHIN;
use super::health;
use super::instance::{self, Assigned, assign};
use super::once::{Change, audit};
use super::reach;
use super::rotate;
use super::usage::{KEPT_PERIODS, period};
use crate::api::{InstanceId, InstanceStatus};
use crate::domain::SubnetSet;
use crate::hub::store::{Census, Scope, StoreError, Stored};

/// Between two rounds of forgetting, and of looking for gateways, in milliseconds.
const PRUNE_EVERY_MS: i64 = 60_000;
const ASSIGN_EVERY_MS: i64 = 1_000;
/// Between two looks for agents that are silent, in milliseconds.
const SILENT_EVERY_MS: i64 = 10_000;
/// A hub whose last such look that the database answered is longer ago than this, in milliseconds, was away: three in a row were
/// missed. Agents that then wait a minute before they try again are heard well before [`health::SILENT_AFTER`] is over.
const AWAY_AFTER_MS: i64 = 30_000;
const _: () = assert!(AWAY_AFTER_MS > 2 * SILENT_EVERY_MS, "one look that fails is no absence");
/// Instances taken care of in one round; the rest in the next, a moment later.
const AT_ONCE: i64 = 100;
/// How long things are kept, in seconds: idempotency keys a day, removals a week, what ended a month, the audit log 400 days.
const KEEP_ONCE: i64 = 24 * 3600;
const KEEP_REMOVAL: i64 = 7 * 24 * 3600;
const KEEP_ENDED: i64 = 30 * 24 * 3600;
const KEEP_AUDIT: i64 = 400 * 24 * 3600;
/// Rows forgotten by one statement: a round stays short.
const PRUNE_AT_ONCE: i64 = 5_000;

/// When what was done last, by this replica, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pruned: AtomicI64,
    assigned: AtomicI64,
    silent: AtomicI64,
    /// When the last look for silent agents began that the database answered.
    looked: AtomicI64,
    /// Since when this replica hears agents without having been away.
    began: AtomicI64,
}

impl Rounds {
    pub fn begin(now_ms: i64) -> Self {
        Self { looked: AtomicI64::new(now_ms), began: AtomicI64::new(now_ms), ..Self::default() }
    }

    /// Since when this replica hears agents. It begins anew if it was away, and if its clock was set: silence is not to be told
    /// from either.
    fn hears_since(&self, now_ms: i64) -> i64 {
        if !(0..=AWAY_AFTER_MS).contains(&now_ms.saturating_sub(self.looked.load(Ordering::Relaxed))) {
            self.began.store(now_ms, Ordering::Relaxed);
        }
        self.began.load(Ordering::Relaxed)
    }

    /// The database answered a look that began then.
    fn looked(&self, at_ms: i64) {
        self.looked.store(at_ms, Ordering::Relaxed);
    }
}

/// Whether a round is due; if so, it counts as begun. One that lies in the future is: the clock was set back.
fn due(last: &AtomicI64, now_ms: i64, every: i64) -> bool {
    let before = last.load(Ordering::Relaxed);
    !(0..every).contains(&now_ms.saturating_sub(before))
        && last.compare_exchange(before, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

pub(super) async fn tick(db: &Db, rounds: &Rounds) -> Stored<()> {
    let now_ms = db.clock.now_ms();
    let mut parts = Parts { failed: Ok(()) };
    parts.ran("publish", publish(db, now_ms).await);
    if due(&rounds.assigned, now_ms, ASSIGN_EVERY_MS) {
        parts.ran("find gateways", find_gateways(db).await);
        parts.ran("end freezes", freeze::thaw_due(db).await);
        parts.ran("rotate", rotate::tick(db).await);
    }
    if due(&rounds.silent, now_ms, SILENT_EVERY_MS) {
        parts.ran("mark the silent", mark_silent(db, rounds).await);
    }
    if due(&rounds.pruned, now_ms, PRUNE_EVERY_MS) {
        parts.ran("rotate by policy", rotate::by_policy(db).await);
        parts.ran("forget", prune(db).await);
    }
    parts.failed
}

/// What came of the parts of a round: one that fails keeps no other from running.
struct Parts {
    /// The first failure.
    failed: Stored<()>,
}

impl Parts {
    fn ran(&mut self, part: &str, outcome: Stored<()>) {
        match outcome {
            Err(error) if self.failed.is_ok() => self.failed = Err(error),
            Err(error) => tracing::debug!(part, %error, "another part of housekeeping failed"),
            Ok(()) => {}
        }
    }
}

/// Looks for agents that are silent. One time is used throughout: what passes while this waits is no silence.
async fn mark_silent(db: &Db, rounds: &Rounds) -> Stored<()> {
    let now_ms = db.clock.now_ms();
    health::mark_silent(db, now_ms / 1000, rounds.hears_since(now_ms) / 1000).await?;
    rounds.looked(now_ms);
    Ok(())
}

/// Tells the sites of each instance whose time has come what they may reach now.
async fn publish(db: &Db, now_ms: i64) -> Stored<()> {
    let rows = q!("SELECT id FROM instance WHERE reach_due_ms <= $1 ORDER BY reach_due_ms LIMIT $2", now_ms, AT_ONCE);
    for row in rows.all(&mut *db.read().await?).await? {
        let id: InstanceId = row.word("id")?;
        // Ten thousand prefixes are merged before anything is held: other changes go on meanwhile.
        let Some((counter, reach)) = offered(db, &id).await? else { continue };
        let mut tx = db.begin().await?;
        let mut inst = match instance::lock(&mut tx, &Scope::All, &id).await {
            Ok(inst) => inst,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        // Another replica may have been here, or a change has put it off.
        if inst.reach_due_ms.is_none_or(|due| due > now_ms) {
            continue;
        }
        (inst.reach_since_ms, inst.reach_due_ms) = (None, None);
        if inst.agent_counter != counter {
            // What came since the reading is told next time; waiting for a quiet moment could take for ever.
            inst.offers_changed(tx.now_ms);
        }
        if inst.reach != reach {
            inst.all_agents_changed(&mut tx);
            q!("UPDATE instance SET reach = $2 WHERE id = $1", id.as_str(), to_json(&reach)?).run(&mut tx).await?;
        }
        inst.save_counters(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// All that is offered now: the tunnel, what is pushed, and what peers have, enabled or not; and the count of changes that it is of.
async fn offered(db: &Db, id: &InstanceId) -> Stored<Option<(i64, SubnetSet)>> {
    let mut snapshot = db.snapshot().await?;
    let row = q!("SELECT agent_counter, pushed FROM instance WHERE id = $1", id.as_str()).maybe(&mut snapshot).await?;
    let Some(row) = row else { return Ok(None) };
    let prefixes = q!("SELECT net FROM prefix WHERE instance = $1", id.as_str()).all(&mut snapshot).await?;
    snapshot.commit().await?;
    let mut nets: Vec<IpNet> = row.json::<SubnetSet>("pushed")?.iter().collect();
    for prefix in prefixes {
        nets.push(prefix.word("net")?);
    }
    Ok(Some((row.int("agent_counter")?, reach::published(nets))))
}

/// Looks for gateways for instances that have none.
async fn find_gateways(db: &Db) -> Stored<()> {
    let waiting = q!(
        "SELECT i.id FROM instance i WHERE i.gateway IS NULL AND i.state = 'deploying' AND EXISTS \
         (SELECT 1 FROM gateway g JOIN gateway_seen s ON s.gateway = g.id WHERE g.region = i.region AND s.seen_at >= $1) \
         ORDER BY i.created_at, i.id LIMIT $2",
        db.clock.now() - HEARD_WITHIN,
        AT_ONCE
    );
    for row in waiting.all(&mut *db.read().await?).await? {
        let id: InstanceId = row.word("id")?;
        let mut tx = db.begin().await?;
        let mut inst = match instance::lock(&mut tx, &Scope::All, &id).await {
            Ok(inst) => inst,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        if inst.gateway.is_some() {
            continue;
        }
        let account = Scope::Account(inst.account.clone());
        match assign(&mut tx, &mut inst, &account).await? {
            Assigned::Done => tx.commit().await?,
            Assigned::NoGateway => {}
            Assigned::Unfit(unfit) => {
                instance::fail(&mut tx, &mut inst, unfit.why).await?;
                tx.commit().await?;
            }
        }
    }
    Ok(())
}

async fn prune(db: &Db) -> Stored<()> {
    let mut tx = db.begin().await?;
    let now = tx.now;
    prune_removals(&mut tx, now - KEEP_REMOVAL).await?;
    let row = if tx.dialect == Dialect::Sqlite { "rowid" } else { "ctid" };
    for (table, ended, keep) in [
        ("once", "at", KEEP_ONCE),
        ("audit", "at", KEEP_AUDIT),
        ("token", "revoked_at", KEEP_ENDED),
        ("credential", "revoked_at", KEEP_ENDED),
    ] {
        let text =
            format!("DELETE FROM {table} WHERE {row} IN (SELECT {row} FROM {table} WHERE {ended} < $1 LIMIT $2)");
        // A gateway goes on by its token's row, so that one stays.
        let text = if table == "token" { text.replace(" LIMIT $2", " AND role <> 'gateway' LIMIT $2") } else { text };
        q!(sqlx::AssertSqlSafe(text), now - keep, PRUNE_AT_ONCE).run(&mut tx).await?;
    }
    let over = "(SELECT id FROM enrollment WHERE expires_at < $1 OR revoked_at < $1)";
    for text in [
        format!("DELETE FROM enrolled WHERE enrollment IN {over}"),
        "DELETE FROM enrollment WHERE expires_at < $1 OR revoked_at < $1".to_owned(),
    ] {
        q!(sqlx::AssertSqlSafe(text), now - KEEP_ENDED).run(&mut tx).await?;
    }
    let oldest = period(now - (KEPT_PERIODS + 1) * 31 * 24 * 3600);
    q!("DELETE FROM traffic WHERE period < $1", oldest).run(&mut tx).await?;
    health::prune(&mut tx).await?;
    tx.commit().await
}

/// Forgets old removals; each gateway's floor says up to where.
async fn prune_removals(tx: &mut Tx, before: i64) -> Stored<()> {
    let rows = q!("SELECT gateway, MAX(revision) AS revision FROM removal WHERE at < $1 GROUP BY gateway", before);
    for row in rows.all(tx).await? {
        let (gateway, revision) = (row.text("gateway")?, row.int("revision")?);
        q!("UPDATE gateway SET floor = $2 WHERE id = $1 AND floor < $2", gateway.as_str(), revision).run(tx).await?;
        q!("DELETE FROM removal WHERE gateway = $1 AND revision <= $2", gateway.as_str(), revision).run(tx).await?;
    }
    Ok(())
}

/// Makes gateways and agents begin anew after an older state came back: what they were told since is no longer true.
pub(in crate::hub::store) async fn after_restore(store: &super::SqlStore) -> Stored<()> {
    let mut tx = store.db.begin().await?;
    let next = tx.now_us();
    let later = "CASE WHEN revision + 1 > $1 THEN revision + 1 ELSE $1 END";
    let counters = format!("UPDATE gateway SET revision = {later}, floor = {later}");
    q!(sqlx::AssertSqlSafe(counters), next).run(&mut tx).await?;
    // What was used or taken back since the backup would be good again.
    q!("UPDATE enrollment SET revoked_at = $1 WHERE revoked_at IS NULL", tx.now).run(&mut tx).await?;
    let later = "CASE WHEN agent_counter + 1 > $1 THEN agent_counter + 1 ELSE $1 END";
    let counters = format!("UPDATE instance SET agent_counter = {later}, agent_revision = {later}");
    q!(sqlx::AssertSqlSafe(counters), next).run(&mut tx).await?;
    let restored = Change { action: "hub.restore", object: "hub".to_owned(), account: None, before: None, after: None };
    audit(&mut tx, "hub", restored).await?;
    tx.commit().await
}

pub(super) async fn census(db: &Db) -> Stored<Census> {
    let mut connection = db.read().await?;
    let now = db.clock.now();
    let mut census = Census::default();
    let instances =
        q!("SELECT CASE WHEN suspended = 1 THEN 'suspended' ELSE state END AS status, COUNT(*) AS n FROM instance \
         GROUP BY CASE WHEN suspended = 1 THEN 'suspended' ELSE state END ORDER BY status");
    for row in instances.all(&mut connection).await? {
        census.instances.push((row.variant::<InstanceStatus>("status")?, row.count("n")?));
    }
    let peers = q!(
        "SELECT COUNT(*) AS peers, COALESCE(SUM(CASE WHEN p.enabled = 1 AND p.public_key IS NOT NULL AND l.reported_at >= $1 \
         AND l.handshake_at >= $2 THEN 1 ELSE 0 END), 0) AS connected FROM peer p LEFT JOIN link l ON l.peer = p.id",
        now - super::peer::REPORTED_WITHIN,
        now - super::peer::CONNECTED_WITHIN
    );
    let row = peers.one(&mut connection).await?;
    (census.peers, census.connected) = (row.count("peers")?, row.count("connected")?);
    let heard = q!("SELECT COUNT(*) AS n FROM gateway_seen WHERE seen_at >= $1", now - HEARD_WITHIN);
    census.gateways = heard.one(&mut connection).await?.count("n")?;
    Ok(census)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a hub, in milliseconds.
    const START: i64 = 1_000_000_000;

    #[test]
    fn a_hub_that_was_away_or_whose_clock_was_set_hears_only_since_then() {
        let rounds = Rounds::begin(START);
        let mut now = START;
        for _ in 0..100 {
            now += SILENT_EVERY_MS;
            assert_eq!(rounds.hears_since(now), START);
            rounds.looked(now);
        }
        // One that fails is no absence; three are.
        assert_eq!(rounds.hears_since(now + 2 * SILENT_EVERY_MS), START);
        now += AWAY_AFTER_MS + 1;
        assert_eq!(rounds.hears_since(now), now);
        rounds.looked(now);
        let back = now - 3_600_000;
        assert_eq!(rounds.hears_since(back), back, "set back");
        rounds.looked(back);
        assert_eq!(rounds.hears_since(now), now, "set forward");
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_round() {
        let last = AtomicI64::new(0);
        assert!(due(&last, START, PRUNE_EVERY_MS));
        assert!(!due(&last, START + PRUNE_EVERY_MS - 1, PRUNE_EVERY_MS));
        assert!(due(&last, START - 3_600_000, PRUNE_EVERY_MS));
        assert!(!due(&last, START - 3_600_000 + 1, PRUNE_EVERY_MS));
    }
}
