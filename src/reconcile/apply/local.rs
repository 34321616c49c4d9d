//! Proof, on one host, that an earlier run is dead.
//!
//! A file holds a random token and is locked as long as a run lives; the kernel lets go when the process ends, however it
//! ends. Whoever holds the file's lock and reads on the router the token that is in the file knows that the run which put
//! it there is gone. Where no such file can be made, nothing is proven and the router's timeout decides.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a token: two runs never have the same by chance.
const TOKEN_BYTES: usize = 8;

/// A run's claim on this host.
#[derive(Debug)]
pub struct LocalLock {
    file: Option<File>,
    token: String,
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
        let fresh = || Self { file: None, token: new_token() };
        let Some(mut file) = open(router) else { return Ok(fresh()) };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BusyHere),
            Err(TryLockError::Error(_)) => return Ok(fresh()),
        }
        let token = match stored_token(&mut file) {
            Some(token) => token,
            None => {
                let token = new_token();
                if file.set_len(0).and_then(|()| file.write_all(token.as_bytes())).is_err() {
                    return Ok(fresh());
                }
                token
            }
        };
        Ok(Self { file: Some(file), token })
    }

    /// Forgets the token once its lock is off the router: the next run makes its own.
    pub(super) fn forget(&self) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_len(0)) {
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

fn open(router: &str) -> Option<File> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let safe: String = router.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(80).collect();
    let path = folder.join(format!("sitepeer-{safe}.lock"));
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
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    }
}
