//! Repeated requests, and the audit log: what every change goes through.

use serde::Serialize;
use serde_json::Value;
use sqlx::AnyConnection;

use super::db::{RowExt as _, Run as _, Tx, q, to_json};
use super::list::{Page as _, Sql};
use crate::api::{AccountId, AuditEntry, Page};
use crate::hub::store::{Actor, Once, Paging, Scope, StoreError, Stored};

/// Takes note of a request that makes the object `id`; if it was made before, tells which object came of it.
pub(super) async fn first_time(tx: &mut Tx, by: &Actor, once: Option<&Once>, id: &str) -> Stored<Option<String>> {
    let Some(once) = once else { return Ok(None) };
    let token = by.token.as_ref().map_or("", |token| token.as_str());
    // A second one that comes at the same time waits here for the first.
    let noted = q!(
        "INSERT INTO once (token, key, digest, object, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        token,
        once.key.as_str(),
        once.digest.as_slice(),
        id,
        tx.now
    );
    if noted.run(tx).await? == 1 {
        return Ok(None);
    }
    let before = q!("SELECT digest, object FROM once WHERE token = $1 AND key = $2", token, once.key.as_str());
    let before = before.one(tx).await?;
    if before.bytes("digest")? != once.digest {
        return Err(StoreError::KeyReused);
    }
    before.text("object").map(Some)
}

/// One line of the audit log.
pub(super) struct Change<'a> {
    pub action: &'static str,
    /// `peer k3f9q2x7 (branch-12)`.
    pub object: String,
    pub account: Option<&'a AccountId>,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// Fields that change by themselves and say nothing of what somebody did.
const VOLATILE: &[&str] =
    &["link", "usage", "status", "readiness", "reach", "peers", "connected", "instances", "used_at", "same_serial"];

/// The fields of a thing for the audit log. A peer's own `reach` is a setting, an instance's is not.
pub(super) fn fields<T: Serialize>(thing: &T) -> Stored<Option<Value>> {
    let mut value = serde_json::to_value(thing).map_err(|error| StoreError::Unavailable(error.into()))?;
    if let Value::Object(object) = &mut value {
        let own_reach = object.contains_key("kind");
        object.retain(|field, _| !VOLATILE.contains(&field.as_str()) || (own_reach && field == "reach"));
    }
    Ok(Some(value))
}

/// Writes a line of the audit log.
pub(super) async fn audit(tx: &mut Tx, who: &str, change: Change<'_>) -> Stored<()> {
    let text = |value: Option<Value>| value.as_ref().map(to_json).transpose();
    q!(
        "INSERT INTO audit (at, who, action, object, account, before, after) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        tx.now,
        who,
        change.action,
        change.object,
        change.account.map(|account| account.as_str().to_owned()),
        text(change.before)?,
        text(change.after)?
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Lists the audit log, newest first.
pub(super) async fn list(connection: &mut AnyConnection, scope: &Scope, paging: &Paging) -> Stored<Page<AuditEntry>> {
    let mut sql = Sql::new("SELECT number, at, who, action, object, account, before, after FROM audit WHERE 1 = 1");
    sql.scope("account", scope);
    if let Some(before) = paging.cursor.as_deref().and_then(|cursor| cursor.parse::<i64>().ok()) {
        sql.push(" AND number < ").bind(before);
    }
    sql.push(" ORDER BY number DESC LIMIT ").bind(paging.more());
    let mut items = Vec::new();
    for row in sql.query().all(connection).await? {
        items.push(AuditEntry {
            number: row.int("number")?,
            at: row.int("at")?,
            who: row.text("who")?,
            action: row.text("action")?,
            object: row.text("object")?,
            account: row.opt_word("account")?,
            before: row.opt_json("before")?,
            after: row.opt_json("after")?,
        });
    }
    Ok(paging.page(items, |entry| entry.number.to_string()))
}
