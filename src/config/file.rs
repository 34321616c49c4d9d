//! Files read whole: never more than a limit, and secrets only from files that are nobody else's business.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use crate::domain::Secret;

/// Largest file that holds one secret in bytes: a key has 44 characters, a password of RouterOS not many more.
const MAX_SECRET_BYTES: u64 = 4096;

/// Whether others than the owner may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Only the owner may.
    Private,
    /// Group or others may; the mode bits say which.
    Shared {
        /// Permission bits, such as `0o644`.
        mode: u32,
    },
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
pub struct FileError {
    /// The file as it was named.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub reason: FileReason,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileReason {
    /// The operating system says no.
    #[error("{}", io_words(.0))]
    Io(io::Error),
    /// A directory.
    #[error("is a directory")]
    Directory,
    /// Larger than anything it could rightly hold.
    #[error("is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not UTF-8.
    #[error("is not UTF-8 text (first wrong byte at offset {offset})")]
    NotText {
        /// Offset in bytes.
        offset: usize,
    },
    /// A secret that others can read.
    #[error("holds a secret and can be read by others (mode {mode:04o})")]
    Shared {
        /// Permission bits.
        mode: u32,
    },
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// A secret is one line.
    #[error("has more than one line")]
    SeveralLines,
}

/// The system's words without its number: `No such file or directory`.
fn io_words(error: &io::Error) -> String {
    let words = error.to_string();
    let end = words.find(" (os error").unwrap_or(words.len());
    words[..end].to_lowercase()
}

impl FileError {
    fn new(path: &Path, reason: FileReason) -> Self {
        Self { path: path.to_owned(), reason }
    }

    /// Returns a short word for machines, which stays.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.reason {
            FileReason::Shared { .. } => "secret-readable-by-others",
            _ => "file-unusable",
        }
    }

    /// Returns the way out, where there is a plain one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self.reason {
            FileReason::Shared { .. } => Some(format!("chmod 600 {}", self.path.display())),
            _ => None,
        }
    }
}

/// A file's text, wiped when dropped: it may hold a secret.
pub(super) struct Content {
    text: Zeroizing<String>,
    privacy: Privacy,
}

impl Content {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn privacy(&self) -> Privacy {
        self.privacy
    }
}

/// Reads a text file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Content, FileError> {
    read_open(path, limit).map_err(|reason| FileError::new(path, reason))
}

/// Reads a text file of at most `limit` bytes, and says who else may read it. The text is wiped when dropped.
///
/// # Errors
/// [`FileError`] if it is too large, no text, or cannot be read.
pub fn read_text(path: &Path, limit: u64) -> Result<(Zeroizing<String>, Privacy), FileError> {
    read(path, limit).map(|content| (content.text, content.privacy))
}

/// Reads a file that holds one secret on one line; the line's end is not part of it.
///
/// # Errors
/// [`FileReason::Shared`] if group or others have any right to the file, [`FileReason::Empty`],
/// [`FileReason::SeveralLines`], [`FileReason::TooLarge`] beyond 4096 bytes, or why it cannot be read.
pub fn read_secret(path: &Path) -> Result<Secret, FileError> {
    let refused = |reason| FileError::new(path, reason);
    let content = read(path, MAX_SECRET_BYTES)?;
    if let Privacy::Shared { mode } = content.privacy {
        return Err(refused(FileReason::Shared { mode }));
    }
    let text = content.text();
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\r']) {
        return Err(refused(FileReason::SeveralLines));
    }
    if line.is_empty() { Err(refused(FileReason::Empty)) } else { Ok(Secret::new(line.to_owned())) }
}

fn read_open(path: &Path, limit: u64) -> Result<Content, FileReason> {
    let file = File::open(path).map_err(FileReason::Io)?;
    // Asked of the open file: what is checked is what is read.
    let metadata = file.metadata().map_err(FileReason::Io)?;
    if metadata.is_dir() {
        return Err(FileReason::Directory);
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(FileReason::Io)?;
    if bytes.len() as u64 > limit {
        bytes.zeroize();
        return Err(FileReason::TooLarge { limit });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Content { text: Zeroizing::new(text), privacy: privacy(&metadata) }),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            error.into_bytes().zeroize();
            Err(FileReason::NotText { offset })
        }
    }
}

#[cfg(unix)]
fn privacy(metadata: &Metadata) -> Privacy {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    let others = mode & 0o077;
    if others == 0 { Privacy::Private } else { Privacy::Shared { mode } }
}

/// Elsewhere a file's rights are not in its mode; the folder's owner answers for them.
#[cfg(not(unix))]
fn privacy(_metadata: &Metadata) -> Privacy {
    Privacy::Private
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_secret_is_its_line_without_the_line_end() {
        for content in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(read_secret(file(content.as_bytes(), 0o600).path()).unwrap().expose(), "s3cret");
        }
        // A space at the end belongs to a password.
        assert_eq!(read_secret(file(b"a b \n", 0o400).path()).unwrap().expose(), "a b ");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let error = read_secret(file(b"s", mode).path()).unwrap_err();
            assert!(matches!(error.reason, FileReason::Shared { mode: m } if m == mode));
            assert!(error.hint().is_some_and(|hint| hint.starts_with("chmod 600 ")));
        }
    }

    #[test]
    fn a_secret_is_one_line_of_bounded_length() {
        let reason = |content: &[u8]| read_secret(file(content, 0o600).path()).unwrap_err().reason;
        assert!(matches!(reason(b""), FileReason::Empty));
        assert!(matches!(reason(b"\n"), FileReason::Empty));
        assert!(matches!(reason(b"a\nb\n"), FileReason::SeveralLines));
        assert!(matches!(reason(&[b'a'; 4097]), FileReason::TooLarge { limit: 4096 }));
        assert!(matches!(reason(b"ab\xff"), FileReason::NotText { offset: 2 }));
    }

    #[test]
    fn an_endless_file_is_read_up_to_the_limit_only() {
        assert!(matches!(read(Path::new("/dev/zero"), 100).err().unwrap().reason, FileReason::TooLarge { limit: 100 }));
    }

    #[test]
    fn a_missing_file_is_named_in_the_system_s_words() {
        let error = read_secret(Path::new("/nowhere/psk")).unwrap_err();
        assert_eq!(format!("{error}: {}", error.reason), "/nowhere/psk: no such file or directory");
    }
}
