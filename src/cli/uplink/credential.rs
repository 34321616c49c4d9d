//! The file in which a site keeps who it is at its hub.
//!
//! ```json
//! {"version":1,"hub":"https://hub.example.net","nonce":"…","peer":"k3f9q2x7","credential":"sp_agt_…"}
//! ```
//!
//! It is written twice: with the nonce before the hub is asked to enrol, so that a lost answer costs nothing, and with the
//! credential after it. Each time as a whole, under its name only when it is on the disk, for its owner's eyes only. The
//! credential belongs to the hub that gave it and is sent to no other.

use std::io;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::PeerId;
use crate::cli::failure::Failure;
use crate::config::{self, FileReason, Over, put};
use crate::domain::Secret;

/// The only version of the file there is.
const VERSION: u16 = 1;
/// Bytes of a nonce: nobody makes the same one.
const NONCE_BYTES: usize = 16;

/// A credential file that may be there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFile {
    /// Where it is.
    pub path: PathBuf,
    /// The hub it is for.
    pub hub: String,
}

/// What a credential file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// There is none.
    Nothing,
    /// Enrolment was begun with this nonce.
    Nonce(String),
    /// Enrolled.
    Enrolled(Enrolled),
}

/// Who this site is at its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The peer, which marks the rows.
    pub peer: PeerId,
    /// What goes behind `Authorization: Bearer`.
    pub credential: Secret,
}

/// The file's shape.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    version: u16,
    hub: &'a str,
    nonce: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<PeerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

impl CredentialFile {
    /// Reads the file.
    ///
    /// # Errors
    /// A [`Failure`] (exit 2) if it is there and is no credential file, is for another hub, or can be read by others.
    pub fn read(&self) -> Result<Kept, Failure> {
        let text = match config::read_secret(&self.path) {
            Ok(text) => text,
            Err(error) if matches!(&error.reason, FileReason::Io(io) if io.kind() == io::ErrorKind::NotFound) => {
                return Ok(Kept::Nothing);
            }
            Err(error) => return Err(error.into()),
        };
        // Where and what, never the text itself: it is a secret.
        let stored: Stored<'_> = serde_json::from_str(text.expose())
            .map_err(|error| self.wrong(format!("is no credential file (column {})", error.column())))?;
        if stored.version != VERSION {
            return Err(self.wrong(format!("has version {}; this sitepeer reads version {VERSION}", stored.version)));
        }
        if stored.hub != self.hub {
            let message =
                format!("{}: its credential is for {}, not for {}", self.path.display(), stored.hub, self.hub);
            return Err(Failure::usage("other-hub", crate::cli::report::clean(&message))
                .hint("name the hub as it was named at first, or another --credential-file"));
        }
        match (stored.peer, stored.credential) {
            (Some(peer), Some(credential)) => {
                Ok(Kept::Enrolled(Enrolled { peer, credential: Secret::new(credential.to_owned()) }))
            }
            (None, None) => Ok(Kept::Nonce(stored.nonce.to_owned())),
            _ => Err(self.wrong("holds half a credential".to_owned())),
        }
    }

    fn wrong(&self, what: String) -> Failure {
        Failure::usage("credential-file", format!("{}: {what}", self.path.display()))
            .hint("put the file back as it was; if that cannot be, remove it and enrol with a new token")
    }

    /// Returns the nonce that enrolment was begun with, or makes one and keeps it.
    ///
    /// # Errors
    /// A [`Failure`] if the file cannot be read or written.
    pub fn nonce(&self) -> Result<String, Failure> {
        if let Kept::Nonce(nonce) = self.read()? {
            return Ok(nonce);
        }
        let nonce = random_hex::<NONCE_BYTES>()?;
        let begun = Stored { version: VERSION, hub: &self.hub, nonce: &nonce, peer: None, credential: None };
        match put(&self.path, &line(&begun)?, Over::Nothing) {
            Ok(()) => Ok(nonce),
            // Another run was quicker: it is the same device.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.read()? {
                Kept::Nonce(nonce) => Ok(nonce),
                _ => Err(Failure::usage("busy", format!("{} was written by another run", self.path.display()))
                    .hint("run the same command again")),
            },
            Err(error) => Err(unwritable(&self.path, &error)),
        }
    }

    /// Keeps what enrolment with `nonce` gave.
    ///
    /// # Errors
    /// A [`Failure`] if the file cannot be written.
    pub fn keep(&self, nonce: &str, enrolled: &Enrolled) -> Result<(), Failure> {
        let stored = Stored {
            version: VERSION,
            hub: &self.hub,
            nonce,
            peer: Some(enrolled.peer.clone()),
            credential: Some(enrolled.credential.expose()),
        };
        put(&self.path, &line(&stored)?, Over::Anything).map_err(|error| unwritable(&self.path, &error))
    }
}

fn line(stored: &Stored<'_>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut text = Zeroizing::new(serde_json::to_vec(stored).map_err(|error| Failure::internal(error.to_string()))?);
    text.push(b'\n');
    Ok(text)
}

/// A file that cannot be written.
#[must_use]
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage("file-unusable", format!("cannot write {}: {error}", path.display()))
        .hint("it has to be kept on a disk that this user can write to")
}

/// Random bytes in hexadecimal.
///
/// # Errors
/// A [`Failure`] if the system gives none.
pub fn random_hex<const BYTES: usize>() -> Result<String, Failure> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::internal("the system gives no random bytes"))?;
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    Ok(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(folder: &Path) -> CredentialFile {
        CredentialFile { path: folder.join("t.credential"), hub: "https://hub.example.net".to_owned() }
    }

    fn enrolled() -> Enrolled {
        Enrolled { peer: "k3f9q2x7".parse().unwrap(), credential: Secret::new("sp_agt_x".to_owned()) }
    }

    #[test]
    fn the_nonce_stays_the_same_until_enrolled_and_then_the_credential_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        assert_eq!(file.read().unwrap(), Kept::Nothing);
        let nonce = file.nonce().unwrap();
        assert_eq!(nonce.len(), 32);
        assert_eq!(file.nonce().unwrap(), nonce);
        assert_eq!(file.read().unwrap(), Kept::Nonce(nonce.clone()));
        file.keep(&nonce, &enrolled()).unwrap();
        assert_eq!(file.read().unwrap(), Kept::Enrolled(enrolled()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file is left");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it_and_one_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        file.nonce().unwrap();
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(file.read().unwrap_err().code, "secret-readable-by-others");
    }

    #[test]
    fn a_file_for_another_hub_or_cut_short_is_an_error_and_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        file.keep("n", &enrolled()).unwrap();
        let elsewhere = CredentialFile { hub: "https://evil.example".to_owned(), ..file.clone() };
        assert_eq!(elsewhere.read().unwrap_err().code, "other-hub");
        let whole = fs::read(&file.path).unwrap();
        for length in [whole.len() / 2, 5, 1] {
            fs::write(&file.path, &whole[..length]).unwrap();
            let error = file.read().unwrap_err();
            assert_eq!(error.code, "credential-file");
            assert!(!format!("{error:?}").contains("sp_agt"));
        }
        let newer = String::from_utf8(whole).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        fs::write(&file.path, newer).unwrap();
        assert!(file.read().unwrap_err().message.contains("version 2"));
    }
}
