//! Arguments of the commands that talk to no real router: `sim`, `demo`, `completions`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::common::OutputArgs;
use crate::cli::failure::Failure;
use crate::config;
use crate::domain::{RouterOsVersion, Secret};

#[derive(Debug, Args)]
pub(super) struct SimArgs {
    /// Where to serve the API
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8728")]
    listen: SocketAddr,
    /// Where to serve api-ssl, with a certificate of its own; not served without this
    #[arg(long, value_name = "ADDR:PORT")]
    listen_tls: Option<SocketAddr>,
    /// The RouterOS version to be
    #[arg(long, value_name = "VERSION", default_value = "7.21.5")]
    ros_version: String,
    /// A file that holds the password of its user admin; empty password without it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Misbehave: NAME or NAME=VALUE; may be repeated
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `sim` is to do.
#[derive(Debug)]
pub struct Sim {
    /// Where to serve the API.
    pub listen: SocketAddr,
    /// Where to serve api-ssl.
    pub listen_tls: Option<SocketAddr>,
    /// The version to be.
    pub ros_version: RouterOsVersion,
    /// The password of `admin`.
    pub password: Secret,
    /// Faults as they were written; the simulator knows their names.
    pub faults: Vec<String>,
}

impl SimArgs {
    pub(super) fn settle(self) -> Result<Sim, Failure> {
        let ros_version = self
            .ros_version
            .parse()
            .map_err(|error| Failure::usage("usage", format!("--ros-version: {error}")).hint("such as 7.21.5"))?;
        let password = match &self.password_file {
            Some(file) => config::read_secret(file)?,
            None => Secret::new(String::new()),
        };
        Ok(Sim { listen: self.listen, listen_tls: self.listen_tls, ros_version, password, faults: self.faults })
    }
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End by itself; without it everything stays up to be looked at
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `demo` is to do.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// Whether to end by itself.
    pub end: DemoEnd,
}

/// When the demo ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoEnd {
    /// Once it has shown everything.
    ByItself,
    /// On Ctrl-C.
    OnInterrupt,
}

impl DemoArgs {
    pub(super) fn settle(&self) -> Demo {
        Demo { end: if self.once { DemoEnd::ByItself } else { DemoEnd::OnInterrupt } }
    }
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// The shells there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// elvish
    Elvish,
    /// `PowerShell`
    Powershell,
}

/// What `completions` is to do.
#[derive(Debug, Clone, Copy)]
pub struct Completions {
    /// Which shell.
    pub shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn settle(&self) -> Completions {
        Completions { shell: self.shell }
    }
}
