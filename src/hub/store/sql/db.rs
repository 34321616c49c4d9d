//! Connections, transactions, and how values come out of rows.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, Row as _, Transaction};

use crate::hub::store::{StoreError, Stored};
use crate::hub::wake::{Signal, Wakes};

/// A query with its arguments, in order.
macro_rules! q {
    ($sql:expr $(, $argument:expr)* $(,)?) => { sqlx::query::<sqlx::Any>($sql)$(.bind($argument))* };
}
pub(super) use q;

/// What differs between the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, embedded.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Dialect {
    /// The end of a SELECT whose rows nobody else may change until the transaction ends; SQLite has one writer anyway.
    pub fn lock(self, table: &str) -> String {
        match self {
            Self::Sqlite => String::new(),
            Self::Postgres => format!(" FOR UPDATE OF {table}"),
        }
    }

    fn begin_write(self) -> &'static str {
        match self {
            // The lock is taken at once, with the bounded wait of `busy_timeout`, and not in the midst of the work.
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

/// The hub's clock. A clone is the same clock.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Puts the clock forward, for tests of what ends with time.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Returns by how many milliseconds it was put forward.
    pub(super) fn ahead_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(self.0.load(Ordering::Relaxed))
    }

    /// Returns seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.now_ms() / 1000
    }
}

/// The database, and whom its changes wake.
#[derive(Debug)]
pub struct Db {
    pub(super) dialect: Dialect,
    pub(super) read: AnyPool,
    /// One connection for SQLite: writers queue here, in order, with a bounded wait.
    pub(super) write: AnyPool,
    pub(super) wakes: Arc<Wakes>,
    pub(super) clock: Clock,
}

/// A query that is ready, of either database.
pub(super) type Ready = Query<'static, Any, AnyArguments>;

/// How queries are run: each is a future of one plain type, because the compiler would otherwise take minutes for what they are
/// nested in.
pub(super) trait Run {
    /// Runs it; returns how many rows it changed.
    fn run(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<u64, sqlx::Error>>;
    /// Reads all rows.
    fn all(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<Vec<AnyRow>, sqlx::Error>>;
    /// Reads the only row, if there is one.
    fn maybe(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<Option<AnyRow>, sqlx::Error>>;
    /// Reads the only row.
    fn one(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<AnyRow, sqlx::Error>>;
}

impl Run for Ready {
    fn run(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move { Ok(self.execute(connection).await?.rows_affected()) })
    }

    fn all(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<Vec<AnyRow>, sqlx::Error>> {
        Box::pin(self.fetch_all(connection))
    }

    fn maybe(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<Option<AnyRow>, sqlx::Error>> {
        Box::pin(self.fetch_optional(connection))
    }

    fn one(self, connection: &mut AnyConnection) -> BoxFuture<'_, Result<AnyRow, sqlx::Error>> {
        Box::pin(self.fetch_one(connection))
    }
}

impl Db {
    /// Takes a connection for reading.
    pub fn read(&self) -> BoxFuture<'_, Result<PoolConnection<Any>, sqlx::Error>> {
        Box::pin(self.read.acquire())
    }

    /// Runs a change of one statement that nobody waits for.
    pub async fn alone(&self, change: Ready) -> Stored<u64> {
        let acquired: BoxFuture<'_, _> = Box::pin(self.write.acquire());
        let mut connection = acquired.await?;
        Ok(change.run(&mut connection).await?)
    }

    /// Begins a change.
    pub async fn begin(&self) -> Stored<Tx> {
        let begun: BoxFuture<'_, _> = Box::pin(self.write.begin_with(self.dialect.begin_write()));
        let inner = begun.await?;
        let (now, now_ms) = (self.clock.now(), self.clock.now_ms());
        Ok(Tx { inner, dialect: self.dialect, wakes: Arc::clone(&self.wakes), signals: Vec::new(), now, now_ms })
    }

    /// Begins reading what belongs together: all queries see the same state.
    pub async fn snapshot(&self) -> Stored<Transaction<'static, Any>> {
        let begun: BoxFuture<'_, _> = Box::pin(self.read.begin_with(self.dialect.begin_read()));
        Ok(begun.await?)
    }
}

/// A change that is not yet made. Dropping it undoes it.
pub struct Tx {
    inner: Transaction<'static, Any>,
    pub(super) dialect: Dialect,
    wakes: Arc<Wakes>,
    signals: Vec<Signal>,
    /// Seconds since 1970, the same throughout the change.
    pub(super) now: i64,
    pub(super) now_ms: i64,
}

impl Tx {
    /// Microseconds since 1970: where revisions go on.
    pub fn now_us(&self) -> i64 {
        self.now_ms.saturating_mul(1000)
    }

    /// Remembers whom to wake after the commit.
    pub fn signal(&mut self, signal: Signal) {
        if !self.signals.contains(&signal) {
            self.signals.push(signal);
        }
    }

    /// Makes the change last, then wakes whom it concerns: here, and in the other replicas.
    pub async fn commit(mut self) -> Stored<()> {
        if self.dialect == Dialect::Postgres {
            for signal in self.signals.clone() {
                q!("SELECT pg_notify($1, $2)", super::listen::CHANNEL, signal.to_string()).run(&mut self).await?;
            }
        }
        let done: BoxFuture<'_, _> = Box::pin(self.inner.commit());
        done.await?;
        for signal in &self.signals {
            self.wakes.signal(signal);
        }
        Ok(())
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_corrupt(&error) {
            return Self::Corrupt { path: "its database".to_owned(), source: Box::new(error) };
        }
        Self::Unavailable(Box::new(error))
    }
}

/// Whether SQLite says that the file is damaged (11) or none of its own (26).
pub(super) fn is_corrupt(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(code.as_ref(), "11" | "26" | "267" | "523" | "779"))
}

/// Whether two changes met in PostgreSQL, and this one has to be tried again.
pub(super) fn is_clash(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    let error = source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    let code = error.and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(code.as_ref(), "40001" | "40P01"))
}

/// Whether a unique constraint was violated. It is the last line: whoever calls has looked before, and names what is in the way.
pub(super) fn is_unique(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether a foreign key was violated: something is still in use.
pub(super) fn is_foreign(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}

/// A value in a row that is not what was written there.
fn odd<E: Into<Box<dyn std::error::Error + Send + Sync>>>(column: &str, source: E) -> StoreError {
    StoreError::Corrupt { path: format!("its column {column}"), source: source.into() }
}

/// How values come out of a row. Anything that is not what was once written stops the store.
pub trait RowExt {
    /// Reads a number.
    fn int(&self, column: &str) -> Stored<i64>;
    /// Reads a number that may be missing.
    fn opt_int(&self, column: &str) -> Stored<Option<i64>>;
    /// Reads a text.
    fn text(&self, column: &str) -> Stored<String>;
    /// Reads a text that may be missing.
    fn opt_text(&self, column: &str) -> Stored<Option<String>>;
    /// Reads bytes.
    fn bytes(&self, column: &str) -> Stored<Vec<u8>>;

    /// Reads 0 or 1.
    fn flag(&self, column: &str) -> Stored<bool> {
        Ok(self.int(column)? != 0)
    }

    /// Reads a number that is never negative.
    fn count(&self, column: &str) -> Stored<u64> {
        u64::try_from(self.int(column)?).map_err(|error| odd(column, error))
    }

    /// Reads a small number.
    fn small<T: TryFrom<i64, Error: std::error::Error + Send + Sync + 'static>>(&self, column: &str) -> Stored<T> {
        T::try_from(self.int(column)?).map_err(|error| odd(column, error))
    }

    /// Reads a small number that may be missing.
    fn opt_small<T>(&self, column: &str) -> Stored<Option<T>>
    where
        T: TryFrom<i64, Error: std::error::Error + Send + Sync + 'static>,
    {
        self.opt_int(column)?.map(|value| T::try_from(value).map_err(|error| odd(column, error))).transpose()
    }

    /// Reads a word of the field.
    fn word<T: FromStr<Err: fmt::Display>>(&self, column: &str) -> Stored<T> {
        self.text(column)?.parse().map_err(|error: T::Err| odd(column, error.to_string()))
    }

    /// Reads a word of the field that may be missing.
    fn opt_word<T: FromStr<Err: fmt::Display>>(&self, column: &str) -> Stored<Option<T>> {
        let parse = |text: String| text.parse().map_err(|error: T::Err| odd(column, error.to_string()));
        self.opt_text(column)?.map(parse).transpose()
    }

    /// Reads JSON.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Stored<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| odd(column, error))
    }

    /// Reads JSON that may be missing.
    fn opt_json<T: DeserializeOwned>(&self, column: &str) -> Stored<Option<T>> {
        self.opt_text(column)?.map(|text| serde_json::from_str(&text).map_err(|error| odd(column, error))).transpose()
    }

    /// Reads one of the words of an enumeration, as it stands in JSON.
    fn variant<T: DeserializeOwned>(&self, column: &str) -> Stored<T> {
        let word = serde_json::Value::String(self.text(column)?);
        serde_json::from_value(word).map_err(|error| odd(column, error))
    }
}

impl RowExt for AnyRow {
    fn int(&self, column: &str) -> Stored<i64> {
        Ok(self.try_get(column)?)
    }

    fn opt_int(&self, column: &str) -> Stored<Option<i64>> {
        Ok(self.try_get(column)?)
    }

    fn text(&self, column: &str) -> Stored<String> {
        Ok(self.try_get(column)?)
    }

    fn opt_text(&self, column: &str) -> Stored<Option<String>> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: &str) -> Stored<Vec<u8>> {
        Ok(self.try_get(column)?)
    }
}

/// Writes JSON for a column.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Stored<String> {
    serde_json::to_string(value).map_err(|error| odd("of JSON", error))
}

/// The word of an enumeration, as it stands in JSON.
pub(super) fn to_word<T: Serialize>(value: &T) -> Stored<String> {
    match serde_json::to_value(value).map_err(|error| odd("of a word", error))? {
        serde_json::Value::String(word) => Ok(word),
        other => Err(odd("of a word", other.to_string())),
    }
}

/// SQL for the sum of two counters, neither of them negative: one that would not fit stands at the end. PostgreSQL would refuse it,
/// and SQLite make a number of it that is none of ours any more.
pub(super) fn plus(counter: &str, more: &str) -> String {
    format!("CASE WHEN {counter} > {most} - {more} THEN {most} ELSE {counter} + {more} END", most = i64::MAX)
}

/// A counter for a column of 64 bits with sign: what does not fit stands at the end.
pub(super) fn to_int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
