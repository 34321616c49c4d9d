//! What gateways did.

use crate::api::{GatewayApplied, GatewayId, GatewayInstanceApplied, GatewayPeerFailed, InstanceStatus};
use crate::hub::store::sql::check::{invalid, not_found};
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, q, to_word};
use crate::hub::store::sql::instance::{Inst, assign, lock, next_revision};
use crate::hub::store::sql::once::{Change, audit};
use crate::hub::store::sql::rotate;
use crate::hub::store::{Scope, StoreError, Stored};

/// Most instances in one word of a gateway: as many as one part tells it.
const MOST_INSTANCES: usize = crate::api::MAX_PEERS_PER_REPLY;
/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 500;

pub(in crate::hub::store::sql) async fn applied(db: &Db, id: &GatewayId, mut applied: GatewayApplied) -> Stored<()> {
    if applied.instances.len() > MOST_INSTANCES {
        let detail = format!("at most {MOST_INSTANCES} instances at once");
        return Err(invalid("instances", detail, crate::api::code::INVALID));
    }
    let mut tx = db.begin().await?;
    // In one order for all, so that two changes never wait for each other in a circle: instances by id, then the gateway.
    applied.instances.sort_by(|a, b| a.id.cmp(&b.id));
    let mut noted = Vec::new();
    for mut one in applied.instances {
        match lock(&mut tx, &Scope::All, &one.id).await {
            // Deleted meanwhile, or given away: the gateway hears of that by itself.
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(inst) if inst.gateway.as_ref() != Some(id) => {}
            Ok(inst) => {
                let devices = std::mem::take(&mut one.devices);
                noted.push((note(&mut tx, id, inst, one).await?, devices));
            }
        }
    }
    for ((mut inst, port), devices) in noted {
        if let Some(port) = port {
            inst = take_port(&mut tx, id, inst, port).await?;
        }
        if !devices.is_empty() {
            rotate::devices_applied(&mut tx, id, &mut inst, &devices).await?;
        }
    }
    for failed in applied.peers.iter().take(MOST_INSTANCES) {
        note_failed(&mut tx, id, failed).await?;
    }
    let noted = q!(
        "UPDATE gateway_seen SET applied_revision = $2, seen_at = $3 WHERE gateway = $1",
        id.as_str(),
        applied.revision,
        tx.now
    );
    if noted.run(&mut tx).await? == 0 {
        return Err(not_found("gateway", id));
    }
    tx.commit().await
}

/// Remembers why a peer is not served. One of another gateway, or one that is gone, is skipped, and so is what is said of another
/// revision than the one that is wanted: it says nothing of this one, and would hide what was.
async fn note_failed(tx: &mut Tx, gateway: &GatewayId, failed: &GatewayPeerFailed) -> Stored<()> {
    q!(
        "INSERT INTO failure (peer, revision, error) SELECT p.id, $3, $4 FROM peer p JOIN instance i ON i.id = p.instance \
         WHERE p.id = $1 AND i.gateway = $2 AND p.revision = $3 ON CONFLICT (peer) DO UPDATE SET revision = excluded.revision, error = excluded.error",
        failed.id.as_str(),
        gateway.as_str(),
        failed.revision,
        readable(&failed.error)
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Writes down what came of an instance; returns it, with its port if that is another one than was wanted.
async fn note(tx: &mut Tx, gateway: &GatewayId, was: Inst, one: GatewayInstanceApplied) -> Stored<(Inst, Option<u16>)> {
    let mut inst = was.clone();
    // What was said of the device before this one says nothing of this one, nor what was said of an older revision.
    let is_same = one.device == inst.device;
    inst.public_key = one.public_key.filter(|_| is_same).or(inst.public_key);
    let is_new = one.revision >= inst.revision && (is_same || one.error.is_some());
    let port = one.listen_port.filter(|port| is_new && is_same && *port != 0 && Some(*port) != inst.listen_port);
    if is_new {
        (inst.state, inst.reason) = match one.error {
            Some(error) => (InstanceStatus::Error, Some(readable(&error))),
            None if inst.public_key.is_some() => (InstanceStatus::Active, None),
            None => (inst.state, inst.reason),
        };
    }
    if inst.public_key != was.public_key {
        inst.key_at = Some(tx.now);
        inst.all_agents_changed(tx);
    }
    let same = inst.state == was.state && inst.reason == was.reason && inst.public_key == was.public_key;
    if !same {
        q!(
            "UPDATE instance SET state = $2, reason = $3, public_key = $4, agent_counter = $5, agent_revision = $6, key_at = $7 WHERE id = $1",
            inst.id.as_str(),
            to_word(&inst.state)?,
            inst.reason.clone(),
            inst.public_key.map(|key| key.to_string()),
            inst.agent_counter,
            inst.agent_revision,
            inst.key_at
        )
        .run(tx)
        .await?;
        note_applied(tx, gateway, &was, &inst).await?;
    }
    Ok((inst, port))
}

/// Takes over the port that a gateway really serves. The gateway is told it as the wanted one, so that it is still this one after a
/// restart; and one that another instance has in the store was given away meanwhile: a free one is wanted then.
async fn take_port(tx: &mut Tx, gateway: &GatewayId, was: Inst, port: u16) -> Stored<Inst> {
    let mut inst = was.clone();
    // The gateway's row is held from here on, so that nobody else takes the port.
    inst.revision = next_revision(tx, Some(gateway)).await?;
    let free = if is_free(tx, gateway, &inst, port).await? {
        Ok(port)
    } else {
        assign::port(tx, gateway, &inst, inst.asked_port, &Scope::All).await?
    };
    let port = match free {
        Ok(port) => port,
        Err(why) => {
            tracing::error!(instance = %inst.id, why, "an instance is served on a port that is another's");
            return Ok(was);
        }
    };
    inst.listen_port = Some(port);
    inst.all_agents_changed(tx);
    q!(
        "UPDATE instance SET listen_port = $2, revision = $3, agent_counter = $4, agent_revision = $5 WHERE id = $1",
        inst.id.as_str(),
        i64::from(port),
        inst.revision,
        inst.agent_counter,
        inst.agent_revision
    )
    .run(tx)
    .await?;
    note_applied(tx, gateway, &was, &inst).await?;
    Ok(inst)
}

async fn note_applied(tx: &mut Tx, gateway: &GatewayId, was: &Inst, inst: &Inst) -> Stored<()> {
    let facts = |inst: &Inst| {
        serde_json::json!({
            "status": inst.state, "reason": inst.reason, "public_key": inst.public_key, "listen_port": inst.listen_port,
        })
    };
    let change = Change {
        action: "instance.applied",
        object: inst.object(),
        account: Some(&inst.account),
        before: Some(facts(was)),
        after: Some(facts(inst)),
    };
    audit(tx, &format!("gateway {gateway}"), change).await
}

/// A reason as it is kept: not too long, no control characters.
fn readable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}

async fn is_free(tx: &mut Tx, gateway: &GatewayId, inst: &Inst, port: u16) -> Stored<bool> {
    let row = q!(
        "SELECT COUNT(*) AS n FROM instance WHERE gateway = $1 AND listen_port = $2 AND id <> $3",
        gateway.as_str(),
        i64::from(port),
        inst.id.as_str()
    );
    Ok(row.one(tx).await?.int("n")? == 0 && rotate::port_is_free(tx, gateway, port).await?)
}
