//! A secret that the hub shows once: its place is made before the secret is.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::args::hub::SecretTo;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};
use crate::domain::Secret;

/// A place for a secret. Dropped before [`SecretPlace::keep`], its file is gone again.
pub(super) struct SecretPlace {
    /// `None` is stdout.
    file: Option<NewFile>,
}

struct NewFile {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl SecretPlace {
    /// Makes the file, which must not be there yet.
    pub(super) fn open(to: SecretTo) -> Result<Self, Failure> {
        let file = match to {
            SecretTo::Stdout => None,
            SecretTo::File(path) => Some(NewFile { file: new_file(&path)?, path, is_kept: false }),
        };
        Ok(Self { file })
    }

    /// Keeps the secret, and says in the outcome where.
    pub(super) fn keep(self, secret: &Secret, outcome: Outcome, reporter: &Reporter) -> Result<Outcome, Failure> {
        match self.file {
            None => {
                reporter.data(&format!("{}\n", secret.expose()));
                Ok(outcome.detail("secret", secret.expose()))
            }
            Some(mut new) => {
                new.write(secret.expose())?;
                let path = new.path.display().to_string();
                Ok(outcome.say(format!("written to {path}, which only you can read")).detail("secret_file", path))
            }
        }
    }

    /// How another command is told where the secret is.
    pub(super) fn file_argument(&self) -> String {
        self.file.as_ref().map_or_else(|| "FILE".to_owned(), |new| new.path.display().to_string())
    }
}

impl NewFile {
    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = writeln!(self.file, "{text}").and_then(|()| self.file.sync_all());
        written.map_err(|error| unusable(&self.path, &error))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "an empty file stays");
        }
    }
}

/// Writes a new file that only its owner can read.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut new = NewFile { file: new_file(path)?, path: path.to_owned(), is_kept: false };
    new.write(text.strip_suffix('\n').unwrap_or(text))
}

fn new_file(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::usage("file-unusable", format!("--out {}: {error}", path.display()));
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => failure.hint("nothing is written over: choose another file, or remove it"),
        _ => failure,
    }
}
