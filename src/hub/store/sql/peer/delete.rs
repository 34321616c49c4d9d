//! Deleting a peer.

use super::{lock, read};
use crate::api::PeerId;
use crate::hub::store::sql::check::version;
use crate::hub::store::sql::db::{Db, Run as _, q};
use crate::hub::store::sql::instance::next_revision;
use crate::hub::store::sql::once::{Change, audit, fields};
use crate::hub::store::{Actor, Stored};
use crate::hub::wake::{Signal, Topic};

pub(in crate::hub::store::sql) async fn delete(db: &Db, by: &Actor, id: &PeerId, if_match: Option<i64>) -> Stored<()> {
    let mut tx = db.begin().await?;
    let (mut inst, peer) = lock(&mut tx, &by.scope, id).await?;
    version("peer", id, peer.version, if_match)?;
    let now = tx.now;
    let before = read(&mut tx, &by.scope, id, now).await?;
    let revision = next_revision(&mut tx, inst.gateway.as_ref()).await?;
    if let Some(gateway) = &inst.gateway {
        q!(
            "INSERT INTO removal (gateway, revision, instance, peer, at) VALUES ($1, $2, $3, $4, $5)",
            gateway.as_str(),
            revision,
            inst.id.as_str(),
            id.as_str(),
            now
        )
        .run(&mut tx)
        .await?;
    }
    if !peer.subnets.is_empty() {
        inst.offers_changed(tx.now_ms);
    }
    inst.save_counters(&mut tx).await?;
    q!("UPDATE credential SET revoked_at = $2 WHERE peer = $1 AND revoked_at IS NULL", id.as_str(), now)
        .run(&mut tx)
        .await?;
    for statement in [
        "DELETE FROM enrolled WHERE enrollment IN (SELECT id FROM enrollment WHERE peer = $1)",
        "DELETE FROM enrollment WHERE peer = $1",
        "DELETE FROM link WHERE peer = $1",
        "DELETE FROM agent WHERE peer = $1",
        "INSERT INTO gone (peer) SELECT id FROM peer WHERE id = $1 AND kind = 'site'",
        "DELETE FROM failure WHERE peer = $1",
        "DELETE FROM moving WHERE peer = $1",
        "DELETE FROM traffic WHERE kind = 'peer' AND object = $1",
        "DELETE FROM peer WHERE id = $1",
    ] {
        q!(statement, id.as_str()).run(&mut tx).await?;
    }
    q!("DELETE FROM prefix WHERE instance = $1 AND peer = $2", inst.id.as_str(), id.as_str()).run(&mut tx).await?;
    let change = Change {
        action: "peer.delete",
        object: peer.object(),
        account: Some(&inst.account),
        before: fields(&before)?,
        after: None,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.signal(Signal::Topic(Topic::Peer(id.clone())));
    tx.commit().await
}
