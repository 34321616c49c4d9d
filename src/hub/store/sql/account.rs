//! Accounts.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::check::{conflict, name, not_found, version};
use super::db::{Db, RowExt as _, Run as _, Tx, is_foreign, is_unique, q};
use super::list::{Page as _, Sql};
use super::once::{Change, audit, fields, first_time};
use super::secret::new_id;
use crate::api::{Account, AccountEdit, AccountId, DEFAULT_MAX_INSTANCES, NewAccount, Page, code};
use crate::hub::store::{Actor, Once, Paging, Scope, StoreError, Stored};

const SELECT: &str = "SELECT a.id, a.name, a.max_instances, a.created_at, a.version, \
    (SELECT COUNT(*) FROM instance i WHERE i.account = a.id) AS instances FROM account a WHERE 1 = 1";

fn from_row(row: &AnyRow) -> Stored<Account> {
    Ok(Account {
        id: row.word("id")?,
        name: row.text("name")?,
        max_instances: row.small("max_instances")?,
        instances: row.small("instances")?,
        created_at: row.int("created_at")?,
        version: row.int("version")?,
    })
}

async fn read(connection: &mut AnyConnection, scope: &Scope, id: &AccountId) -> Stored<Account> {
    let mut sql = Sql::new(SELECT);
    sql.scope("a.id", scope).push(" AND a.id = ").bind(id.as_str().to_owned());
    let row = sql.query().maybe(connection).await?;
    from_row(&row.ok_or_else(|| not_found("account", id))?)
}

fn taken(error: sqlx::Error, name: &str) -> StoreError {
    if is_unique(&error) {
        return conflict("name", format!("there is an account {name:?} already"), code::NAME_TAKEN);
    }
    error.into()
}

fn object(account: &Account) -> String {
    format!("account {} ({})", account.id, account.name)
}

pub(super) async fn create(db: &Db, by: &Actor, once: Option<&Once>, new: NewAccount) -> Stored<Account> {
    name("name", &new.name)?;
    let mut tx = db.begin().await?;
    let id: AccountId = new_id()?;
    if let Some(made) = first_time(&mut tx, by, once, id.as_str()).await? {
        return read(&mut tx, &by.scope, &made.parse().map_err(|_| not_found("account", &made))?).await;
    }
    let most = i64::from(new.max_instances.unwrap_or(DEFAULT_MAX_INSTANCES));
    q!(
        "INSERT INTO account (id, name, max_instances, created_at, version) VALUES ($1, $2, $3, $4, 1)",
        id.as_str(),
        new.name.as_str(),
        most,
        tx.now
    )
    .run(&mut tx)
    .await
    .map_err(|error| taken(error, &new.name))?;
    let account = read(&mut tx, &Scope::All, &id).await?;
    log(&mut tx, by, "account.create", None, Some(&account)).await?;
    tx.commit().await?;
    Ok(account)
}

async fn log(
    tx: &mut Tx,
    by: &Actor,
    action: &'static str,
    before: Option<&Account>,
    after: Option<&Account>,
) -> Stored<()> {
    let Some(account) = after.or(before) else { return Ok(()) };
    let (was, is) = (before.map(fields).transpose()?.flatten(), after.map(fields).transpose()?.flatten());
    let change = Change { action, object: object(account), account: Some(&account.id), before: was, after: is };
    audit(tx, &by.who, change).await
}

pub(super) async fn list(db: &Db, by: &Actor, paging: &Paging) -> Stored<Page<Account>> {
    let mut sql = Sql::new(SELECT);
    sql.scope("a.id", &by.scope).after("a.id", paging);
    let rows = sql.query().all(&mut *db.read().await?).await?;
    let items = rows.iter().map(from_row).collect::<Stored<_>>()?;
    Ok(paging.page(items, |account: &Account| account.id.to_string()))
}

pub(super) async fn get(db: &Db, by: &Actor, id: &AccountId) -> Stored<Account> {
    read(&mut *db.read().await?, &by.scope, id).await
}

pub(super) async fn edit(
    db: &Db,
    by: &Actor,
    id: &AccountId,
    if_match: Option<i64>,
    edit: AccountEdit,
) -> Stored<Account> {
    if let Some(new) = &edit.name {
        name("name", new)?;
    }
    let mut tx = db.begin().await?;
    lock(&mut tx, id).await?;
    let before = read(&mut tx, &by.scope, id).await?;
    version("account", id, before.version, if_match)?;
    let new = edit.name.as_deref().unwrap_or(&before.name);
    let most = i64::from(edit.max_instances.unwrap_or(before.max_instances));
    q!("UPDATE account SET name = $2, max_instances = $3, version = version + 1 WHERE id = $1", id.as_str(), new, most)
        .run(&mut tx)
        .await
        .map_err(|error| taken(error, new))?;
    let after = read(&mut tx, &by.scope, id).await?;
    log(&mut tx, by, "account.edit", Some(&before), Some(&after)).await?;
    tx.commit().await?;
    Ok(after)
}

/// Holds the account until the change is made: two of them must not both take its last place for an instance.
pub(super) async fn lock(tx: &mut Tx, id: &AccountId) -> Stored<()> {
    let mut sql = Sql::new("SELECT id FROM account WHERE id = ");
    sql.bind(id.as_str().to_owned()).push(&tx.dialect.lock("account"));
    sql.query().maybe(tx).await?;
    Ok(())
}

pub(super) async fn delete(db: &Db, by: &Actor, id: &AccountId, if_match: Option<i64>) -> Stored<()> {
    let mut tx = db.begin().await?;
    lock(&mut tx, id).await?;
    let before = read(&mut tx, &by.scope, id).await?;
    version("account", id, before.version, if_match)?;
    let sites = q!("SELECT COUNT(*) AS n FROM site WHERE account = $1", id.as_str()).one(&mut tx).await?;
    let used = |what: String| StoreError::Conflict {
        field: None,
        detail: format!("account {id} still has {what}"),
        code: code::IN_USE,
        hint: Some("delete its instances and sites first".to_owned()),
    };
    if before.instances > 0 {
        return Err(used(format!("{} instances", before.instances)));
    }
    if sites.int("n")? > 0 {
        return Err(used(format!("{} sites", sites.int("n")?)));
    }
    q!("UPDATE token SET revoked_at = $2 WHERE account = $1 AND revoked_at IS NULL", id.as_str(), tx.now)
        .run(&mut tx)
        .await?;
    let gone = q!("DELETE FROM account WHERE id = $1", id.as_str()).run(&mut tx).await;
    gone.map_err(|error| if is_foreign(&error) { used("instances or sites".to_owned()) } else { error.into() })?;
    log(&mut tx, by, "account.delete", Some(&before), None).await?;
    tx.commit().await
}
