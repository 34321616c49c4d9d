//! Where a router's password comes from: a file, the environment, or a command such as a password manager.
//!
//! It is asked for whenever a connection is opened, so that a password that was changed is known without a restart. It is never
//! shown: of a command that fails, its exit code is told and not its words.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::super::Passwords;
use crate::config::{self, FileError};
use crate::domain::Secret;

/// How long a command may take: a password manager that asks a person for a touch.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// Commands at once: a password manager that waits for somebody is in the way of the routers it has passwords for, and of no others.
const MOST_COMMANDS: usize = 16;
/// The places of those that run.
static ASKING: Semaphore = Semaphore::const_new(MOST_COMMANDS);
/// Longest password in bytes: RouterOS takes far fewer.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Where a router's password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// A file that nobody else can read.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The first line of what a program says; never through a shell.
    Command(Vec<String>),
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The variable is not set, or no text.
    #[error("the environment has no {0} that is text")]
    Environment(String),
    /// The program cannot be started.
    #[error("cannot run {program}")]
    Start {
        /// Which program.
        program: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It failed, or said nothing that is a password.
    #[error("{program} {what}")]
    Program {
        /// Which program.
        program: String,
        /// What it did.
        what: String,
    },
}

#[async_trait]
impl Passwords for Password {
    async fn password(&self) -> Result<Secret, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.obtain().await?)
    }
}

impl Password {
    /// Returns the password as it is now.
    ///
    /// # Errors
    /// [`PasswordError`], which never holds any of it.
    ///
    /// # Cancel safety
    /// The program is killed.
    pub async fn obtain(&self) -> Result<Secret, PasswordError> {
        match self {
            Self::File(path) => Ok(config::read_secret(path)?),
            Self::Environment(name) => {
                std::env::var(name).map(Secret::new).map_err(|_| PasswordError::Environment(name.clone()))
            }
            Self::Command(words) => command(words).await,
        }
    }
}

async fn command(words: &[String]) -> Result<Secret, PasswordError> {
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let failed = |what: String| PasswordError::Program { program: program.to_owned(), what };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    // Never closed; if it were, nobody would be held up.
    let _place = ASKING.acquire().await;
    let mut child = command.spawn().map_err(|source| PasswordError::Start { program: program.to_owned(), source })?;
    let Some(stdout) = child.stdout.take() else { return Err(failed("has no output".to_owned())) };
    let said = async {
        let mut text = Zeroizing::new(Vec::new());
        stdout.take(MAX_PASSWORD_BYTES + 1).read_to_end(&mut text).await?;
        // Whoever says more than that is not waited for.
        if text.len() as u64 > MAX_PASSWORD_BYTES {
            return Ok((None, text));
        }
        child.wait().await.map(|status| (Some(status), text))
    };
    let said = tokio::time::timeout(COMMAND_DEADLINE, said).await;
    let (status, text) = match said {
        Err(_) => return Err(failed(format!("did not end within {} s", COMMAND_DEADLINE.as_secs()))),
        Ok(Err(error)) => return Err(failed(format!("cannot be read: {error}"))),
        Ok(Ok(said)) => said,
    };
    let Some(status) = status else { return Err(failed(format!("said more than {MAX_PASSWORD_BYTES} bytes"))) };
    if !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err(failed("said nothing".to_owned())),
        Ok(line) => Ok(Secret::new(line.to_owned())),
        Err(_) => Err(failed("said what is not UTF-8".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(words: &[&str]) -> Result<String, String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let got = Password::Command(words).obtain().await;
        got.map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_first_line_of_a_command_is_the_password_whatever_follows() {
        assert_eq!(of(&["printf", "se cret\\r\\nuser: x\\n"]).await, Ok("se cret".to_owned()));
        // No shell: nothing is expanded.
        assert_eq!(of(&["printf", "%s", "$HOME;x"]).await, Ok("$HOME;x".to_owned()));
    }

    #[tokio::test]
    async fn a_command_that_fails_says_nothing_or_too_much_is_an_error_without_its_words() {
        for (words, why) in [
            (&["false"][..], "failed"),
            (&["printf", ""], "said nothing"),
            (&["printf", "\\377\\n"], "not UTF-8"),
            (&["yes", "hunter2"], "said more than"),
            (&["/does/not/exist"], "cannot run"),
            (&["sh", "-c", "echo hunter2; exit 3"], "exit status: 3"),
        ] {
            let error = of(words).await.unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
