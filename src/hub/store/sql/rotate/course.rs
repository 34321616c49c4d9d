//! How changes go on: what agents say of them, and their end.

use super::{Heard, Moving, find, key_is_free, moved_on, step, tell_gateway};
use crate::api::{AgentApplied, MoveStep, PeerId, code};
use crate::domain::PublicKey;
use crate::hub::store::sql::Context;
use crate::hub::store::sql::agent::{KEY_CHANGED, nameless, not_too_often};
use crate::hub::store::sql::check::conflict;
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, q};
use crate::hub::store::sql::instance::Inst;
use crate::hub::store::sql::once::{Change, audit};
use crate::hub::store::sql::peer::{self, Pr};
use crate::hub::store::{Scope, StoreError, Stored};

/// Takes an agent's word for how far its router is. Its own key is not looked at here.
pub(in crate::hub::store::sql) async fn heard(
    tx: &mut Tx,
    context: &Context,
    inst: &mut Inst,
    row: &mut Pr,
    applied: &AgentApplied,
) -> Stored<()> {
    let Some(moving) = find(tx, &row.id).await? else { return Ok(()) };
    let used = applied.next.is_some_and(|next| next.in_use);
    let due = used.then_some(tx.now_ms + context.rotate_grace_ms);
    let to = if used { MoveStep::Grace } else { MoveStep::Proof };
    match moved_on(&moving.shown, moving.told, applied) {
        Heard::Nothing => return Ok(()),
        Heard::Made(key) => take_key(tx, inst, row, &moving, key).await.map_err(nameless)?,
        Heard::Used | Heard::Left => {}
    }
    step(tx, &row.id, to, due).await?;
    tell_gateway(tx, inst, row).await
}

/// The router made its end, or made it anew.
async fn take_key(tx: &mut Tx, inst: &Inst, row: &Pr, moving: &Moving, key: PublicKey) -> Stored<()> {
    let who = format!("agent {}", row.id);
    not_too_often(tx, &who).await?;
    let another =
        q!("SELECT COUNT(*) AS n FROM peer WHERE instance = $1 AND public_key = $2", inst.id.as_str(), key.to_string());
    if inst.public_key == Some(key) || another.one(tx).await?.int("n")? > 0 {
        // Its own present one is no new key either.
        return Err(conflict("next.public_key", "this public key is in use already", code::KEY_TAKEN));
    }
    key_is_free(tx, inst, &row.id, &key).await?;
    q!("UPDATE moving SET public_key = $2 WHERE peer = $1", row.id.as_str(), key.to_string()).run(tx).await?;
    let change = Change {
        action: KEY_CHANGED,
        object: row.object(),
        account: Some(&inst.account),
        before: Some(serde_json::json!({ "next": moving.shown.public_key })),
        after: Some(serde_json::json!({ "next": key, "generation": moving.shown.generation })),
    };
    audit(tx, &who, change).await
}

/// Ends a change whose time is over, if the gateway sends by the new tunnel too.
pub(super) async fn finish(db: &Db, id: &PeerId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let (mut inst, old) = match peer::lock(&mut tx, &Scope::All, id).await {
        Err(StoreError::NotFound { .. }) => return Ok(()),
        found => found?,
    };
    let Some(moving) = find(&mut tx, id).await? else { return Ok(()) };
    let is_due = moving.shown.step == MoveStep::Grace && moving.due_ms.is_some_and(|due| due <= tx.now_ms);
    if !is_due || !gateway_sends(&mut tx, &inst, &old).await? {
        return Ok(());
    }
    q!("DELETE FROM moving WHERE peer = $1", id.as_str()).run(&mut tx).await?;
    let mut new = Pr {
        public_key: moving.shown.public_key,
        device: moving.shown.device,
        generation: moving.shown.generation,
        ..old.clone()
    };
    peer::settle(&mut tx, &mut inst, Some(&old), &mut new).await?;
    let facts = |row: &Pr| serde_json::json!({ "generation": row.generation, "device": row.device, "public_key": row.public_key });
    let change = Change {
        action: "peer.rotated",
        object: new.object(),
        account: Some(&inst.account),
        before: Some(facts(&old)),
        after: Some(facts(&new)),
    };
    audit(&mut tx, "hub", change).await?;
    tx.commit().await
}

/// Whether the gateway has done what it was last told of a peer.
async fn gateway_sends(tx: &mut Tx, inst: &Inst, row: &Pr) -> Stored<bool> {
    let Some(gateway) = &inst.gateway else { return Ok(false) };
    let done = q!(
        "SELECT COUNT(*) AS n FROM gateway_seen WHERE gateway = $1 AND applied_revision >= $2 \
         AND NOT EXISTS (SELECT 1 FROM failure WHERE peer = $3 AND revision = $2)",
        gateway.as_str(),
        row.revision,
        row.id.as_str()
    );
    Ok(done.one(tx).await?.int("n")? > 0)
}
