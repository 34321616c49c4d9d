//! The gateway's own disk: keys, what it last knew, traffic totals.
//!
//! ```text
//! <state-dir>/               0700
//!   lock                     held while a gateway runs
//!   install                  a random word, made once
//!   desired.log              what the hub last told
//!   traffic.log              totals by peer, and the number of the last report
//!   instances/<id>/key       0600: the private key of the instance's first device, as `wg genkey` prints it
//!   instances/<id>/key-<n>   the same of device n, where there was more than one
//!   aside/<time>-<id>/key    keys of instances that a hub no longer lists, for 30 days
//! ```
//!
//! Every file is either replaced whole (written beside, synced, renamed) or appended to by whole lines with a checksum
//! ([`Log`]). A file that was damaged is an error that names it: it is never taken for empty.

mod files;
mod keys;
mod log;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub use log::{Flush, Log};

pub(crate) use files::{ensure_dir, remove_dir, sync_dir, write_whole};

/// Permissions of files: the owner alone.
const FILE_MODE: u32 = 0o600;
/// Permissions of directories: the owner alone.
const DIR_MODE: u32 = 0o700;
/// Random bytes of the word that tells this installation from another one.
const INSTALL_BYTES: usize = 16;

/// Why the state directory cannot be used. Names the file; never shows what is in it.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried, such as `write`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not what was written there.
    #[error("{} is damaged: {why}", path.display())]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
    /// A file is of a later version of sitepeer.
    #[error("{} is of version {version}, this program knows versions up to {known}", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest known here.
        known: u32,
    },
    /// Another gateway uses the directory.
    #[error("another gateway uses {}", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The system gave no random bytes for a key.
    #[error("no key for {}", path.display())]
    NoKey {
        /// The file that was to hold it.
        path: PathBuf,
        /// Why.
        source: crate::wireguard::keys::NoRandomness,
    },
}

impl DiskError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn corrupt(path: &Path, why: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), why: why.into() }
    }

    /// What the user may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { .. } => "check that the directory is there, belongs to this user, and that the disk is not full".to_owned(),
            Self::Corrupt { path, .. } if is_key(path) => {
                "put the key back from a backup, or move the file away: a new key is made then, and every peer of the instance \
                 needs it"
                    .to_owned()
            }
            Self::Corrupt { path, .. } => {
                format!("move {} away: the hub tells everything again; keys are in files of their own", path.display())
            }
            Self::Newer { .. } => "use the newer sitepeer, or an older copy of the directory".to_owned(),
            Self::Busy { .. } => "stop the other gateway, or give each a --state-dir of its own".to_owned(),
            Self::NoKey { .. } => return None,
        })
    }
}

/// Whether a file holds a private key, by its name.
fn is_key(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name == "key" || name.starts_with("key-"))
}

/// A state directory that belongs to this process as long as this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    install: String,
    /// Locked.
    _lock: File,
}

impl StateDir {
    /// Opens a state directory, making what is missing.
    ///
    /// # Errors
    /// [`DiskError::Busy`] if another gateway uses it; [`DiskError`] if it cannot be used.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        for dir in [path.to_owned(), path.join("instances"), path.join("aside")] {
            ensure_dir(&dir)?;
        }
        let lock = lock(path)?;
        let install = install(&path.join("install"))?;
        Ok(Self { path: path.to_owned(), install, _lock: lock })
    }

    /// The word that tells this installation from another one.
    #[must_use]
    pub fn install(&self) -> &str {
        &self.install
    }

    /// Where something is kept.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn lock(dir: &Path) -> Result<File, DiskError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
    let file = file.map_err(DiskError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::Busy { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(DiskError::Io { what: "lock", path, source }),
    }
}

/// Reads the installation's word, or makes it.
fn install(path: &Path) -> Result<String, DiskError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let word = text.trim();
            let fits = (16..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if fits { Ok(word.to_owned()) } else { Err(DiskError::corrupt(path, "it is no word of 16 to 64 letters")) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let word = random_word(INSTALL_BYTES, path)?;
            write_whole(path, format!("{word}\n").as_bytes())?;
            Ok(word)
        }
        Err(error) => Err(DiskError::io("read", path)(error)),
    }
}

/// Random hexadecimal digits, two for each byte.
pub(crate) fn random_word(bytes: usize, path: &Path) -> Result<String, DiskError> {
    use std::fmt::Write as _;
    let random = crate::wireguard::keys::generate_preshared();
    let random = random.map_err(|source| DiskError::NoKey { path: path.to_owned(), source })?;
    Ok(random.expose().iter().take(bytes).fold(String::new(), |mut word, byte| {
        // Writing into a String does not fail.
        let _: std::fmt::Result = write!(word, "{byte:02x}");
        word
    }))
}
