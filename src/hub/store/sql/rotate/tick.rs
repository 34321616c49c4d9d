//! What the passing of time does: changes that are over, peers that follow their instance, keys that are old, devices nobody has.

use super::{course, start};
use crate::api::{InstanceId, MoveCause, PeerId};
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, q};
use crate::hub::store::sql::instance::{self, Inst, next_revision};
use crate::hub::store::sql::once::{Change, audit};
use crate::hub::store::sql::peer;
use crate::hub::store::{Scope, StoreError, Stored};

/// Changes, instances and devices taken care of in one round; the rest in the next, a second later.
const AT_ONCE: i64 = 100;
/// Changes of one instance that begin in one round: ten thousand routers follow within twenty minutes, and a gateway is told of a
/// handful at a time.
const BEGIN_AT_ONCE: i64 = 10;
/// Changes of one instance that may be on their way: should the new device be cut off from outside, so many routers find out, not all.
const MOST_ON_THE_WAY: i64 = 50;
/// One that takes longer than this, in seconds, waits for a router that is away, and holds up no other.
const YOUNG: i64 = 600;
const DAY: i64 = 24 * 3600;

/// Takes one round.
pub(in crate::hub::store::sql) async fn tick(db: &Db) -> Stored<()> {
    let due = q!("SELECT peer FROM moving WHERE due_ms <= $1 ORDER BY due_ms LIMIT $2", db.clock.now_ms(), AT_ONCE);
    for row in due.all(&mut *db.read().await?).await? {
        let id: PeerId = row.word("peer")?;
        course::finish(db, &id).await?;
    }
    let rotating = q!(
        "SELECT i.id FROM instance i WHERE i.rotating_since IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM device d WHERE d.instance = i.id AND d.state = 'coming') ORDER BY i.id LIMIT $1",
        AT_ONCE
    );
    for row in rotating.all(&mut *db.read().await?).await? {
        follow(db, &row.word("id")?).await?;
    }
    leave(db).await
}

async fn lock(tx: &mut Tx, id: &InstanceId) -> Stored<Option<Inst>> {
    match instance::lock(tx, &Scope::All, id).await {
        Err(StoreError::NotFound { .. }) => Ok(None),
        found => found.map(Some),
    }
}

/// Has some more of an instance's site peers follow to its key; ends with the last of them.
async fn follow(db: &Db, id: &InstanceId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let Some(mut inst) = lock(&mut tx, id).await? else { return Ok(()) };
    let Some(since) = inst.rotating_since else { return Ok(()) };
    let left = q!(
        "SELECT p.id, CASE WHEN m.peer IS NULL THEN 0 ELSE 1 END AS moves FROM peer p LEFT JOIN moving m ON m.peer = p.id \
         WHERE p.instance = $1 AND p.kind = 'site' AND p.enabled = 1 AND p.public_key IS NOT NULL AND p.device <> $2 \
         AND COALESCE(p.cancelled_at, 0) < $3 ORDER BY moves, p.id LIMIT $4",
        id.as_str(),
        i64::from(inst.device),
        since,
        BEGIN_AT_ONCE
    );
    let left = left.all(&mut tx).await?;
    if left.is_empty() {
        q!("UPDATE instance SET rotating_since = NULL WHERE id = $1", id.as_str()).run(&mut tx).await?;
        let (object, account) = (inst.object(), Some(&inst.account));
        let change = Change { action: "instance.rotated", object, account, before: None, after: None };
        audit(&mut tx, "hub", change).await?;
        return tx.commit().await;
    }
    let mut room = room(&mut tx, id).await?;
    let mut next = Vec::new();
    for row in left {
        if row.flag("moves")? || room <= 0 {
            break;
        }
        room -= 1;
        next.push(row.word("id")?);
    }
    begin_some(&mut tx, &mut inst, &next, MoveCause::Instance).await?;
    tx.commit().await
}

/// Begins a change of each of these peers. One that cannot have another device now, for its instance has the most there may be or its
/// gateway no port left, stays as it is until a later round can: it holds up neither the rest nor another instance.
async fn begin_some(tx: &mut Tx, inst: &mut Inst, peers: &[PeerId], cause: MoveCause) -> Stored<()> {
    let mut refused = (0_usize, String::new());
    for id in peers {
        let mut peer = peer::find(tx, id).await?;
        match start::begin(tx, "hub", inst, &mut peer, cause).await {
            Err(StoreError::State { detail }) => refused = (refused.0 + 1, detail),
            begun => begun?,
        }
    }
    let (peers, why) = refused;
    if peers > 0 {
        tracing::warn!(instance = %inst.id, peers, why, "routers cannot be given another key now: it is tried again");
    }
    Ok(())
}

/// How many more changes of an instance may be on their way.
async fn room(tx: &mut Tx, id: &InstanceId) -> Stored<i64> {
    let young = q!(
        "SELECT COUNT(*) AS n FROM moving WHERE instance = $1 AND step <> 'grace' AND since > $2",
        id.as_str(),
        tx.now - YOUNG
    );
    Ok(MOST_ON_THE_WAY - young.one(tx).await?.int("n")?)
}

/// Gives routers new keys whose keys are older than their instance wants.
pub(in crate::hub::store::sql) async fn by_policy(db: &Db) -> Stored<()> {
    let wanted =
        q!("SELECT id FROM instance WHERE rotate_days IS NOT NULL AND rotating_since IS NULL AND gateway IS NOT NULL \
         AND suspended = 0 AND state = 'active' ORDER BY id");
    for row in wanted.all(&mut *db.read().await?).await? {
        let id: InstanceId = row.word("id")?;
        let mut tx = db.begin().await?;
        let Some(mut inst) = lock(&mut tx, &id).await? else { continue };
        let Some(days) = inst.rotate_days else { continue };
        let room = room(&mut tx, &id).await?.clamp(0, BEGIN_AT_ONCE);
        let old = q!(
            "SELECT id FROM peer p WHERE instance = $1 AND kind = 'site' AND enabled = 1 AND public_key IS NOT NULL \
             AND COALESCE(key_at, created_at) < $2 AND COALESCE(cancelled_at, 0) < $2 \
             AND NOT EXISTS (SELECT 1 FROM moving m WHERE m.peer = p.id) ORDER BY COALESCE(key_at, created_at), id LIMIT $3",
            id.as_str(),
            tx.now - i64::from(days) * DAY,
            room
        );
        let old = old.all(&mut tx).await?;
        if old.is_empty() {
            continue;
        }
        let old: Vec<PeerId> = old.iter().map(|row| row.word("id")).collect::<Stored<_>>()?;
        begin_some(&mut tx, &mut inst, &old, MoveCause::Policy).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Has gateways take devices down that nobody is on, and forgets those that they have.
async fn leave(db: &Db) -> Stored<()> {
    const GONE: &str = "state = 'leaving' AND EXISTS (SELECT 1 FROM gateway_seen w WHERE w.gateway = device.gateway \
        AND w.applied_revision >= device.revision)";
    let text = format!(
        "SELECT instance, CASE WHEN {GONE} THEN 1 ELSE 0 END AS gone FROM device WHERE ({GONE}) OR ({UNUSED}) \
         ORDER BY instance LIMIT $1"
    );
    let mut gone = false;
    for row in q!(sqlx::AssertSqlSafe(text), AT_ONCE).all(&mut *db.read().await?).await? {
        if row.flag("gone")? {
            gone = true;
        } else {
            leave_unused(db, &row.word("instance")?).await?;
        }
    }
    if gone {
        db.alone(q!(sqlx::AssertSqlSafe(format!("DELETE FROM device WHERE {GONE}")))).await?;
    }
    Ok(())
}

/// A further device that no peer is on or goes to.
const UNUSED: &str = "state IN ('beside', 'retired') \
    AND NOT EXISTS (SELECT 1 FROM peer p WHERE p.instance = device.instance AND p.device = device.number) \
    AND NOT EXISTS (SELECT 1 FROM moving m WHERE m.instance = device.instance AND m.device = device.number)";

async fn leave_unused(db: &Db, id: &InstanceId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let Some(inst) = lock(&mut tx, id).await? else { return Ok(()) };
    let revision = next_revision(&mut tx, inst.gateway.as_ref()).await?;
    let text = format!("UPDATE device SET state = 'leaving', revision = $2 WHERE instance = $1 AND {UNUSED}");
    if q!(sqlx::AssertSqlSafe(text), id.as_str(), revision).run(&mut tx).await? == 0 {
        // Somebody came meanwhile.
        return Ok(());
    }
    q!("UPDATE instance SET revision = $2 WHERE id = $1", id.as_str(), revision).run(&mut tx).await?;
    tx.commit().await
}
