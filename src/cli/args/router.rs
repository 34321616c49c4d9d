//! How a router is reached: URL, password, trust.

use std::env::{self as process_env, VarError};
use std::path::PathBuf;

use clap::Args;

use super::common::at_terminal;
use super::env;
use crate::cli::failure::Failure;
use crate::config;
use crate::domain::Secret;
use crate::routeros::target::{Access, Deadlines, Plaintext, RouterUrl, Scheme};
use crate::routeros::tls::{CertificatePin, Trust};

/// Arguments of every command that talks to a router.
#[derive(Debug, Args)]
#[command(next_help_heading = "Router")]
pub struct RouterArgs {
    /// The router: apis://USER@HOST:PORT (TLS), or api:// in a private network; admin and the usual port if left out
    #[arg(long, value_name = "URL", env = env::ROUTER, hide_env_values = true)]
    router: String,
    /// A file that holds the router's password; not readable by others
    ///
    /// Without it the password is taken from SITEPEER_ROUTER_PASSWORD, or asked for on the terminal.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Trust the router's certificate by its SHA-256 fingerprint
    #[arg(long, value_name = "sha256:HEX", conflicts_with = "ca_file")]
    pin: Option<String>,
    /// Trust certificates signed by the CA in this PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Send the password unencrypted to a public address over api://
    #[arg(long)]
    allow_plaintext: bool,
}

impl RouterArgs {
    pub(super) fn settle(self) -> Result<Access, Failure> {
        let url: RouterUrl = self
            .router
            .parse()
            .map_err(|error| Failure::usage("router-url", format!("--router: {error}")).hint(URL_HINT))?;
        let trust = self.trust(&url)?;
        let plaintext = if self.allow_plaintext { Plaintext::Allow } else { Plaintext::Refuse };
        // Last: nobody types a password for a command that is refused anyway.
        let password = password(self.password_file, &url)?;
        Ok(Access { url, password, trust, plaintext, deadlines: Deadlines::default() })
    }

    fn trust(&self, url: &RouterUrl) -> Result<Trust, Failure> {
        let trust = match (&self.pin, &self.ca_file) {
            (Some(pin), _) => Trust::Pin(pin.parse::<CertificatePin>().map_err(|error| {
                Failure::usage("pin", format!("--pin: {error}")).hint("a pin is sha256: and 64 hex digits")
            })?),
            (None, Some(file)) => Trust::CaFile(file.clone()),
            (None, None) => Trust::None,
        };
        let encrypted = matches!(url.scheme, Scheme::Apis);
        match &trust {
            Trust::Pin(_) | Trust::CaFile(_) if !encrypted => {
                Err(Failure::usage("usage", "api:// has no certificate to check")
                    .hint("use apis://, or leave the pin out"))
            }
            _ => Ok(trust),
        }
    }
}

const URL_HINT: &str = "such as apis://admin@192.168.88.1; the password goes into --password-file or the environment";

/// The password: file, environment, terminal, in this order.
fn password(file: Option<PathBuf>, url: &RouterUrl) -> Result<Secret, Failure> {
    if let Some(file) = file {
        return Ok(config::read_secret(&file)?);
    }
    match process_env::var(env::ROUTER_PASSWORD) {
        Ok(password) => return Ok(Secret::new(password)),
        Err(VarError::NotPresent) => {}
        Err(VarError::NotUnicode(_)) => {
            return Err(Failure::usage("no-password", format!("{} is not UTF-8", env::ROUTER_PASSWORD)));
        }
    }
    if !at_terminal() {
        return Err(Failure::usage(
            "no-password",
            "the router's password is missing, and there is no terminal to ask on",
        )
        .hint(format!("use --password-file, or set {}", env::ROUTER_PASSWORD)));
    }
    rpassword::prompt_password(format!("Password of {} on {}: ", url.user, url.host))
        .map(Secret::new)
        .map_err(|error| Failure::usage("no-password", format!("cannot read the password: {error}")))
}
