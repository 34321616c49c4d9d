//! What gateways did.

use crate::api::{GatewayApplied, GatewayId, GatewayInstanceApplied, GatewayPeerFailed, InstanceStatus};
use crate::hub::store::sql::check::{invalid, not_found};
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, q, to_word};
use crate::hub::store::sql::instance::{Inst, lock};
use crate::hub::store::sql::once::{Change, audit};
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
    // In one order for all, so that two changes never wait for each other in a circle.
    applied.instances.sort_by(|a, b| a.id.cmp(&b.id));
    for one in applied.instances {
        match lock(&mut tx, &Scope::All, &one.id).await {
            // Deleted meanwhile, or given away: the gateway hears of that by itself.
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(inst) if inst.gateway.as_ref() != Some(id) => {}
            Ok(inst) => note(&mut tx, id, inst, one).await?,
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

async fn note(tx: &mut Tx, gateway: &GatewayId, was: Inst, one: GatewayInstanceApplied) -> Stored<()> {
    let mut inst = was.clone();
    inst.public_key = one.public_key.or(inst.public_key);
    // The port as it really is; one that another instance of the gateway has in the store is a fault of the report.
    if let Some(port) = one.listen_port.filter(|port| *port != 0 && Some(*port) != inst.listen_port)
        && is_free(tx, gateway, &inst, port).await?
    {
        inst.listen_port = Some(port);
    }
    // What was said of an older revision says nothing of this one.
    if one.revision >= inst.revision {
        (inst.state, inst.reason) = match one.error {
            Some(error) => (InstanceStatus::Error, Some(readable(&error))),
            None if inst.public_key.is_some() => (InstanceStatus::Active, None),
            None => (inst.state, inst.reason),
        };
    }
    if inst.public_key != was.public_key || inst.listen_port != was.listen_port {
        inst.all_agents_changed(tx);
    }
    let same = inst.state == was.state
        && inst.reason == was.reason
        && inst.public_key == was.public_key
        && inst.listen_port == was.listen_port;
    if same {
        return Ok(());
    }
    q!(
        "UPDATE instance SET state = $2, reason = $3, public_key = $4, listen_port = $5, agent_counter = $6, \
         agent_revision = $7 WHERE id = $1",
        inst.id.as_str(),
        to_word(&inst.state)?,
        inst.reason.clone(),
        inst.public_key.map(|key| key.to_string()),
        inst.listen_port.map(i64::from),
        inst.agent_counter,
        inst.agent_revision
    )
    .run(tx)
    .await?;
    let facts = |inst: &Inst| {
        serde_json::json!({
            "status": inst.state, "reason": inst.reason, "public_key": inst.public_key, "listen_port": inst.listen_port,
        })
    };
    let change = Change {
        action: "instance.applied",
        object: inst.object(),
        account: Some(&inst.account),
        before: Some(facts(&was)),
        after: Some(facts(&inst)),
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
    Ok(row.one(tx).await?.int("n")? == 0)
}
