//! Brings a database to the schema that this version knows, and refuses one that is newer.

use sqlx::AssertSqlSafe;

use super::db::{Dialect, RowExt as _, Run as _, Tx, q};
use crate::hub::store::{StoreError, Stored};

/// One step of the schema.
struct Migration {
    common: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// All steps, in order; the schema's version is their number. What is released never changes here: a change is a new step.
const MIGRATIONS: &[Migration] = &[
    Migration {
        common: include_str!("migrations/1.sql"),
        sqlite: include_str!("migrations/1.sqlite.sql"),
        postgres: include_str!("migrations/1.postgres.sql"),
    },
    Migration { common: include_str!("migrations/2.sql"), sqlite: "", postgres: "" },
    Migration { common: include_str!("migrations/3.sql"), sqlite: "", postgres: "" },
];

/// Two replicas must not migrate at once: any number that nobody else takes.
const LOCK: i64 = 0x7369_7465_7065_6572;

/// Runs the missing steps in the given change.
pub(super) async fn run(tx: &mut Tx, path: &str) -> Stored<()> {
    if tx.dialect == Dialect::Postgres {
        q!("SELECT pg_advisory_xact_lock($1)", LOCK).run(tx).await?;
    }
    q!("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, at BIGINT NOT NULL)").run(tx).await?;
    let row = q!("SELECT COALESCE(MAX(version), 0) AS version FROM schema_version").one(tx).await?;
    let version = known(row.int("version")?, path)?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        for text in texts(migration, tx.dialect).into_iter().filter(|text| !text.is_empty()) {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut **tx).await?;
        }
        let number = i64::try_from(index + 1).unwrap_or(i64::MAX);
        q!("INSERT INTO schema_version (version, at) VALUES ($1, $2)", number, tx.now).run(tx).await?;
        tracing::info!(version = number, "schema migrated");
    }
    Ok(())
}

/// Refuses a schema that this version does not know; returns how many steps it has.
pub(super) fn known(version: i64, path: &str) -> Stored<usize> {
    let steps = usize::try_from(version).ok().filter(|steps| *steps <= MIGRATIONS.len());
    steps.ok_or_else(|| {
        let why = format!("its schema is {version}, made by a newer sitepeer; this one knows {}", MIGRATIONS.len());
        StoreError::Corrupt { path: path.to_owned(), source: why.into() }
    })
}

/// Whether a schema is the one that this version makes.
pub(super) fn is_newest(version: i64) -> bool {
    usize::try_from(version).is_ok_and(|steps| steps == MIGRATIONS.len())
}

fn texts(migration: &Migration, dialect: Dialect) -> [String; 2] {
    let (bytes, number, own) = match dialect {
        Dialect::Sqlite => ("BLOB", "INTEGER PRIMARY KEY AUTOINCREMENT", migration.sqlite),
        Dialect::Postgres => ("BYTEA", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", migration.postgres),
    };
    [migration.common.replace("@BYTES@", bytes).replace("@NUMBER@", number), own.to_owned()]
}
