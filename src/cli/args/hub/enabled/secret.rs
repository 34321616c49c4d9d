//! Where a secret goes that the hub shows once.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Failure;

/// `--out` or `--show-secret`: one of them, said before the secret is made.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// Write the token to a new file that only you can read
    #[arg(long, value_name = "FILE", conflicts_with = "show_secret")]
    out: Option<PathBuf>,
    /// Write the token to stdout, which may be a terminal or a log that keeps it
    #[arg(long)]
    show_secret: bool,
}

/// Where a secret goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretTo {
    /// A new file of mode 0600.
    File(PathBuf),
    /// stdout.
    Stdout,
}

impl SecretArgs {
    pub(super) fn settle(self) -> Result<SecretTo, Failure> {
        match (self.out, self.show_secret) {
            (Some(file), _) => Ok(SecretTo::File(file)),
            (None, true) => Ok(SecretTo::Stdout),
            (None, false) => Err(Failure::usage("secret-where", "the token is shown once: where is it to go?")
                .hint("--out FILE writes it to a file of mode 0600; --show-secret writes it to stdout")),
        }
    }
}
