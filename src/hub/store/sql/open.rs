//! Opens a database: options of the connections, integrity, schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Connection as _, Executor as _};

use super::db::{Db, Dialect, RowExt as _, Run as _, is_corrupt, q};
use super::{Holds, SqlStore, listen, migrate};
use crate::domain::Secret;
use crate::hub::store::{Settings, StoreConfig, StoreError, Stored};
use crate::hub::wake::Wakes;

/// Readers of SQLite: more than cores do not read faster, and each has a cache of its own.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL of one replica; its default allows 100 in all.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Longest wait for a connection, SQLite's only writer above all. Whoever waits longer is told that the store does not answer.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// What every connection to SQLite is told. An acknowledged change is on the disk: FULL, not NORMAL. The cache is 4 MiB for each: the
/// kernel's has the rest.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
    PRAGMA busy_timeout = 5000; PRAGMA cache_size = -4000; PRAGMA temp_store = MEMORY;";
/// What every connection to PostgreSQL is told: no wait is for ever.
const POSTGRES_SETTINGS: &str =
    "SET lock_timeout = '5s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s';";

/// Opens the SQLite file, or makes one where there is none.
pub(in crate::hub::store) async fn sqlite(path: &Path, settings: &Settings) -> Stored<SqlStore> {
    sqlx::any::install_default_drivers();
    let shown = path.display().to_string();
    let lock = lock(path)?;
    private(path)?;
    let url = file_url(path)?;
    let pool = |connections| {
        AnyPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(CONNECTION_WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(prepare(connection, SQLITE_SETTINGS)))
    };
    let open = |error: sqlx::Error| cannot_open(&shown, error);
    // Before there is a pool, which would ask a damaged file again and again until its deadline.
    let mut alone = AnyConnection::connect(&url).await.map_err(open)?;
    check(&mut alone, &shown).await?;
    alone.close().await.map_err(open)?;
    let write = pool(1).connect(&url).await.map_err(open)?;
    let read = pool(SQLITE_READERS).connect(&url).await.map_err(open)?;
    let db = finish(Dialect::Sqlite, read, write, settings, &shown).await?;
    Ok(SqlStore::new(db, settings, Holds::File(lock)))
}

/// Opens the PostgreSQL database and begins to listen.
pub(in crate::hub::store) async fn postgres(url: &Secret, settings: &Settings) -> Stored<SqlStore> {
    sqlx::any::install_default_drivers();
    let shown = without_password(url.expose());
    connect(url.expose(), &shown).await?.close().await.map_err(|error| cannot_open(&shown, error))?;
    let pool = AnyPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(CONNECTION_WAIT)
        .after_connect(|connection, _| Box::pin(prepare(connection, POSTGRES_SETTINGS)))
        .connect(url.expose())
        .await
        .map_err(|error| StoreError::Unavailable(format!("{shown}: {error}").into()))?;
    let db = finish(Dialect::Postgres, pool.clone(), pool, settings, &shown).await?;
    let listener = Listener(tokio::spawn(listen::run(url.clone(), Arc::downgrade(&db.wakes))));
    Ok(SqlStore::new(db, settings, Holds::Listener(listener)))
}

/// Opens one connection. A pool would ask again and again until its deadline, and then tell of the deadline and not of the reason.
async fn connect(url: &str, shown: &str) -> Stored<AnyConnection> {
    let late = || format!("{shown}: no answer within {} s", CONNECTION_WAIT.as_secs());
    let connection = tokio::time::timeout(CONNECTION_WAIT, Box::pin(AnyConnection::connect(url))).await;
    connection.map_err(|_| StoreError::Unavailable(late().into()))?.map_err(|error| cannot_open(shown, error))
}

async fn prepare(connection: &mut AnyConnection, settings: &'static str) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(settings)).await.map(|_| ())
}

async fn finish(dialect: Dialect, read: AnyPool, write: AnyPool, settings: &Settings, shown: &str) -> Stored<Db> {
    let db = Db { dialect, read, write, wakes: Arc::new(Wakes::default()), clock: settings.clock.clone() };
    let mut tx = db.begin().await?;
    migrate::run(&mut tx, shown).await?;
    tx.commit().await?;
    Ok(db)
}

/// Takes the file for this process, until the lock is dropped or the process ends, however it ends.
pub(in crate::hub::store) fn lock(path: &Path) -> Stored<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let cannot = |error: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("{}: {error}", Path::new(&name).display()).into())
    };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name);
    let file = file.map_err(|error| cannot(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(cannot(&"a running hub has this store")),
        Err(TryLockError::Error(error)) => Err(cannot(&error)),
    }
}

/// Makes an empty file for its owner only, where there is none: SQLite would let everybody read it. One that is empty already is
/// what is left of a store.
fn private(path: &Path) -> Stored<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::Unavailable(format!("{}: {error}", path.display()).into()))
        }
        Err(_) if path.metadata().is_ok_and(|file| file.len() == 0) => {
            let why = "it is empty, which no store ever is; if there was none, remove the file";
            Err(StoreError::Corrupt { path: path.display().to_string(), source: why.into() })
        }
        _ => Ok(()),
    }
}

/// Opens a store for one change, beside a hub that may be running on it: holds nothing, and changes no schema.
pub(in crate::hub::store) async fn beside(config: &StoreConfig) -> Stored<SqlStore> {
    sqlx::any::install_default_drivers();
    let (dialect, url, shown, settings) = match config {
        StoreConfig::Sqlite(path) => {
            if !path.is_file() {
                return Err(StoreError::State { detail: format!("there is no store at {}", path.display()) });
            }
            let url = Secret::new(file_url(path)?.replace("mode=rwc", "mode=rw"));
            (Dialect::Sqlite, url, path.display().to_string(), SQLITE_SETTINGS)
        }
        StoreConfig::Postgres(url) => {
            (Dialect::Postgres, url.clone(), without_password(url.expose()), POSTGRES_SETTINGS)
        }
    };
    let mut alone = connect(url.expose(), &shown).await?;
    if dialect == Dialect::Sqlite {
        check(&mut alone, &shown).await?;
    }
    let is_known = migrate::versions(&mut alone).await.is_ok_and(|done| migrate::is_newest(&done));
    alone.close().await.map_err(|error| cannot_open(&shown, error))?;
    if !is_known {
        let detail = format!("{shown} is no store of this version: start the hub of this version on it once");
        return Err(StoreError::State { detail });
    }
    let pool = AnyPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECTION_WAIT)
        .after_connect(move |connection, _| Box::pin(prepare(connection, settings)))
        .connect(url.expose())
        .await
        .map_err(|error| cannot_open(&shown, error))?;
    let settings = Settings::default();
    let db = Db { dialect, read: pool.clone(), write: pool, wakes: Arc::default(), clock: settings.clock.clone() };
    Ok(SqlStore::new(db, &settings, Holds::Nothing))
}

/// Looks at a file that is to be restored: whole, one of ours, and not newer than this version.
pub(in crate::hub::store) async fn inspect(path: &Path) -> Stored<()> {
    sqlx::any::install_default_drivers();
    let shown = path.display().to_string();
    let url = file_url(path)?.replace("mode=rwc", "mode=ro");
    let pool =
        AnyPoolOptions::new().max_connections(1).connect(&url).await.map_err(|error| cannot_open(&shown, error))?;
    check(&mut *pool.acquire().await.map_err(|error| cannot_open(&shown, error))?, &shown).await?;
    let done = migrate::versions(&mut *pool.acquire().await?).await;
    let done = done.map_err(|error| StoreError::Corrupt { path: shown.clone(), source: Box::new(error) })?;
    migrate::known(&done, &shown)?;
    pool.close().await;
    Ok(())
}

/// The task that hears other replicas; dropping it ends it.
#[derive(Debug)]
pub(super) struct Listener(tokio::task::JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks through the whole file, once at the start: a damaged one is never served.
async fn check(connection: &mut AnyConnection, path: &str) -> Stored<()> {
    let row = q!("PRAGMA quick_check(1)").one(connection).await;
    let verdict = row.map_err(|error| cannot_open(path, error))?.text("quick_check")?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt { path: path.to_owned(), source: verdict.into() })
}

/// What an error of the database means, with the place that is meant.
pub(in crate::hub::store) fn cannot_open(path: &str, error: sqlx::Error) -> StoreError {
    if is_corrupt(&error) {
        return StoreError::Corrupt { path: path.to_owned(), source: Box::new(error) };
    }
    StoreError::Unavailable(format!("{path}: {error}").into())
}

/// The URL of a file; what has a meaning in URLs is escaped.
pub(in crate::hub::store) fn file_url(path: &Path) -> Stored<String> {
    let Some(text) = path.to_str() else {
        return Err(StoreError::Unavailable(format!("{} is not UTF-8", path.display()).into()));
    };
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Ok(format!("sqlite://{escaped}?mode=rwc"))
}

/// What may be shown of a database URL.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "the database".to_owned() };
    let place = rest.split_once('@').map_or(rest, |(_, place)| place);
    let place = place.split('?').next().unwrap_or(place);
    format!("{scheme}://{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        assert_eq!(without_password("postgres://hub:secret@db:5432/hub?password=x"), "postgres://db:5432/hub");
        assert_eq!(without_password("hub:secret"), "the database");
    }
}
