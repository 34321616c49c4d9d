//! How changes begin, and how they are given up.

use super::{cause_word, device, devices, find, tell_agent, tell_gateway};
use crate::api::{DeviceState, Instance, InstanceId, InstanceStatus, MoveCause, MoveStep, Peer, PeerId, PeerKind};
use crate::hub::store::sql::Context;
use crate::hub::store::sql::check::not_found;
use crate::hub::store::sql::db::{Db, Run as _, Tx, q, to_word};
use crate::hub::store::sql::instance::{self, Inst, next_revision};
use crate::hub::store::sql::once::{Change, audit, fields};
use crate::hub::store::sql::peer::{self, Pr};
use crate::hub::store::{Actor, Scope, StoreError, Stored};

fn state(detail: String) -> StoreError {
    StoreError::State { detail }
}

/// A new gateway key for an instance. Site peers begin to follow once the gateway has made it.
pub(in crate::hub::store::sql) async fn instance(
    db: &Db,
    context: &Context,
    by: &Actor,
    id: &InstanceId,
) -> Stored<Instance> {
    let mut tx = db.begin().await?;
    let mut inst = instance::lock(&mut tx, &by.scope, id).await?;
    let now = tx.now;
    let before = instance::shown(&mut tx, context, &by.scope, id, now).await?;
    if inst.rotating_since.is_some() {
        return Ok(before);
    }
    if inst.suspended || inst.state != InstanceStatus::Active {
        return Err(state(format!("instance {id} is not active: it gets another key only while a gateway serves it")));
    }
    make_another(&mut tx, &mut inst, None).await?;
    let after = instance::shown(&mut tx, context, &by.scope, id, now).await?;
    let change = Change {
        action: "instance.rotate",
        object: inst.object(),
        account: Some(&inst.account),
        before: fields(&before)?,
        after: fields(&after)?,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await?;
    Ok(after)
}

/// Has the gateway make what everybody is to move to.
async fn make_another(tx: &mut Tx, inst: &mut Inst, port: Option<u16>) -> Stored<()> {
    device::make(tx, inst, DeviceState::Coming, port).await?;
    q!("UPDATE instance SET rotating_since = $2 WHERE id = $1", inst.id.as_str(), tx.now).run(tx).await?;
    Ok(())
}

/// Another port of an instance whose peers have tunnels: they follow as they do to another key, which it has as well.
pub(in crate::hub::store::sql) async fn to_port(tx: &mut Tx, inst: &mut Inst, port: u16) -> Stored<()> {
    if inst.rotating_since.is_some() {
        let id = &inst.id;
        return Err(state(format!(
            "peers of instance {id} are moving to its new key: it gets another port once they have"
        )));
    }
    make_another(tx, inst, Some(port)).await
}

/// The port of the device that the peers of an instance are to move to, until the gateway has made it.
pub(in crate::hub::store::sql) async fn coming_port(tx: &mut Tx, id: &InstanceId) -> Stored<Option<u16>> {
    let coming = devices(tx, id).await?.into_iter().find(|dev| dev.state == DeviceState::Coming);
    Ok(coming.map(|dev| dev.listen_port))
}

/// Gives the device up that peers were to move to, and which the gateway has not made yet.
pub(in crate::hub::store::sql) async fn take_back(tx: &mut Tx, inst: &mut Inst) -> Stored<()> {
    inst.revision = next_revision(tx, inst.gateway.as_ref()).await?;
    inst.rotating_since = None;
    let id = inst.id.as_str();
    q!(
        "UPDATE device SET state = 'leaving', revision = $2 WHERE instance = $1 AND state = 'coming'",
        id,
        inst.revision
    )
    .run(tx)
    .await?;
    q!("UPDATE instance SET rotating_since = NULL, revision = $2 WHERE id = $1", id, inst.revision).run(tx).await?;
    Ok(())
}

/// A new key for the router of a site peer.
pub(in crate::hub::store::sql) async fn peer(db: &Db, by: &Actor, id: &PeerId) -> Stored<Peer> {
    let mut tx = db.begin().await?;
    let (mut inst, mut row) = peer::lock(&mut tx, &by.scope, id).await?;
    let now = tx.now;
    begin_once(&mut tx, &by.who, &mut inst, &mut row, MoveCause::Person).await?;
    let after = peer::read(&mut tx, &by.scope, id, now).await?;
    tx.commit().await?;
    Ok(after)
}

/// The same, wanted by the peer's own agent.
pub(in crate::hub::store::sql) async fn by_agent(db: &Db, id: &PeerId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let (mut inst, mut row) = peer::lock(&mut tx, &Scope::All, id).await?;
    begin_once(&mut tx, &format!("agent {id}"), &mut inst, &mut row, MoveCause::Agent).await?;
    tx.commit().await
}

/// Begins a change where none is under way.
async fn begin_once(tx: &mut Tx, who: &str, inst: &mut Inst, row: &mut Pr, cause: MoveCause) -> Stored<()> {
    if find(tx, &row.id).await?.is_some() {
        return Ok(());
    }
    let id = &row.id;
    if row.kind != PeerKind::Site {
        let way = "its owner makes another key, and `public_key` is changed to it";
        return Err(state(format!("peer {id} is no site peer: {way}")));
    }
    if row.public_key.is_none() {
        return Err(state(format!("peer {id} has no key yet: its router is not enrolled")));
    }
    if inst.rotating_since.is_some() && row.device == inst.device {
        return Err(state(format!("the instance of peer {id} is getting another key, and its router has a new one")));
    }
    begin(tx, who, inst, row, cause).await
}

/// Begins a change of a site peer: to the device that the instance has now or, from there, to one beside it.
pub(super) async fn begin(tx: &mut Tx, who: &str, inst: &mut Inst, row: &mut Pr, cause: MoveCause) -> Stored<()> {
    let (target, is_there) = if row.device == inst.device {
        let beside = devices(tx, &inst.id).await?.into_iter().find(|dev| dev.state == DeviceState::Beside);
        match beside {
            Some(dev) => (dev.number, dev.public_key.is_some()),
            None => (device::make(tx, inst, DeviceState::Beside, None).await?, false),
        }
    } else {
        (inst.device, inst.public_key.is_some())
    };
    row.generations += 1;
    let step = if is_there { MoveStep::Router } else { MoveStep::Device };
    q!(
        "INSERT INTO moving (peer, instance, generation, device, step, cause, told, since, step_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $7)",
        row.id.as_str(),
        inst.id.as_str(),
        i64::from(row.generations),
        i64::from(target),
        to_word(&step)?,
        cause_word(cause),
        tx.now
    )
    .run(tx)
    .await?;
    let given = i64::from(row.generations);
    q!("UPDATE peer SET generations = $2, cancelled_at = NULL WHERE id = $1", row.id.as_str(), given).run(tx).await?;
    if is_there {
        tell_agent(tx, inst, row).await?;
        q!("UPDATE moving SET told = $2 WHERE peer = $1", row.id.as_str(), row.agent_revision).run(tx).await?;
    }
    let after = serde_json::json!({
        "generation": row.generations, "device": target, "cause": cause_word(cause), "step": step,
    });
    let before = serde_json::json!({ "generation": row.generation, "device": row.device });
    let (object, account) = (row.object(), Some(&inst.account));
    let change = Change { action: "peer.rotate", object, account, before: Some(before), after: Some(after) };
    audit(tx, who, change).await
}

/// Gives a change up that is not yet made.
pub(in crate::hub::store::sql) async fn cancel(db: &Db, by: &Actor, id: &PeerId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let (mut inst, mut row) = peer::lock(&mut tx, &by.scope, id).await?;
    let moving = find(&mut tx, id).await?.ok_or_else(|| not_found("rotation of peer", id))?;
    if moving.shown.step == MoveStep::Grace {
        let detail = format!("the router of peer {id} uses its new tunnel already; rotate it again for another one");
        return Err(state(detail));
    }
    q!("DELETE FROM moving WHERE peer = $1", id.as_str()).run(&mut tx).await?;
    q!("UPDATE peer SET cancelled_at = $2 WHERE id = $1", id.as_str(), tx.now).run(&mut tx).await?;
    if moving.shown.public_key.is_some() {
        tell_gateway(&mut tx, &inst, &mut row).await?;
    }
    if moving.shown.step != MoveStep::Device {
        tell_agent(&mut tx, &mut inst, &mut row).await?;
    }
    let change = Change {
        action: "peer.rotate-cancel",
        object: row.object(),
        account: Some(&inst.account),
        before: fields(&moving.shown)?,
        after: None,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await
}
