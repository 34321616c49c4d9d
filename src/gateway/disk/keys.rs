//! Private keys of instances' devices: made here, never sent, in a directory of its own for each instance.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

use super::{DiskError, FILE_MODE, StateDir, ensure_dir, remove_dir, sync_dir, write_whole};
use crate::api::InstanceId;
use crate::wireguard::keys::{SecretKey, generate_private};

/// How long a key is kept whose instance the hub no longer lists: a hub that was restored from a backup lists it again later.
const KEEP_ASIDE: Duration = Duration::from_hours(30 * 24);

/// Longest key file: 44 characters and a line end, with some room for an editor's.
const MAX_KEY_FILE: usize = 64;

impl StateDir {
    /// Reads the private key of an instance's device; takes back the one that was set aside, or makes one.
    ///
    /// # Errors
    /// [`DiskError::Corrupt`] if there is a file that holds no key; [`DiskError`] if it cannot be read or written.
    pub fn key(&self, instance: &InstanceId, device: u32) -> Result<SecretKey, DiskError> {
        let dir = self.instance_dir(instance);
        let path = dir.join(file_of(device));
        if let Some(key) = read_key(&path)? {
            return Ok(key);
        }
        ensure_dir(&dir)?;
        let key = match self.take_back(instance, device)? {
            Some(key) => key,
            None => generate_private().map_err(|source| DiskError::NoKey { path: path.clone(), source })?,
        };
        let mut text = Zeroizing::new(BASE64_STANDARD.encode(key.expose()));
        text.push('\n');
        write_whole(&path, text.as_bytes())?;
        sync_dir(&self.file("instances"))?;
        Ok(key)
    }

    /// Deletes the key of a device that is gone for good, while others of its instance stay.
    ///
    /// # Errors
    /// [`DiskError::Io`]. There may be none already.
    pub fn delete_device_key(&self, instance: &InstanceId, device: u32) -> Result<(), DiskError> {
        let dir = self.instance_dir(instance);
        let path = dir.join(file_of(device));
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(DiskError::io("delete", &path)).and_then(|()| sync_dir(&dir)),
        }
    }

    /// The devices of an instance that have a key.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn devices_with_key(&self, instance: &InstanceId) -> Result<Vec<u32>, DiskError> {
        let dir = self.instance_dir(instance);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(DiskError::io("read", &dir))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(DiskError::io("read", &dir))?.file_name();
            found.extend(name.to_str().and_then(device_of));
        }
        Ok(found)
    }

    /// Deletes an instance's keys for good.
    ///
    /// # Errors
    /// [`DiskError::Io`]. There may be none already.
    pub fn delete_key(&self, instance: &InstanceId) -> Result<(), DiskError> {
        for (_, dir) in self.set_aside_of(instance)? {
            remove_dir(&dir)?;
        }
        remove_dir(&self.instance_dir(instance))?;
        sync_dir(&self.file("instances"))
    }

    /// Sets an instance's keys aside: nobody said that the instance is deleted, it is merely not wanted any more.
    ///
    /// # Errors
    /// [`DiskError::Io`]. There may be none already.
    pub fn set_aside(&self, instance: &InstanceId, now: SystemTime) -> Result<(), DiskError> {
        let (from, aside) = (self.instance_dir(instance), self.file("aside"));
        let to = aside.join(format!("{}-{instance}", unix(now)));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(DiskError::io("set aside", &from))?,
        }
        sync_dir(&aside)?;
        sync_dir(&self.file("instances"))
    }

    /// Deletes keys that were set aside long ago.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn forget_old(&self, now: SystemTime) -> Result<(), DiskError> {
        for (at, _, dir) in self.aside()? {
            if unix(now).saturating_sub(at) > KEEP_ASIDE.as_secs() {
                remove_dir(&dir)?;
            }
        }
        Ok(())
    }

    fn instance_dir(&self, instance: &InstanceId) -> PathBuf {
        self.file("instances").join(instance.as_str())
    }

    /// The key that was set aside last for an instance. It stays there until it is old: it may be read again after a crash.
    fn take_back(&self, instance: &InstanceId, device: u32) -> Result<Option<SecretKey>, DiskError> {
        match self.set_aside_of(instance)?.into_iter().max_by_key(|(at, _)| *at) {
            Some((_, dir)) => read_key(&dir.join(file_of(device))),
            None => Ok(None),
        }
    }

    fn set_aside_of(&self, instance: &InstanceId) -> Result<Vec<(u64, PathBuf)>, DiskError> {
        let of = |(at, id, dir): (u64, String, PathBuf)| (id == instance.as_str()).then_some((at, dir));
        Ok(self.aside()?.into_iter().filter_map(of).collect())
    }

    /// What was set aside: when, of which instance, where. Whatever else lies there is not ours.
    fn aside(&self) -> Result<Vec<(u64, String, PathBuf)>, DiskError> {
        let aside = self.file("aside");
        let mut found = Vec::new();
        for entry in fs::read_dir(&aside).map_err(DiskError::io("read", &aside))? {
            let entry = entry.map_err(DiskError::io("read", &aside))?;
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.split_once('-'));
            if let Some((at, id)) = parts.and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned()))) {
                found.push((at, id, entry.path()));
            }
        }
        Ok(found)
    }
}

/// The file of a device's key; the first one's is older than there were others.
fn file_of(device: u32) -> String {
    if device == 0 { "key".to_owned() } else { format!("key-{device}") }
}

/// The device whose key a file holds.
fn device_of(file: &str) -> Option<u32> {
    let device = if file == "key" { 0 } else { file.strip_prefix("key-")?.parse().ok()? };
    (file_of(device) == file).then_some(device)
}

fn read_key(path: &Path) -> Result<Option<SecretKey>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io("read", path)(error)),
    };
    keep_private(&file, path)?;
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE + 1));
    let most = u64::try_from(MAX_KEY_FILE + 1).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut text).map_err(DiskError::io("read", path))?;
    let damaged = || DiskError::corrupt(path, "it holds no WireGuard key of 44 characters");
    if text.len() > MAX_KEY_FILE {
        return Err(damaged());
    }
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.trim_ascii()).map_err(|_| damaged())?);
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.as_slice().try_into().map_err(|_| damaged())?);
    if *key == [0; 32] { Err(damaged()) } else { Ok(Some(SecretKey::from(*key))) }
}

/// A key that others may read, after a copy from somewhere say, is its owner's alone again; the folder around it always was.
fn keep_private(file: &File, path: &Path) -> Result<(), DiskError> {
    let mode = file.metadata().map_err(DiskError::io("read", path))?.permissions().mode();
    let of_others = mode % 0o100;
    if of_others == 0 {
        return Ok(());
    }
    tracing::warn!(file = %path.display(), "an instance's key could be read by others than its owner: not any more");
    file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(DiskError::io("protect", path))
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
