//! Brings a database to the schema that this version knows, and refuses one that is newer.

use std::collections::BTreeSet;

use sqlx::{AnyConnection, AssertSqlSafe};

use super::db::{Dialect, RowExt as _, Run as _, Tx, q};
use crate::hub::store::{StoreError, Stored};

/// One step of the schema.
struct Migration {
    number: i64,
    common: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// All steps, in order; the schema's version is the last one's number. What is released never changes here: a change is a new step.
/// Which ones a database has, it says itself: steps that were written side by side come into it in either order.
const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        common: include_str!("migrations/1.sql"),
        sqlite: include_str!("migrations/1.sqlite.sql"),
        postgres: include_str!("migrations/1.postgres.sql"),
    },
    Migration { number: 2, common: include_str!("migrations/2.sql"), sqlite: "", postgres: "" },
    Migration { number: 3, common: include_str!("migrations/3.sql"), sqlite: "", postgres: "" },
    Migration { number: 4, common: include_str!("migrations/4.sql"), sqlite: "", postgres: "" },
    Migration { number: 5, common: include_str!("migrations/5.sql"), sqlite: "", postgres: "" },
    Migration { number: 6, common: include_str!("migrations/6.sql"), sqlite: "", postgres: "" },
    Migration { number: 7, common: include_str!("migrations/7.sql"), sqlite: "", postgres: "" },
];

/// Two replicas must not migrate at once: any number that nobody else takes.
const LOCK: i64 = 0x7369_7465_7065_6572;

/// Runs the missing steps in the given change.
pub(super) async fn run(tx: &mut Tx, path: &str) -> Stored<()> {
    if tx.dialect == Dialect::Postgres {
        q!("SELECT pg_advisory_xact_lock($1)", LOCK).run(tx).await?;
    }
    q!("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, at BIGINT NOT NULL)").run(tx).await?;
    let done = versions(tx).await?;
    known(&done, path)?;
    for migration in MIGRATIONS.iter().filter(|migration| !done.contains(&migration.number)) {
        for text in texts(migration, tx.dialect).into_iter().filter(|text| !text.is_empty()) {
            let text = text.replace("@NOW@", &tx.now.to_string());
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut **tx).await?;
        }
        let number = migration.number;
        q!("INSERT INTO schema_version (version, at) VALUES ($1, $2)", number, tx.now).run(tx).await?;
        tracing::info!(version = number, "schema migrated");
    }
    Ok(())
}

/// The steps that a database has.
pub(super) async fn versions(connection: &mut AnyConnection) -> Stored<BTreeSet<i64>> {
    let rows = q!("SELECT version FROM schema_version").all(connection).await?;
    rows.iter().map(|row| row.int("version")).collect()
}

/// Refuses a schema that this version does not know.
pub(super) fn known(done: &BTreeSet<i64>, path: &str) -> Stored<()> {
    let newest = MIGRATIONS.iter().map(|migration| migration.number).max().unwrap_or(0);
    match done.last().filter(|last| **last > newest) {
        None => Ok(()),
        Some(last) => {
            let why = format!("its schema is {last}, made by a newer sitepeer; this one knows {newest}");
            Err(StoreError::Corrupt { path: path.to_owned(), source: why.into() })
        }
    }
}

/// Whether a schema is the one that this version makes.
pub(super) fn is_newest(done: &BTreeSet<i64>) -> bool {
    MIGRATIONS.iter().map(|migration| migration.number).eq(done.iter().copied())
}

fn texts(migration: &Migration, dialect: Dialect) -> [String; 2] {
    let (bytes, number, own) = match dialect {
        Dialect::Sqlite => ("BLOB", "INTEGER PRIMARY KEY AUTOINCREMENT", migration.sqlite),
        Dialect::Postgres => ("BYTEA", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", migration.postgres),
    };
    [migration.common.replace("@BYTES@", bytes).replace("@NUMBER@", number), own.to_owned()]
}
