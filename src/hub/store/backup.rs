//! Backup and restore of a SQLite store. A PostgreSQL database has tools of its own.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{AnyConnection, Connection as _};

use super::{Settings, StoreConfig, StoreError, Stored, sql};

/// Copies the store into a new file, while a hub may be running on it.
///
/// # Errors
/// [`StoreError::State`] for PostgreSQL, or if the new file is there already; [`StoreError::Unavailable`] if it cannot be written.
///
/// # Cancel safety
/// Dropped half way, it leaves an unfinished copy behind as `<to>.new`, which is never taken for a whole one.
pub async fn backup(config: &StoreConfig, to: &Path) -> Stored<()> {
    let path = sqlite_file(config, "pg_dump --format=custom --file=hub.dump <database url>")?;
    if !path.is_file() {
        return Err(StoreError::State { detail: format!("there is no store at {}", path.display()) });
    }
    if to.exists() {
        return Err(StoreError::State {
            detail: format!("{} is there already; a backup never replaces a file", to.display()),
        });
    }
    let draft = beside(to, ".new");
    let cannot = |error: io::Error| StoreError::Unavailable(format!("{}: {error}", draft.display()).into());
    remove_if_there(&draft).map_err(cannot)?;
    // An empty file of our own first: SQLite fills it, and would let everybody read one that it made itself.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(cannot)?;
    if let Err(error) = copy(path, &draft).await {
        remove_if_there(&draft).map_err(cannot)?;
        return Err(error);
    }
    File::open(&draft).and_then(|file| file.sync_all()).map_err(cannot)?;
    fs::rename(&draft, to).and_then(|()| sync_folder(to)).map_err(cannot)
}

/// Copies a store, and looks whether the copy is whole.
async fn copy(path: &Path, draft: &Path) -> Stored<()> {
    sqlx::any::install_default_drivers();
    let shown = path.display().to_string();
    let failed = |error: sqlx::Error| sql::cannot_open(&shown, error);
    let url = sql::file_url(path)?.replace("mode=rwc", "mode=rw");
    let mut connection = AnyConnection::connect(&url).await.map_err(failed)?;
    let name = draft.to_str().ok_or_else(|| StoreError::Unavailable("the new file's name is not UTF-8".into()))?;
    let copied = sqlx::query::<sqlx::Any>("VACUUM INTO $1").bind(name.to_owned()).execute(&mut connection).await;
    copied.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    // What is wrong with the copy is wrong with what it was made of.
    sql::inspect(draft).await.map_err(|error| match error {
        StoreError::Corrupt { source, .. } => StoreError::Corrupt { path: shown, source },
        other => other,
    })
}

/// Puts a backup in the place of the store; what was there is kept beside it, as `<store>.before-<seconds>`.
///
/// Gateways and agents are made to begin anew: what they were told after the backup is no longer true.
///
/// # Errors
/// [`StoreError::Corrupt`] if the backup is damaged, none of ours or newer; [`StoreError::State`] for PostgreSQL;
/// [`StoreError::Unavailable`] while a hub runs on the store.
///
/// # Cancel safety
/// The store is the old one or the new one.
pub async fn restore(config: &StoreConfig, from: &Path) -> Stored<()> {
    let path = sqlite_file(config, "pg_restore --clean --dbname=<database url> hub.dump")?;
    if !from.is_file() {
        return Err(StoreError::State { detail: format!("there is no backup at {}", from.display()) });
    }
    sql::inspect(from).await?;
    let lock = sql::lock(path)?;
    let draft = beside(path, ".new");
    let cannot = |error: io::Error| StoreError::Unavailable(format!("{}: {error}", draft.display()).into());
    copy_private(from, &draft).map_err(cannot)?;
    renumber(&draft).await?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // The store's own name always stands for a store, old or new: without one, a hub would begin with an empty one.
    let kept = |end: &str| beside(path, &format!(".before-{seconds}{end}"));
    if path.exists() {
        fs::hard_link(path, kept("")).or_else(|_| fs::copy(path, kept("")).map(|_| ())).map_err(cannot)?;
    }
    for end in ["-wal", "-shm"] {
        let log = beside(path, end);
        if log.exists() {
            fs::rename(&log, kept(end)).map_err(cannot)?;
        }
    }
    fs::rename(&draft, path).and_then(|()| sync_folder(path)).map_err(cannot)?;
    drop(lock);
    Ok(())
}

/// Opens the copy once, which brings its schema up to date, and makes everybody begin anew.
async fn renumber(draft: &Path) -> Stored<()> {
    let store = sql::sqlite(draft, &Settings::default()).await?;
    sql::after_restore(&store).await?;
    store.close().await;
    drop(store);
    for end in ["-wal", "-shm", ".lock"] {
        let left = beside(draft, end);
        remove_if_there(&left)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", left.display()).into()))?;
    }
    Ok(())
}

fn sqlite_file<'a>(config: &'a StoreConfig, instead: &str) -> Stored<&'a Path> {
    match config {
        StoreConfig::Sqlite(path) => Ok(path),
        StoreConfig::Postgres(_) => {
            Err(StoreError::State { detail: format!("PostgreSQL has tools of its own for this: {instead}") })
        }
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    remove_if_there(to)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

/// A new name in a folder lasts only once the folder is on the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
