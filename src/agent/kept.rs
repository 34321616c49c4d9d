//! What a hub wanted last, on this machine's disk: a router is kept right while the hub is away, also after a restart.
//!
//! ```json
//! {"version":1,"hub":"https://hub.example.net","desired":{…}}
//! ```
//!
//! Written only when the hub wants something else than what stands there: in a container on a router the disk is its flash.
//! A file that cannot be read as what it should be stops the agent: it is never taken for an empty one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::{AgentDesired, PeerId};
use crate::config::{self, FileReason, Over, put};

/// The only version of the file there is.
const VERSION: u16 = 1;
/// Largest file in bytes: a site config of the largest size, with the names of its fields.
const MAX_BYTES: u64 = 1 << 20;

/// The file of one peer.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    hub: String,
    /// What stands in the file.
    written: Option<AgentDesired>,
    writes: u64,
}

/// Why what was kept cannot be used, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] config::FileError),
    /// It is no such file, or a damaged one.
    #[error("{}: {what}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl KeptError {
    /// Returns the way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Write { .. } => "the state folder has to be on a disk that this user can write to".to_owned(),
            Self::File(error) => {
                format!("remove {}: what it holds is fetched from the hub again", error.path.display())
            }
            Self::Wrong { path, .. } => {
                format!("remove {}: what it holds is fetched from the hub again", path.display())
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u16,
    hub: String,
    desired: AgentDesired,
}

impl Kept {
    /// Opens the file of a peer of a hub in a folder, and reads what it holds, if there is one.
    ///
    /// # Errors
    /// [`KeptError`] if there is a file and it is not one of this peer at this hub.
    pub fn open(folder: &Path, hub: &str, peer: &PeerId) -> Result<Self, KeptError> {
        let mut kept =
            Self { path: folder.join(format!("{peer}.json")), hub: hub.to_owned(), written: None, writes: 0 };
        let (text, _) = match config::read_text(&kept.path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if matches!(&error.reason, FileReason::Io(io) if io.kind() == io::ErrorKind::NotFound) => {
                return Ok(kept);
            }
            Err(error) => return Err(error.into()),
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|error| {
            kept.wrong(format!("this is no state of an agent (line {}, column {})", error.line(), error.column()))
        })?;
        if stored.version != VERSION {
            return Err(kept.wrong(format!("version {}; this sitepeer reads version {VERSION}", stored.version)));
        }
        if stored.hub != kept.hub {
            return Err(kept.wrong(format!(
                "this is of the hub {}, not of {}",
                crate::domain::clean(&stored.hub),
                kept.hub
            )));
        }
        if stored.desired.peer != *peer {
            return Err(kept.wrong("this is of another peer".to_owned()));
        }
        kept.written = Some(stored.desired);
        Ok(kept)
    }

    fn wrong(&self, what: String) -> KeptError {
        KeptError::Wrong { path: self.path.clone(), what }
    }

    /// Returns what the hub wanted last.
    #[must_use]
    pub fn desired(&self) -> Option<&AgentDesired> {
        self.written.as_ref()
    }

    /// Returns how often the file was written since it was opened.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Keeps what the hub wants now, if it is something else.
    ///
    /// # Errors
    /// [`KeptError::Write`]; what was kept before is still there.
    pub fn keep(&mut self, desired: &AgentDesired) -> Result<(), KeptError> {
        // What is true of the moment of an answer only is nothing to be kept, nor a reason to write.
        let desired = AgentDesired { frozen_for_secs: None, gateway_online: None, ..desired.clone() };
        if self.written.as_ref() == Some(&desired) {
            return Ok(());
        }
        let stored = Stored { version: VERSION, hub: self.hub.clone(), desired };
        let failed = |source| KeptError::Write { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(&stored).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        put(&self.path, &text, Over::Anything).map_err(failed)?;
        self.writes += 1;
        self.written = Some(stored.desired);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "https://hub.example.net";

    fn peer() -> PeerId {
        "k3f9q2x7".parse().unwrap()
    }

    fn desired(revision: i64) -> AgentDesired {
        let waiting_for = Some("a gateway".to_owned());
        AgentDesired {
            revision,
            peer: peer(),
            enabled: true,
            public_key: None,
            config: None,
            waiting_for,
            frozen_until: None,
            frozen_for_secs: None,
            gateway_online: None,
        }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_the_same_is_not_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path(), HUB, &peer()).unwrap();
        assert_eq!(kept.desired(), None);
        for revision in [4, 4, 4, 5, 5] {
            kept.keep(&desired(revision)).unwrap();
        }
        for gateway_online in [Some(true), Some(false)] {
            kept.keep(&AgentDesired { gateway_online, frozen_for_secs: Some(7), ..desired(5) }).unwrap();
        }
        assert_eq!(kept.writes(), 2);
        let again = Kept::open(folder.path(), HUB, &peer()).unwrap();
        assert_eq!((again.desired(), again.writes()), (Some(&desired(5)), 0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file is left");
    }

    #[test]
    fn a_file_that_is_cut_off_of_another_hub_or_newer_stops_and_names_itself() {
        let folder = tempfile::tempdir().unwrap();
        Kept::open(folder.path(), HUB, &peer()).unwrap().keep(&desired(1)).unwrap();
        let path = folder.path().join("k3f9q2x7.json");
        let whole = std::fs::read_to_string(&path).unwrap();
        let newer = whole.replacen("\"version\":1", "\"version\":2", 1);
        for text in ["", "{", &whole[..whole.len() / 2], &newer, "\u{feff}[]"] {
            std::fs::write(&path, text).unwrap();
            let error = Kept::open(folder.path(), HUB, &peer()).unwrap_err();
            assert!(error.to_string().contains("k3f9q2x7.json"), "{error}");
            assert!(error.hint().contains("remove"), "{error}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(Kept::open(folder.path(), "https://other.example", &peer()).is_err());
        Kept::open(folder.path(), HUB, &peer()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Kept::open(folder.path(), HUB, &peer()).unwrap().keep(&desired(1)).unwrap();
        let mode = std::fs::metadata(folder.path().join("k3f9q2x7.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
