//! Proof, on one host, that an earlier run is dead.
//!
//! A file holds a random token and is locked as long as a run lives; the kernel lets go when the process ends, however it
//! ends. Whoever holds the file's lock and reads on the router the token that is in the file knows that the run which put
//! it there is gone. Where no such file can be made, nothing is proven and the router's timeout decides.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::super::hex;
use super::warrant::Warranted;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a token: two runs never have the same by chance.
const TOKEN_BYTES: usize = 8;
/// How often the file may be removed under our hands by runs that end just then.
const OPEN_TRIES: usize = 3;

/// A run's claim on this host.
#[derive(Debug)]
pub struct LocalLock {
    file: Option<(File, PathBuf)>,
    token: String,
    warrant: Warranted,
}

/// Another process of this host is at work on the same site and router.
#[derive(Debug, thiserror::Error)]
#[error("another sitepeer on this host is at work on this router")]
pub struct BusyHere;

impl LocalLock {
    /// Claims a router, named by its address.
    ///
    /// # Errors
    /// [`BusyHere`] if another process has the claim. That no file can be made is no error: then nothing is proven.
    pub fn claim(router: &str) -> Result<Self, BusyHere> {
        let fresh = || Self { file: None, token: new_token(), warrant: None };
        let path = path(router);
        for _ in 0..OPEN_TRIES {
            let Some(mut file) = open(&path) else { return Ok(fresh()) };
            match file.try_lock() {
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(BusyHere),
                Err(TryLockError::Error(_)) => return Ok(fresh()),
            }
            let token = match stored_token(&mut file) {
                Some(token) => token,
                None => match store_token(&mut file) {
                    Ok(token) => token,
                    Err(_) => return Ok(fresh()),
                },
            };
            return Ok(Self { file: Some((file, path)), token, warrant: None });
        }
        Ok(fresh())
    }

    /// The same claim, of a run that writes only as long as it has a right to.
    #[must_use]
    pub fn under(self, warrant: Warranted) -> Self {
        Self { warrant, ..self }
    }

    /// Returns what gives the run the right to write.
    #[must_use]
    pub fn warrant(&self) -> &Warranted {
        &self.warrant
    }

    /// Forgets the token once its lock is off the router: the file goes, and the next run makes its own.
    pub(super) fn forget(&self) {
        let removed = self.file.as_ref().map(|(_, path)| std::fs::remove_file(path));
        if let Some(Err(error)) = removed {
            tracing::debug!(%error, "the token stays in its file");
        }
    }

    /// Returns the token to put on the router.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Tells whether a lock with this token was left by a run that is gone.
    #[must_use]
    pub fn proves_dead(&self, token: &str) -> bool {
        self.file.is_some() && token == self.token
    }
}

fn path(router: &str) -> PathBuf {
    // One that is not absolute is to be taken for none, by its specification.
    let run_time = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = run_time.unwrap_or_else(std::env::temp_dir);
    let safe: String = router.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(80).collect();
    folder.join(format!("sitepeer-{safe}.lock"))
}

fn open(path: &Path) -> Option<File> {
    // Somebody's link in a shared folder is not followed.
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return None;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).ok()
}

/// Whether the file is the one at its path: the run before may have removed it between our opening and locking it.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(held), Ok(there)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

/// Whether the file is the one at its path: here an open file cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

fn store_token(file: &mut File) -> std::io::Result<String> {
    let token = new_token();
    file.set_len(0)?;
    file.write_all(token.as_bytes())?;
    Ok(token)
}

fn stored_token(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(2 * TOKEN_BYTES as u64 + 1).read_to_string(&mut text).ok()?;
    let whole = text.len() == 2 * TOKEN_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
    whole.then_some(text)
}

fn new_token() -> String {
    let mut bytes = [0; TOKEN_BYTES];
    // Without randomness the token is zero: it then proves nothing, as no file holds it.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        bytes = [0; TOKEN_BYTES];
    }
    hex(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_run_is_proven_by_its_own_token_and_a_living_one_never() {
        let router = format!("test:{}", std::process::id());
        let first = LocalLock::claim(&router).unwrap();
        let token = first.token().to_owned();
        assert!(LocalLock::claim(&router).is_err(), "a living run is not taken for dead");
        drop(first);
        let second = LocalLock::claim(&router).unwrap();
        assert!(second.proves_dead(&token));
        assert!(!second.proves_dead("0123456789abcdef"));
        second.forget();
        assert!(!path(&router).exists(), "nothing is left behind");
        assert!(LocalLock::claim(&router).unwrap().token() != token);
        std::fs::remove_file(path(&router)).unwrap();
    }
}
