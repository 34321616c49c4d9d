//! A freeze that was asked for on this host: a file in the state folder, for agents and proxies without a hub, or whose hub is away.
//!
//! ```json
//! {"version":1,"until":1800000000,"reason":"new uplink"}
//! ```
//!
//! It is looked for right before anything is written, so a running agent needs no word of it. Who may write into the folder may
//! freeze; the loopback address for metrics has no password, and takes no orders. A file that cannot be read as what it should be
//! holds hands off as well: somebody meant to.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::MAX_FREEZE_SECS;
use crate::config::{self, FileReason, Over, put};
use crate::domain::SiteId;

/// The only version of the file there is.
const VERSION: u16 = 1;
/// Largest file in bytes: a reason has at most 200 characters.
const MAX_BYTES: u64 = 4096;
/// So long hands are held off, until they are looked again, where the file cannot be read.
const UNREADABLE: Duration = Duration::from_mins(1);

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u16,
    until: i64,
    #[serde(default)]
    reason: String,
}

/// Where the freeze of a site stands.
#[must_use]
pub fn path(folder: &Path, site: &SiteId) -> PathBuf {
    folder.join(format!("{site}.frozen"))
}

/// Begins a freeze, or makes one longer or shorter; returns when it ends, in seconds since 1970.
///
/// # Errors
/// What the system says.
pub fn begin(folder: &Path, site: &SiteId, length: Duration, reason: &str) -> io::Result<i64> {
    let secs = length.as_secs().min(MAX_FREEZE_SECS);
    let until = super::now().saturating_add(i64::try_from(secs).unwrap_or(i64::MAX));
    let stored = Stored { version: VERSION, until, reason: reason.to_owned() };
    let mut text = serde_json::to_vec(&stored)?;
    text.push(b'\n');
    put(&path(folder, site), &text, Over::Anything)?;
    Ok(until)
}

/// Ends a freeze; false if there was none.
///
/// # Errors
/// What the system says.
pub fn end(folder: &Path, site: &SiteId) -> io::Result<bool> {
    match std::fs::remove_file(path(folder, site)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns for how much longer a site is frozen; `unix` is in seconds since 1970.
pub(super) fn left(folder: &Path, site: &SiteId, unix: i64) -> Option<Duration> {
    let path = path(folder, site);
    let stored = match config::read_text(&path, MAX_BYTES) {
        Ok((text, _)) => serde_json::from_str::<Stored>(&text).ok().filter(|stored| stored.version == VERSION),
        Err(error) if matches!(&error.reason, FileReason::Io(io) if io.kind() == io::ErrorKind::NotFound) => {
            return None;
        }
        Err(_) => None,
    };
    let Some(stored) = stored else {
        tracing::error!(file = %path.display(), "this is no freeze that can be read: hands are held off until it is removed");
        return Some(UNREADABLE);
    };
    let left = Duration::from_secs(u64::try_from(stored.until.saturating_sub(unix)).unwrap_or(0));
    // A clock that was set back makes no freeze longer than any may be.
    (!left.is_zero()).then(|| left.min(Duration::from_secs(MAX_FREEZE_SECS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_holds_for_its_time_and_ends_when_it_is_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let site: SiteId = "k3f9q2".parse().unwrap();
        assert_eq!(left(folder.path(), &site, 0), None);
        assert!(!end(folder.path(), &site).unwrap());
        let until = begin(folder.path(), &site, Duration::from_hours(2), "").unwrap();
        assert_eq!(left(folder.path(), &site, until - 7), Some(Duration::from_secs(7)));
        assert_eq!(left(folder.path(), &site, until), None);
        assert_eq!(left(folder.path(), &site, i64::MIN), Some(Duration::from_secs(MAX_FREEZE_SECS)));
        assert_eq!(left(folder.path(), &"b7w2mm".parse().unwrap(), 0), None, "another site's");
        assert!(end(folder.path(), &site).unwrap());
        assert_eq!(left(folder.path(), &site, until - 7), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_holds_hands_off() {
        let folder = tempfile::tempdir().unwrap();
        let site: SiteId = "k3f9q2".parse().unwrap();
        for text in ["", "{", "{\"version\":2,\"until\":9}", "frozen"] {
            std::fs::write(path(folder.path(), &site), text).unwrap();
            assert_eq!(left(folder.path(), &site, 0), Some(UNREADABLE), "{text:?}");
        }
    }
}
