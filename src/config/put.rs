//! Files that are ours alone, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// What a file may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Only where there is none.
    Nothing,
    /// Whatever is there.
    Anything,
}

/// Writes a file that only its owner can read: whole, on the disk, and then under its name.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is one and [`Over::Nothing`] was said; whatever the system says.
pub fn put(path: &Path, content: &[u8], over: Over) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let drafted = match write_new(&draft, content) {
        // Of a process that had our number, and was killed: in a container that is each one before this.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&draft).and_then(|()| write_new(&draft, content))
        }
        drafted => drafted,
    };
    let written = drafted.and_then(|()| match over {
        Over::Nothing => fs::hard_link(&draft, path),
        Over::Anything => fs::rename(&draft, path),
    });
    // Gone already if it was renamed.
    if let Err(error) = fs::remove_file(&draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file = %draft.display(), "a draft stays");
    }
    written?;
    // The name is on the disk with its folder.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draft_of_a_killed_process_with_our_number_is_in_the_way_of_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, draft) =
            (folder.path().join("kept"), folder.path().join(format!(".kept.{}.tmp", std::process::id())));
        for over in [Over::Nothing, Over::Anything] {
            fs::write(&draft, "hal").unwrap();
            put(&path, b"whole", over).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"whole");
            assert!(!draft.exists());
        }
    }
}
