//! Tokens of people, programs and gateways, and whom a credential belongs to.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::cap;
use super::check::{invalid, name, not_found};
use super::db::{Db, RowExt as _, Run as _, Tx, q, to_word};
use super::list::{Page as _, Sql};
use super::once::{Change, audit, fields, first_time};
use super::secret::{Kind, Presented, new_id, new_secret};
use crate::api::{NewToken, Page, Role, Token, TokenId, TokenMade, code};
use crate::domain::Secret;
use crate::hub::store::{Actor, Once, Paging, Principal, ProxyActor, Scope, StoreError, Stored};

const SELECT: &str =
    "SELECT id, name, role, account, region, created_at, expires_at, used_at FROM token WHERE revoked_at IS NULL";
/// A token's last use is noted to the hour: a note for every request would make every request a change.
const USED_STEP: i64 = 3600;

fn from_row(row: &AnyRow) -> Stored<Token> {
    Ok(Token {
        id: row.word("id")?,
        name: row.text("name")?,
        role: row.variant("role")?,
        account: row.opt_word("account")?,
        region: row.opt_text("region")?,
        created_at: row.int("created_at")?,
        expires_at: row.opt_int("expires_at")?,
        used_at: row.opt_int("used_at")?,
    })
}

async fn read(connection: &mut AnyConnection, scope: &Scope, id: &TokenId) -> Stored<Token> {
    let mut sql = Sql::new(SELECT);
    sql.scope("account", scope).push(" AND id = ").bind(id.as_str().to_owned());
    let row = sql.query().maybe(connection).await?;
    from_row(&row.ok_or_else(|| not_found("token", id))?)
}

fn kind(role: Role) -> Kind {
    match role {
        Role::Gateway => Kind::Gateway,
        Role::Proxy => Kind::Proxy,
        Role::Viewer | Role::Operator | Role::Admin => Kind::Token,
    }
}

pub(super) async fn create(db: &Db, by: &Actor, once: Option<&Once>, new: NewToken) -> Stored<TokenMade> {
    name("name", &new.name)?;
    let mut tx = db.begin().await?;
    let made = create_in(&mut tx, by, once, new).await?;
    tx.commit().await?;
    Ok(made)
}

pub(super) async fn create_in(tx: &mut Tx, by: &Actor, once: Option<&Once>, new: NewToken) -> Stored<TokenMade> {
    match (new.role, &new.region) {
        (Role::Gateway, Some(region)) => name("region", region)?,
        (Role::Gateway, None) => {
            return Err(invalid("region", "a gateway's token is for one region", code::INVALID)
                .hint("name the region in `region`"));
        }
        (Role::Proxy, Some(group)) => name("region", group)?,
        (_, Some(_)) => return Err(invalid("region", "only a token of a gateway or proxy has one", code::INVALID)),
        (_, None) => {}
    }
    let account = match (new.role, &new.account, &by.scope) {
        (Role::Admin | Role::Gateway, None, Scope::All) => None,
        (Role::Admin | Role::Gateway, _, Scope::Account(_)) => {
            return Err(invalid("role", "only an administrator makes such a token", code::INVALID));
        }
        (Role::Admin | Role::Gateway, Some(_), Scope::All) => {
            return Err(invalid("account", "an admin or gateway token belongs to no account", code::INVALID));
        }
        (Role::Operator | Role::Viewer | Role::Proxy, asked, _) => {
            Some(super::check::owner(tx, by, asked.as_ref()).await?.0)
        }
    };
    let mut id: TokenId = new_id()?;
    let before = first_time(tx, by, once, id.as_str()).await?;
    if let Some(made) = &before {
        id = made.parse().map_err(|_| not_found("token", made))?;
    }
    let (secret, hash) = new_secret(kind(new.role), id.as_str())?;
    if before.is_some() {
        // The reply was lost, and with it the secret: another one takes its place.
        q!("UPDATE token SET hash = $2 WHERE id = $1 AND revoked_at IS NULL", id.as_str(), hash).run(tx).await?;
        return Ok(TokenMade { token: read(tx, &by.scope, &id).await?, secret });
    }
    if let Some(account) = &account {
        let now = tx.now;
        cap::token(tx, account, now).await?;
    }
    let ends = new.ttl_secs.map(|ttl| tx.now.saturating_add(i64::from(ttl)));
    q!(
        "INSERT INTO token (id, name, role, account, hash, created_at, expires_at, region) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id.as_str(),
        new.name,
        to_word(&new.role)?,
        account.as_ref().map(|account| account.as_str().to_owned()),
        hash,
        tx.now,
        ends,
        new.region
    )
    .run(tx)
    .await?;
    let token = read(tx, &Scope::All, &id).await?;
    log(tx, &by.who, "token.create", &token, true).await?;
    Ok(TokenMade { token, secret })
}

async fn log(tx: &mut Tx, who: &str, action: &'static str, token: &Token, made: bool) -> Stored<()> {
    let object = format!("token {} ({})", token.id, token.name);
    let (before, after) = if made { (None, fields(token)?) } else { (fields(token)?, None) };
    audit(tx, who, Change { action, object, account: token.account.as_ref(), before, after }).await
}

pub(super) async fn list(db: &Db, by: &Actor, paging: &Paging) -> Stored<Page<Token>> {
    let mut sql = Sql::new(SELECT);
    sql.scope("account", &by.scope).after("id", paging);
    let rows = sql.query().all(&mut *db.read().await?).await?;
    let items = rows.iter().map(from_row).collect::<Stored<_>>()?;
    Ok(paging.page(items, |token: &Token| token.id.to_string()))
}

pub(super) async fn delete(db: &Db, by: &Actor, id: &TokenId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let token = read(&mut tx, &by.scope, id).await?;
    q!("UPDATE token SET revoked_at = $2 WHERE id = $1", id.as_str(), tx.now).run(&mut tx).await?;
    log(&mut tx, &by.who, "token.delete", &token, false).await?;
    tx.commit().await
}

pub(super) async fn authenticate(db: &Db, credential: &Secret) -> Stored<Option<Principal>> {
    let Some(presented) = Presented::read(credential) else { return Ok(None) };
    match presented.kind {
        Kind::Token | Kind::Gateway | Kind::Proxy => authenticate_token(db, &presented).await,
        Kind::Agent => authenticate_agent(db, &presented).await,
        Kind::Enrollment => Ok(None),
    }
}

async fn authenticate_token(db: &Db, presented: &Presented) -> Stored<Option<Principal>> {
    let row = q!(
        "SELECT t.id, t.name, t.role, t.account, t.region, t.hash, t.expires_at, t.used_at, t.revoked_at, g.id AS gateway \
         FROM token t LEFT JOIN gateway g ON g.token = t.id WHERE t.id = $1",
        presented.id.as_str()
    );
    let row = row.maybe(&mut *db.read().await?).await?;
    let stored = row.as_ref().map(|row| row.bytes("hash")).transpose()?;
    let (true, Some(row)) = (presented.matches(stored.as_deref()), row) else { return Ok(None) };
    let role: Role = row.variant("role")?;
    if kind(role) != presented.kind {
        return Ok(None);
    }
    if row.opt_int("revoked_at")?.is_some() {
        return Err(StoreError::Revoked);
    }
    let now = db.clock.now();
    if row.opt_int("expires_at")?.is_some_and(|end| end <= now) {
        return Err(StoreError::Token { code: code::TOKEN_EXPIRED, detail: "this token is past its time".to_owned() });
    }
    let id: TokenId = row.word("id")?;
    if row.opt_int("used_at")?.is_none_or(|used| used <= now - USED_STEP) {
        note_use(db, &id, now).await;
    }
    Ok(Some(match role {
        Role::Gateway => Principal::Gateway { token: id, gateway: row.opt_word("gateway")? },
        Role::Proxy => {
            // Such a token is made for an account only.
            let Some(account) = row.opt_word("account")? else { return Ok(None) };
            Principal::Proxy(ProxyActor { token: id, account, group: row.opt_text("region")? })
        }
        role => Principal::Token { id, name: row.text("name")?, role, account: row.opt_word("account")? },
    }))
}

/// Notes a token's use. A store that cannot be written to still lets people look.
async fn note_use(db: &Db, id: &TokenId, now: i64) {
    let hour = now - now % USED_STEP;
    let note = q!("UPDATE token SET used_at = $2 WHERE id = $1", id.as_str(), hour);
    if let Err(error) = db.alone(note).await {
        tracing::debug!(%error, "a token's use was not noted");
    }
}

async fn authenticate_agent(db: &Db, presented: &Presented) -> Stored<Option<Principal>> {
    let row = q!(
        "SELECT c.hash, c.peer, c.revoked_at, c.used_at, p.id, p.instance, p.account FROM credential c LEFT JOIN peer p ON p.id = c.peer \
         WHERE c.id = $1",
        presented.id.as_str()
    );
    let row = row.maybe(&mut *db.read().await?).await?;
    let stored = row.as_ref().map(|row| row.bytes("hash")).transpose()?;
    let (true, Some(row)) = (presented.matches(stored.as_deref()), row) else { return Ok(None) };
    // Who holds the whole credential may know that its peer is no more: nothing is to be on its router then.
    let Some(peer) = row.opt_word("id")? else { return Err(not_found("peer", &row.text("peer")?)) };
    if row.opt_int("revoked_at")?.is_some() {
        return Err(StoreError::Revoked);
    }
    if row.opt_int("used_at")?.is_none() {
        // From now on its owner has it for certain: nobody gets it a second time by the same enrolment.
        let note = q!("UPDATE credential SET used_at = $2 WHERE id = $1", presented.id.as_str(), db.clock.now());
        db.alone(note).await?;
    }
    Ok(Some(Principal::Agent { peer, instance: row.word("instance")?, account: row.word("account")? }))
}
