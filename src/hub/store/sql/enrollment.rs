//! Enrolment tokens, and the devices that use them.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::agent::{check_device, nameless};
use super::cap;
use super::check::{invalid, not_found};
use super::db::{Db, RowExt as _, Run as _, Tx, q, to_word};
use super::drives;
use super::instance::Inst;
use super::list::{Page as _, Sql};
use super::once::{Change, audit, fields, first_time};
use super::peer::{self, Pr};
use super::secret::{Kind, Presented, hash, new_id, new_secret};
use super::site;
use crate::api::{
    EnrollReply, EnrollRequest, Enrollment, EnrollmentId, EnrollmentKind, EnrollmentMade, EnrollmentState,
    NewEnrollment, Page, PeerKind, code,
};
use crate::domain::Secret;
use crate::hub::store::{Actor, Once, Paging, Scope, StoreError, Stored};

/// Time to live of a token that names none, and the longest, in seconds.
const DEFAULT_TTL: u32 = 24 * 3600;
const MOST_TTL: u32 = 90 * 24 * 3600;
/// Most uses of a token.
const MOST_USES: u32 = 1000;
/// A device whose reply was lost comes again within this time, in seconds, and before it used its credential.
const REPLAY_WITHIN: i64 = 600;
/// What interfaces on routers are called, before the instance's name: as the agent names them.
const INTERFACE_PREFIX: &str = "sitepeer-";

const SELECT: &str =
    "SELECT id, account, kind, peer, uses, used, created_at, expires_at, revoked_at FROM enrollment WHERE 1 = 1";

fn from_row(row: &AnyRow, now: i64) -> Stored<Enrollment> {
    let mut token = Enrollment {
        id: row.word("id")?,
        account: row.word("account")?,
        kind: row.variant("kind")?,
        peer: row.word("peer")?,
        state: EnrollmentState::Open,
        uses: row.small("uses")?,
        used: row.small("used")?,
        created_at: row.int("created_at")?,
        expires_at: row.int("expires_at")?,
    };
    if row.opt_int("revoked_at")?.is_some() {
        token.state = EnrollmentState::Revoked;
    } else if token.used >= token.uses {
        token.state = EnrollmentState::Spent;
    } else if token.expires_at <= now {
        token.state = EnrollmentState::Expired;
    }
    Ok(token)
}

async fn read(connection: &mut AnyConnection, scope: &Scope, id: &EnrollmentId, now: i64) -> Stored<Enrollment> {
    let mut sql = Sql::new(SELECT);
    sql.scope("account", scope).push(" AND id = ").bind(id.as_str().to_owned());
    let row = sql.query().maybe(connection).await?;
    from_row(&row.ok_or_else(|| not_found("enrollment", id))?, now)
}

pub(super) async fn create(db: &Db, by: &Actor, once: Option<&Once>, new: NewEnrollment) -> Stored<EnrollmentMade> {
    let ttl = new.ttl_secs.unwrap_or(DEFAULT_TTL);
    let uses = new.uses.unwrap_or(1);
    if !(1..=MOST_TTL).contains(&ttl) {
        return Err(invalid("ttl_secs", format!("a time to live is 1 to {MOST_TTL} seconds"), code::INVALID));
    }
    if !(1..=MOST_USES).contains(&uses) {
        return Err(invalid("uses", format!("a token has 1 to {MOST_USES} uses"), code::INVALID));
    }
    let mut tx = db.begin().await?;
    let (_, peer) = peer::lock(&mut tx, &by.scope, &new.peer).await?;
    let mut id: EnrollmentId = new_id()?;
    let now = tx.now;
    let before = first_time(&mut tx, by, once, id.as_str()).await?;
    if let Some(made) = &before {
        id = made.parse().map_err(|_| not_found("enrollment", made))?;
    }
    let (token, stored) = new_secret(Kind::Enrollment, id.as_str())?;
    if before.is_some() {
        // The reply was lost, and with it the secret: another one takes its place.
        q!("UPDATE enrollment SET hash = $2 WHERE id = $1", id.as_str(), stored).run(&mut tx).await?;
        let enrollment = read(&mut tx, &by.scope, &id, now).await?;
        tx.commit().await?;
        return Ok(EnrollmentMade { enrollment, token });
    }
    cap::enrollment(&mut tx, &peer.account, now).await?;
    q!(
        "INSERT INTO enrollment (id, account, kind, peer, hash, uses, used, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)",
        id.as_str(),
        peer.account.as_str(),
        to_word(&kind_for(&peer)?)?,
        peer.id.as_str(),
        stored,
        i64::from(uses),
        now,
        now + i64::from(ttl)
    )
    .run(&mut tx)
    .await?;
    let enrollment = read(&mut tx, &Scope::All, &id, now).await?;
    log(&mut tx, &by.who, "enrollment.create", &enrollment, None).await?;
    tx.commit().await?;
    Ok(EnrollmentMade { enrollment, token })
}

fn kind_for(peer: &Pr) -> Stored<EnrollmentKind> {
    match peer.kind {
        PeerKind::Site => Ok(EnrollmentKind::Site),
        PeerKind::Client => Ok(EnrollmentKind::Client),
        PeerKind::Remote => Err(invalid("peer", "a remote peer is not managed: nothing of it enrols", code::INVALID)),
    }
}

async fn log(
    tx: &mut Tx,
    who: &str,
    action: &'static str,
    token: &Enrollment,
    more: Option<serde_json::Value>,
) -> Stored<()> {
    let object = format!("enrollment {} (peer {})", token.id, token.peer);
    let after = match more {
        Some(more) => Some(more),
        None => fields(token)?,
    };
    audit(tx, who, Change { action, object, account: Some(&token.account), before: None, after }).await
}

pub(super) async fn list(db: &Db, by: &Actor, paging: &Paging) -> Stored<Page<Enrollment>> {
    let mut sql = Sql::new(SELECT);
    sql.scope("account", &by.scope).after("id", paging);
    let now = db.clock.now();
    let rows = sql.query().all(&mut *db.read().await?).await?;
    let items = rows.iter().map(|row| from_row(row, now)).collect::<Stored<_>>()?;
    Ok(paging.page(items, |token: &Enrollment| token.id.to_string()))
}

/// Takes a token back; who enrolled with it stays.
pub(super) async fn revoke(db: &Db, by: &Actor, id: &EnrollmentId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let now = tx.now;
    let token = read(&mut tx, &by.scope, id, now).await?;
    if token.state == EnrollmentState::Revoked {
        return Ok(());
    }
    q!("UPDATE enrollment SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", id.as_str(), now)
        .run(&mut tx)
        .await?;
    log(&mut tx, &by.who, "enrollment.revoke", &token, None).await?;
    tx.commit().await
}

/// A token that is presented, held until the change is made, with its peer.
struct Use {
    token: Enrollment,
    inst: Inst,
    peer: Pr,
    nonce: Vec<u8>,
    /// The device was here before.
    known: bool,
    /// It comes again because the reply was lost: this costs no use.
    again: bool,
}

pub(super) async fn enroll(db: &Db, request: EnrollRequest) -> Stored<EnrollReply> {
    check_request(&request)?;
    let mut tx = db.begin().await?;
    let mut used = present(&mut tx, &request).await?;
    let who = format!("enrollment {}", used.token.id);
    let mut credential = None;
    let mut credential_id = String::new();
    match used.token.kind {
        EnrollmentKind::Site => {
            let (id, secret) = bind_agent(&mut tx, &mut used).await?;
            (credential, credential_id) = (Some(secret), id);
            if let Some(site) = &used.peer.site {
                site::note_device(&mut tx, &who, site, request.device.clone()).await?;
            }
        }
        EnrollmentKind::Client => bind_client(&mut tx, &mut used, &request).await?,
    }
    count_use(&mut tx, &used, &credential_id).await?;
    let facts = serde_json::json!({
        "peer": used.peer.id, "again": used.again, "serial": request.device.serial, "board": request.device.board,
        "credential": credential_id, "public_key": request.public_key,
    });
    log(&mut tx, &who, "enrollment.use", &used.token, Some(facts)).await?;
    tx.commit().await?;
    Ok(EnrollReply {
        kind: used.token.kind,
        interface: format!("{INTERFACE_PREFIX}{}", used.inst.name),
        peer: used.peer.id,
        instance: used.inst.id,
        instance_name: used.inst.name,
        listen_port: None,
        credential,
        profile: None,
    })
}

fn check_request(request: &EnrollRequest) -> Stored<()> {
    if !(16..=64).contains(&request.device_nonce.chars().count()) {
        return Err(invalid("device_nonce", "a device nonce has 16 to 64 characters", code::INVALID));
    }
    check_device("device", &request.device)
}

/// Finds out whether the token may be used, and by whom it was. What is wrong with it is said by name.
async fn present(tx: &mut Tx, request: &EnrollRequest) -> Stored<Use> {
    let unknown =
        || StoreError::Token { code: code::UNAUTHENTICATED, detail: "this enrolment token is not known".to_owned() };
    let presented = Presented::read(&request.token).filter(|presented| presented.kind == Kind::Enrollment);
    let presented = presented.ok_or_else(unknown)?;
    let row = q!("SELECT hash, peer FROM enrollment WHERE id = $1", presented.id.as_str());
    let row = row.maybe(tx).await?;
    let stored = row.as_ref().map(|row| row.bytes("hash")).transpose()?;
    let (true, Some(row)) = (presented.matches(stored.as_deref()), row) else { return Err(unknown()) };
    // The instance first, then the token: the order of all changes.
    let locked = peer::lock(tx, &Scope::All, &row.word("peer")?).await;
    let (inst, peer) =
        locked.map_err(|error| if matches!(error, StoreError::NotFound { .. }) { unknown() } else { error })?;
    let mut hold = Sql::new(SELECT);
    hold.push(" AND id = ").bind(presented.id.clone()).push(&tx.dialect.lock("enrollment"));
    let row = hold.query().maybe(tx).await?.ok_or_else(unknown)?;
    let token = from_row(&row, tx.now)?;
    let nonce = hash(request.device_nonce.as_bytes());
    let before = q!(
        "SELECT e.at, c.used_at, c.revoked_at FROM enrolled e LEFT JOIN credential c ON c.id = e.credential \
         WHERE e.enrollment = $1 AND e.nonce = $2",
        token.id.as_str(),
        nonce.as_slice()
    );
    let before = before.maybe(tx).await?;
    let again = match &before {
        Some(row) => {
            // Taken back since, by a person or for another device: this one has had its turn.
            let pending = row.opt_int("used_at")?.is_none() && row.opt_int("revoked_at")?.is_none();
            pending && row.int("at")? >= tx.now - REPLAY_WITHIN
        }
        None => false,
    };
    usable(&token, again, tx.now)?;
    Ok(Use { token, inst, peer, nonce, known: before.is_some(), again })
}

/// A device whose reply was lost comes again with the same nonce: that a token is spent does not stop it, what else ended it does.
fn usable(token: &Enrollment, again: bool, now: i64) -> Stored<()> {
    let refuse =
        |code, what: &str| Err(StoreError::Token { code, detail: format!("enrolment token {} {what}", token.id) });
    match token.state {
        EnrollmentState::Revoked => refuse(code::TOKEN_REVOKED, "was revoked"),
        EnrollmentState::Spent if !again => {
            refuse(code::TOKEN_SPENT, &format!("is spent: it was used {} times", token.used))
        }
        _ if token.expires_at <= now => refuse(code::TOKEN_EXPIRED, "is past its time"),
        _ => Ok(()),
    }
}

/// Gives the agent a credential of its own. One agent looks after a peer: what another device got before is no good any more,
/// or the two would write their keys in turn.
async fn bind_agent(tx: &mut Tx, used: &mut Use) -> Stored<(String, Secret)> {
    if let Some(site) = &used.peer.site {
        drives::no_proxies(tx, &used.peer.id, site).await?;
    }
    if !used.again && used.peer.public_key.is_some() {
        // Another router: the key of the one before is no good any more.
        let old = used.peer.clone();
        used.peer.public_key = None;
        peer::settle(tx, &mut used.inst, Some(&old), &mut used.peer).await?;
        q!("UPDATE agent SET router_revision = NULL WHERE peer = $1", used.peer.id.as_str()).run(tx).await?;
    }
    let id: EnrollmentId = new_id()?;
    let (secret, stored) = new_secret(Kind::Agent, id.as_str())?;
    q!("UPDATE credential SET revoked_at = $2 WHERE peer = $1 AND revoked_at IS NULL", used.peer.id.as_str(), tx.now)
        .run(tx)
        .await?;
    q!(
        "INSERT INTO credential (id, peer, hash, created_at) VALUES ($1, $2, $3, $4)",
        id.as_str(),
        used.peer.id.as_str(),
        stored,
        tx.now
    )
    .run(tx)
    .await?;
    Ok((id.as_str().to_owned(), secret))
}

/// Takes a client's public key.
async fn bind_client(tx: &mut Tx, used: &mut Use, request: &EnrollRequest) -> Stored<()> {
    let Some(key) = request.public_key else {
        return Err(invalid("public_key", "a client sends the public half of the key it made", code::INVALID)
            .hint("`sitepeer client-key` makes one"));
    };
    if used.peer.public_key == Some(key) {
        return Ok(());
    }
    let old = used.peer.clone();
    used.peer.public_key = Some(key);
    used.peer.version += 1;
    peer::settle(tx, &mut used.inst, Some(&old), &mut used.peer).await.map_err(nameless)
}

async fn count_use(tx: &mut Tx, used: &Use, credential: &str) -> Stored<()> {
    let (id, nonce) = (used.token.id.as_str(), used.nonce.as_slice());
    if used.known {
        q!("UPDATE enrolled SET credential = $3 WHERE enrollment = $1 AND nonce = $2", id, nonce, credential)
            .run(tx)
            .await?;
    } else {
        q!(
            "INSERT INTO enrolled (enrollment, nonce, credential, at) VALUES ($1, $2, $3, $4)",
            id,
            nonce,
            credential,
            tx.now
        )
        .run(tx)
        .await?;
    }
    if !used.again {
        q!("UPDATE enrollment SET used = used + 1 WHERE id = $1", id).run(tx).await?;
    }
    Ok(())
}
