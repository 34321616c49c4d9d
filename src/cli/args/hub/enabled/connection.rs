//! How a hub is reached: URL, trust, token.

use std::env::{self as process_env, VarError};
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::env;
use crate::cli::failure::Failure;
use crate::config;
use crate::domain::Secret;
use crate::uplink::{HubUrl, Trust};

/// Arguments of every command that asks a hub.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hub")]
pub struct ConnectionArgs {
    #[arg(help = "The hub: https://HOST[:PORT], or http:// on this machine")]
    #[arg(long = "hub", global = true, value_name = "URL", env = env::HUB, hide_env_values = true)]
    url: Option<String>,
    /// A file that holds your token; not readable by others
    ///
    /// Without it the token is taken from SITEPEER_HUB_TOKEN.
    #[arg(long, global = true, value_name = "FILE", env = env::HUB_TOKEN_FILE, hide_env_values = true)]
    hub_token_file: Option<PathBuf>,
    /// Trust certificates signed by the CA in this PEM file, or the very certificate in it, instead of the public ones
    #[arg(long, global = true, value_name = "FILE", env = env::HUB_CA, hide_env_values = true)]
    hub_ca: Option<PathBuf>,
    /// Send the token unencrypted to another machine over http://
    #[arg(long, global = true)]
    allow_plaintext: bool,
    /// Write one JSON object per line to stdout; the last is the result
    #[arg(long, global = true, help_heading = "Options")]
    pub(super) json: bool,
}

/// How to reach the hub.
#[derive(Debug)]
pub struct Connection {
    /// Where.
    pub url: HubUrl,
    /// Whose certificates pass.
    pub trust: Trust,
    /// Who asks.
    pub token: Secret,
}

const URL_HINT: &str = "such as --hub https://hub.example.net, or set SITEPEER_HUB";

impl ConnectionArgs {
    /// Whether a hub was named at all.
    pub(super) fn is_named(&self) -> bool {
        self.url.is_some()
    }

    pub(super) fn settle(self) -> Result<Connection, Failure> {
        let Some(text) = self.url else {
            return Err(Failure::usage("hub-url", "which hub? --hub is missing").hint(URL_HINT));
        };
        let url = if self.allow_plaintext { HubUrl::allowing_plaintext(&text) } else { text.parse() };
        let url = url.map_err(|error| Failure::usage("hub-url", format!("--hub: {error}")).hint(URL_HINT))?;
        let trust = self.hub_ca.map_or(Trust::Public, Trust::CaFile);
        Ok(Connection { url, trust, token: token(self.hub_token_file)? })
    }
}

/// The token: file, then environment. Never the terminal: 60 random characters are pasted, and stay in its scrollback.
fn token(file: Option<PathBuf>) -> Result<Secret, Failure> {
    if let Some(file) = file {
        return Ok(config::read_secret(&file)?);
    }
    match process_env::var(env::HUB_TOKEN) {
        Ok(token) => Ok(Secret::new(token)),
        Err(VarError::NotPresent) => {
            Err(Failure::usage("no-token", "your token for the hub is missing").hint(format!(
                "use --hub-token-file, or set {}; a hub's first token is admin.token in its data folder",
                env::HUB_TOKEN_FILE
            )))
        }
        Err(VarError::NotUnicode(_)) => Err(Failure::usage("no-token", format!("{} is not UTF-8", env::HUB_TOKEN))),
    }
}
