//! Opening a store, and its first token.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::StoreError;
use super::{Clock, Store, Stored, sql};
use crate::domain::Secret;

/// How long a site's old tunnel stays after the new one is used both ways: a WireGuard session lives three minutes, so whatever an
/// end still sends by the old one has ended by then.
pub const ROTATE_GRACE: Duration = Duration::from_mins(3);

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// A SQLite file; it is made if it is not there.
    Sqlite(PathBuf),
    /// A PostgreSQL database by its URL, which may carry a password.
    Postgres(Secret),
}

/// What the store has to know of the hub.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The DNS domain of endpoints, `<hostname>.<domain>`; without it, peers call the gateway's own address.
    pub domain: Option<String>,
    /// How often gateways are to report, in seconds.
    pub report_secs: u32,
    /// How long a site's old tunnel stays after the new one is used both ways.
    pub rotate_grace: Duration,
    /// The hub's clock.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self { domain: None, report_secs: 10, rotate_grace: ROTATE_GRACE, clock: Clock::default() }
    }
}

/// Opens a store with the default settings.
///
/// # Errors
/// As [`open_with`].
///
/// # Cancel safety
/// A schema is made whole or not at all.
pub async fn open(config: &StoreConfig) -> Stored<Arc<dyn Store>> {
    open_with(config, &Settings::default()).await
}

/// Opens a store, and makes what is missing of its schema.
///
/// # Errors
/// [`StoreError::Corrupt`] if the database is damaged, none of ours or made by a newer version;
/// [`StoreError::Unavailable`] if it cannot be reached or written to, or if a running hub has the file.
///
/// # Cancel safety
/// A schema is made whole or not at all.
pub async fn open_with(config: &StoreConfig, settings: &Settings) -> Stored<Arc<dyn Store>> {
    Ok(match config {
        StoreConfig::Sqlite(path) => Arc::new(sql::sqlite(path, settings).await?),
        StoreConfig::Postgres(url) => Arc::new(sql::postgres(url, settings).await?),
    })
}

/// Makes the first administrator's token and writes it to `file`, which only its owner can read; tells whether one was made.
///
/// # Errors
/// [`StoreError::Unavailable`] if the file cannot be written: no token is made then.
///
/// # Cancel safety
/// At worst the file holds a token that was not made; the next start replaces it.
pub async fn first_admin(store: &dyn Store, file: &Path) -> Stored<bool> {
    store.first_token(&|made| write_private(file, made.secret.expose())).await
}

/// Writes a file anew, for its owner only, all of it or nothing.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().ok_or_else(|| io::Error::other("no file name"))?;
    let mut draft = name.to_owned();
    draft.push(".new");
    let draft = file.with_file_name(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    open.write_all(text.as_bytes())?;
    open.write_all(b"\n")?;
    open.sync_all()?;
    fs::rename(&draft, file)
}
