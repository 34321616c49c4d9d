//! Retry, suspend, resume, delete.

use super::assign::{Assigned, assign};
use super::{Inst, lock, next_revision, read};
use crate::api::{Instance, InstanceId, InstanceStatus};
use crate::hub::store::sql::Context;
use crate::hub::store::sql::check::version;
use crate::hub::store::sql::db::{Db, Run as _, Tx, q, to_word};
use crate::hub::store::sql::list::Sql;
use crate::hub::store::sql::once::{Change, audit, fields};
use crate::hub::store::{Actor, StoreError, Stored};
use crate::hub::wake::Signal;

pub(in crate::hub::store::sql) async fn retry(
    db: &Db,
    context: &Context,
    by: &Actor,
    id: &InstanceId,
) -> Stored<Instance> {
    let mut tx = db.begin().await?;
    let mut inst = lock(&mut tx, &by.scope, id).await?;
    let stuck = matches!(inst.state, InstanceStatus::Error | InstanceStatus::Deploying);
    if inst.suspended || !stuck {
        let is = if inst.suspended { "suspended" } else { "active" };
        return Err(StoreError::State {
            detail: format!("instance {id} is {is}; only one that is error or deploying is tried again"),
        });
    }
    let now = tx.now;
    let before = read::read(&mut tx, context, &by.scope, id, now).await?;
    inst.state = InstanceStatus::Deploying;
    inst.reason = None;
    if inst.gateway.is_some() {
        inst.revision = next_revision(&mut tx, inst.gateway.as_ref()).await?;
        save_state(&mut tx, &inst).await?;
    } else {
        save_state(&mut tx, &inst).await?;
        reassign(&mut tx, &mut inst, by).await?;
    }
    finish(tx, context, by, &inst, "instance.retry", &before).await
}

async fn reassign(tx: &mut Tx, inst: &mut Inst, by: &Actor) -> Stored<()> {
    if let Assigned::Unfit(unfit) = assign(tx, inst, &by.scope).await? {
        fail(tx, inst, unfit.why).await?;
    }
    Ok(())
}

/// Notes why an instance cannot be served.
pub(in crate::hub::store::sql) async fn fail(tx: &mut Tx, inst: &mut Inst, why: String) -> Stored<()> {
    inst.state = InstanceStatus::Error;
    inst.reason = Some(why);
    save_state(tx, inst).await
}

pub(in crate::hub::store::sql) async fn save_state(tx: &mut Tx, inst: &Inst) -> Stored<()> {
    q!(
        "UPDATE instance SET state = $2, reason = $3, suspended = $4, revision = $5, version = $6 WHERE id = $1",
        inst.id.as_str(),
        to_word(&inst.state)?,
        inst.reason.clone(),
        i64::from(inst.suspended),
        inst.revision,
        inst.version
    )
    .run(tx)
    .await?;
    Ok(())
}

async fn finish(
    mut tx: Tx,
    context: &Context,
    by: &Actor,
    inst: &Inst,
    action: &'static str,
    before: &Instance,
) -> Stored<Instance> {
    let now = tx.now;
    let after = read::read(&mut tx, context, &by.scope, &inst.id, now).await?;
    let mut change = Change {
        action,
        object: inst.object(),
        account: Some(&inst.account),
        before: fields(before)?,
        after: fields(&after)?,
    };
    // What these actions change is the status, which is left out elsewhere.
    for (value, status) in [(&mut change.before, before.status), (&mut change.after, after.status)] {
        if let Some(serde_json::Value::Object(object)) = value {
            object.insert("status".to_owned(), to_word(&status)?.into());
        }
    }
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await?;
    Ok(after)
}

pub(in crate::hub::store::sql) async fn suspend(
    db: &Db,
    context: &Context,
    by: &Actor,
    id: &InstanceId,
    suspended: bool,
) -> Stored<Instance> {
    let mut tx = db.begin().await?;
    let mut inst = lock(&mut tx, &by.scope, id).await?;
    let now = tx.now;
    let before = read::read(&mut tx, context, &by.scope, id, now).await?;
    if inst.suspended == suspended {
        return Ok(before);
    }
    inst.suspended = suspended;
    inst.version += 1;
    inst.revision = next_revision(&mut tx, inst.gateway.as_ref()).await?;
    save_state(&mut tx, &inst).await?;
    let action = if suspended { "instance.suspend" } else { "instance.resume" };
    finish(tx, context, by, &inst, action, &before).await
}

pub(in crate::hub::store::sql) async fn delete(
    db: &Db,
    context: &Context,
    by: &Actor,
    id: &InstanceId,
    if_match: Option<i64>,
) -> Stored<()> {
    let mut tx = db.begin().await?;
    let inst = lock(&mut tx, &by.scope, id).await?;
    version("instance", id, inst.version, if_match)?;
    let now = tx.now;
    let before = read::read(&mut tx, context, &by.scope, id, now).await?;
    if let Some(gateway) = &inst.gateway {
        let revision = next_revision(&mut tx, Some(gateway)).await?;
        q!(
            "INSERT INTO removal (gateway, revision, instance, peer, at, port) VALUES ($1, $2, $3, '', $4, $5)",
            gateway.as_str(),
            revision,
            id.as_str(),
            now,
            inst.listen_port.map(i64::from)
        )
        .run(&mut tx)
        .await?;
        // Reports of this gateway wait until its links are gone, so that neither meets the other half way.
        let mut hold = Sql::new("SELECT gateway FROM gateway_seen WHERE gateway = ");
        hold.bind(gateway.as_str().to_owned()).push(&tx.dialect.lock("gateway_seen"));
        hold.query().maybe(&mut tx).await?;
    }
    remove_rows(&mut tx, id).await?;
    let change = Change {
        action: "instance.delete",
        object: inst.object(),
        account: Some(&inst.account),
        before: fields(&before)?,
        after: None,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.signal(Signal::Reach(id.clone()));
    tx.commit().await
}

/// Everything that hangs on an instance. Its agents' credentials stay, without effect.
async fn remove_rows(tx: &mut Tx, id: &InstanceId) -> Stored<()> {
    q!(
        "UPDATE credential SET revoked_at = $2 WHERE revoked_at IS NULL AND peer IN (SELECT id FROM peer WHERE instance = $1)",
        id.as_str(),
        tx.now
    )
    .run(tx)
    .await?;
    for statement in [
        "DELETE FROM enrolled WHERE enrollment IN (SELECT e.id FROM enrollment e JOIN peer p ON p.id = e.peer WHERE p.instance = $1)",
        "DELETE FROM enrollment WHERE peer IN (SELECT id FROM peer WHERE instance = $1)",
        "DELETE FROM link WHERE peer IN (SELECT id FROM peer WHERE instance = $1)",
        "DELETE FROM agent WHERE peer IN (SELECT id FROM peer WHERE instance = $1)",
        "INSERT INTO gone (peer) SELECT id FROM peer WHERE instance = $1 AND kind = 'site'",
        "DELETE FROM failure WHERE peer IN (SELECT id FROM peer WHERE instance = $1)",
        "DELETE FROM traffic WHERE kind = 'peer' AND object IN (SELECT id FROM peer WHERE instance = $1)",
        "DELETE FROM traffic WHERE kind = 'instance' AND object = $1",
        "DELETE FROM prefix WHERE instance = $1",
        "DELETE FROM moving WHERE instance = $1",
        "DELETE FROM device WHERE instance = $1",
        "DELETE FROM removal WHERE instance = $1 AND peer <> ''",
        "DELETE FROM peer WHERE instance = $1",
        "DELETE FROM instance WHERE id = $1",
    ] {
        q!(statement, id.as_str()).run(tx).await?;
    }
    Ok(())
}
