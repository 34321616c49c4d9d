//! Files that are replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{DIR_MODE, DiskError, FILE_MODE};

/// Makes a directory for the owner alone, or makes it so.
pub(crate) fn ensure_dir(path: &Path) -> Result<(), DiskError> {
    let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(path);
    made.map_err(DiskError::io("make the directory", path))?;
    fs::set_permissions(path, Permissions::from_mode(DIR_MODE)).map_err(DiskError::io("protect", path))
}

/// Replaces a file: beside, synced, renamed, and the directory synced. After a crash it is the old one or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let beside = beside(path);
    let mut file = create(&beside)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(DiskError::io("write", &beside))?;
    put_in_place(&beside, path)
}

/// Opens the file that will be renamed to `path`; what an earlier crash left of it is gone.
pub(super) fn create(beside: &Path) -> Result<File, DiskError> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(FILE_MODE).open(beside);
    file.map_err(DiskError::io("write", beside))
}

/// Where a new version of a file is written.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Renames a synced file to its place.
pub(super) fn put_in_place(beside: &Path, path: &Path) -> Result<(), DiskError> {
    fs::rename(beside, path).map_err(DiskError::io("replace", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes what happened in a directory last.
pub(crate) fn sync_dir(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(DiskError::io("sync", path))
}

/// Removes a directory with what is in it; it may be gone already.
pub(crate) fn remove_dir(path: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DiskError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
