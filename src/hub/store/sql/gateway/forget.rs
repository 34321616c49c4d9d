//! Forgetting a gateway that is gone for good.

use crate::api::{GatewayId, InstanceId};
use crate::hub::store::sql::check::not_found;
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, q};
use crate::hub::store::sql::once::{Change, audit};
use crate::hub::store::sql::rotate;
use crate::hub::store::{Actor, Scope, Stored};
use crate::hub::wake::{Signal, Topic};

/// Revokes the gateway's token and sets its instances free: another gateway takes them, with keys of its own.
pub(in crate::hub::store::sql) async fn delete(db: &Db, by: &Actor, id: &GatewayId) -> Stored<()> {
    if by.scope != Scope::All {
        return Err(not_found("gateway", id));
    }
    let mut tx = db.begin().await?;
    let lock = tx.dialect.lock("instance");
    let held =
        q!(sqlx::AssertSqlSafe(format!("SELECT id FROM instance WHERE gateway = $1 ORDER BY id{lock}")), id.as_str());
    let instances = held.all(&mut tx).await?;
    let row = q!("SELECT token, name FROM gateway WHERE id = $1", id.as_str()).maybe(&mut tx).await?;
    let row = row.ok_or_else(|| not_found("gateway", id))?;
    rotate::forget_gateway(&mut tx, id).await?;
    q!(
        "UPDATE instance SET gateway = NULL, listen_port = NULL, public_key = NULL, state = 'deploying', reason = NULL, \
         agent_counter = agent_counter + 1, agent_revision = agent_counter + 1 WHERE gateway = $1",
        id.as_str()
    )
    .run(&mut tx)
    .await?;
    q!("UPDATE token SET revoked_at = $2 WHERE id = $1", row.text("token")?, tx.now).run(&mut tx).await?;
    for text in [
        "DELETE FROM removal WHERE gateway = $1",
        "DELETE FROM gateway_seen WHERE gateway = $1",
        "DELETE FROM gateway WHERE id = $1",
    ] {
        q!(text, id.as_str()).run(&mut tx).await?;
    }
    for instance in &instances {
        let instance: InstanceId = instance.word("id")?;
        tx.signal(Signal::Reach(instance));
    }
    tx.signal(Signal::Topic(Topic::Gateway(id.clone())));
    let change = Change {
        action: "gateway.delete",
        object: format!("gateway {id} ({})", row.text("name")?),
        account: None,
        before: Some(serde_json::json!({ "instances": instances.len() })),
        after: None,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await
}
