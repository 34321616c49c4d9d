//! The store in SQL, for both databases.
//!
//! One set of statements; what differs is in [`db::Dialect`], the schema's triggers and the JSON functions of reports. Every change
//! is one transaction that holds the instance's row first, then the gateway's, then the rest: revisions of a gateway are committed
//! in their order, and no two changes wait for each other in a circle.

mod account;
mod agent;
mod cap;
mod check;
mod db;
mod drives;
mod enrollment;
mod freeze;
mod gateway;
mod health;
mod instance;
mod lease;
mod list;
mod listen;
mod migrate;
mod once;
mod open;
mod peer;
mod pool;
mod prefix;
mod reach;
mod rotate;
mod secret;
mod share;
mod site;
mod store;
mod telemetry;
mod tick;
mod token;
mod usage;

use std::sync::Arc;

use super::{Actor, Keep, Scope, Settings, StoreError, Stored};
use crate::api::{NewToken, Role};
use db::{Db, RowExt as _, Run as _, q};

pub use db::Clock;
pub(super) use open::{beside, cannot_open, file_url, inspect, lock, postgres, sqlite};
pub(super) use tick::after_restore;

/// What the store has to know of the hub.
#[derive(Debug, Clone)]
struct Context {
    /// The DNS domain of endpoints.
    domain: Option<String>,
    /// How often gateways are to report, in seconds.
    report_secs: u32,
    /// How long an old tunnel stays, in milliseconds.
    rotate_grace_ms: i64,
}

/// What ends with the store.
#[derive(Debug)]
enum Holds {
    /// Nothing: somebody else may be serving it.
    Nothing,
    /// The lock on a SQLite file.
    File(#[expect(dead_code, reason = "held, never read")] std::fs::File),
    /// The task that hears other replicas.
    Listener(#[expect(dead_code, reason = "held, never read")] open::Listener),
}

/// The store over a database.
#[derive(Debug)]
pub(super) struct SqlStore {
    db: Arc<Db>,
    telemetry: telemetry::Telemetry,
    context: Context,
    rounds: tick::Rounds,
    _holds: Holds,
}

impl SqlStore {
    fn new(db: Db, settings: &Settings, holds: Holds) -> Self {
        let rotate_grace_ms = i64::try_from(settings.rotate_grace.as_millis()).unwrap_or(i64::MAX);
        let context = Context { domain: settings.domain.clone(), report_secs: settings.report_secs, rotate_grace_ms };
        let db = Arc::new(db);
        let telemetry = telemetry::Telemetry::start(Arc::clone(&db));
        let rounds = tick::Rounds::begin(db.clock.now_ms());
        Self { db, telemetry, context, rounds, _holds: holds }
    }

    /// Closes all connections: a SQLite file is then complete without its log.
    pub async fn close(&self) {
        self.db.read.close().await;
        self.db.write.close().await;
    }

    async fn first_token(&self, keep: Keep<'_>) -> Stored<bool> {
        let mut tx = self.db.begin().await?;
        if tx.dialect == db::Dialect::Postgres {
            // Two replicas that start at once make one token, not two.
            q!("LOCK TABLE token IN EXCLUSIVE MODE").run(&mut tx).await?;
        }
        let row = q!(
            "SELECT COUNT(*) AS n FROM token WHERE role = 'admin' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)",
            tx.now
        );
        if row.one(&mut tx).await?.int("n")? > 0 {
            return Ok(false);
        }
        let by = Actor { who: "hub".to_owned(), token: None, role: None, scope: Scope::All };
        let new =
            NewToken { name: "first start".to_owned(), role: Role::Admin, account: None, region: None, ttl_secs: None };
        let made = token::create_in(&mut tx, &by, None, new).await?;
        keep(&made).map_err(|error| {
            StoreError::Unavailable(format!("the first administrator's token cannot be written: {error}").into())
        })?;
        tx.commit().await?;
        Ok(true)
    }
}
