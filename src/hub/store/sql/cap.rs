//! Caps: nobody fills the hub for everybody else.
//!
//! What is counted is not held meanwhile: requests at the same moment may overshoot by as many as they are, which does no harm.

use sqlx::AnyConnection;

use super::check::conflict;
use super::db::{RowExt as _, Run as _, q};
use super::instance::Inst;
use super::pool;
use crate::api::{AccountId, code};
use crate::hub::store::Stored;

/// Most sites of an account: twice the ten thousand that one hub is made for.
const SITES: i64 = 20_000;
/// Most peers of an instance, where its tunnel subnet has room for more: a gateway holds each of them in memory, and reads them all
/// when it begins anew.
const PEERS: i64 = 20_000;
/// Most enrolment tokens of an account that can still be used: one for each site.
const ENROLLMENTS: i64 = 20_000;
/// Most tokens of an account that are good: people and programs, not devices.
const TOKENS: i64 = 1_000;

/// Refuses one more when there are the most already.
fn below(have: i64, most: i64, whose: String, what: &str, way: &str) -> Stored<()> {
    if have < most {
        return Ok(());
    }
    Err(conflict("account", format!("{whose} has {have} {what}, {most} is the most"), code::LIMIT).hint(way))
}

pub(super) async fn site(connection: &mut AnyConnection, account: &AccountId) -> Stored<()> {
    let have = q!("SELECT COUNT(*) AS n FROM site WHERE account = $1", account.as_str()).one(connection).await?;
    below(have.int("n")?, SITES, format!("account {account}"), "sites", "delete those that are gone")
}

pub(super) async fn peer(connection: &mut AnyConnection, inst: &Inst) -> Stored<()> {
    // Hardly a tunnel is that large: the pool is their bound, and nothing is counted.
    if i64::from(pool::last_host(inst.tunnel4)) <= PEERS {
        return Ok(());
    }
    let have = q!("SELECT COUNT(*) AS n FROM peer WHERE instance = $1", inst.id.as_str()).one(connection).await?;
    below(have.int("n")?, PEERS, format!("instance {}", inst.id), "peers", "make another instance")
}

pub(super) async fn enrollment(connection: &mut AnyConnection, account: &AccountId, now: i64) -> Stored<()> {
    let have = q!(
        "SELECT COUNT(*) AS n FROM enrollment WHERE account = $1 AND revoked_at IS NULL AND used < uses AND expires_at > $2",
        account.as_str(),
        now
    );
    let have = have.one(connection).await?.int("n")?;
    let way = "revoke those that nobody needs, or give them a shorter time to live";
    below(have, ENROLLMENTS, format!("account {account}"), "open enrolment tokens", way)
}

pub(super) async fn token(connection: &mut AnyConnection, account: &AccountId, now: i64) -> Stored<()> {
    let have = q!(
        "SELECT COUNT(*) AS n FROM token WHERE account = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
        account.as_str(),
        now
    );
    let have = have.one(connection).await?.int("n")?;
    below(have, TOKENS, format!("account {account}"), "tokens", "revoke those that nobody uses")
}
