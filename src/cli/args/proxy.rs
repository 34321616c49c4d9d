//! Arguments of `proxy`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::agent::{Supervision, SupervisionArgs};
use super::common::OutputArgs;
use super::uplink::{HubTrustArgs, hub_url};
use crate::api::MAX_LEASES;
use crate::cli::failure::Failure;
use crate::config;
use crate::uplink::Hub;

/// Most routers that may be connected to, or written to, at once.
const MAX_AT_ONCE: u64 = 1_000;
/// Longest time over which the start is spread, in seconds.
const MAX_START_SECS: u64 = 3_600;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ProxyArgs {
    #[command(subcommand)]
    command: Option<ProxyCommand>,
    #[command(flatten)]
    serve: ProxyServeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
enum ProxyCommand {
    /// Read the fleet file and all it names, and say what is wrong with each router
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The fleet, a TOML file
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
    /// Run each `credential_command` too
    #[arg(long)]
    credentials: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct ProxyServeArgs {
    /// The fleet, a TOML file with a table for each router
    ///
    /// Each `[[router]]` has `name`, `url`, `pin` or `ca_file`; `password_file`, `password_env` or `credential_command`; and `site`,
    /// or `hub_credential` if it is enrolled at a hub. What is said in `[defaults]` holds for all.
    #[arg(long, value_name = "FILE", required_unless_present = "hub")]
    fleet: Option<PathBuf>,
    /// The hub that has the fleet: the sites assigned to this proxy's group, shared with its other proxies
    #[arg(long, value_name = "URL", conflicts_with = "fleet", requires_all = ["token_file", "credentials"], help_heading = "Hub")]
    hub: Option<String>,
    #[command(flatten)]
    trust: HubTrustArgs,
    /// A file that holds this proxy's token (role proxy) of the hub; not readable by others
    #[arg(long, value_name = "FILE", requires = "hub", help_heading = "Hub")]
    token_file: Option<PathBuf>,
    /// How to log in to the hub's routers: a TOML file with a `[[credentials]]` table for each rule
    ///
    /// Each has `networks`, to which its password may be sent; `password_file`, `password_env` or `credential_command`; and if need
    /// be `select = ["group=…"]`, `user`, `ca_file`, `allow_plaintext`. The first that fits a router counts.
    #[arg(long, value_name = "FILE", requires = "hub", help_heading = "Hub")]
    credentials: Option<PathBuf>,
    /// Drive at most so many sites of the hub
    #[arg(long, value_name = "N", default_value_t = MAX_LEASES, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LEASES)), help_heading = "Hub")]
    room: u32,
    /// Where the last site configs of the hub are kept for when the hub is away, and where `sitepeer freeze` is heard
    #[arg(long, value_name = "DIR", required = true)]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    supervision: SupervisionArgs,
    /// Connect to so many routers at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=MAX_AT_ONCE))]
    connecting: u64,
    /// Write to so many routers at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=MAX_AT_ONCE))]
    applying: u64,
    /// Spread the start over so many seconds
    #[arg(long, value_name = "SECS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=MAX_START_SECS))]
    start_within: u64,
}

/// What `proxy` is to do.
#[derive(Debug)]
pub enum Proxy {
    /// Keep a fleet.
    Serve(Box<ProxyServe>),
    /// Look whether a fleet could be kept.
    Check {
        /// The fleet file.
        fleet: PathBuf,
        /// Whether commands for passwords are run.
        asks: bool,
    },
}

/// Where a fleet comes from.
#[derive(Debug)]
pub enum ProxyFleet {
    /// A file.
    File(PathBuf),
    /// A hub.
    Hub {
        /// With the proxy's token.
        hub: Hub,
        /// The rules for logging in.
        credentials: PathBuf,
        /// Most sites.
        room: u32,
    },
}

/// A fleet that is to be kept.
#[derive(Debug)]
pub struct ProxyServe {
    /// Which routers.
    pub fleet: ProxyFleet,
    /// Where the hub's last words are kept.
    pub state_dir: PathBuf,
    /// Routers connected to at once.
    pub connecting: usize,
    /// Routers written to at once.
    pub applying: usize,
    /// The start is spread over this.
    pub start_within: Duration,
    /// How they are kept.
    pub supervision: Supervision,
}

impl Proxy {
    /// Tells whether it goes on until it is stopped.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self, Self::Serve(_))
    }
}

impl ProxyArgs {
    pub(super) fn serves(&self) -> bool {
        self.command.is_none()
    }

    pub(super) fn json(&self) -> bool {
        match &self.command {
            Some(ProxyCommand::Check(check)) => check.output.json,
            None => self.output.json,
        }
    }

    pub(super) fn settle(self) -> Result<Proxy, Failure> {
        if let Some(ProxyCommand::Check(check)) = self.command {
            return Ok(Proxy::Check { fleet: check.fleet, asks: check.credentials });
        }
        let serve = self.serve;
        // clap lets none of these through.
        let missing = || Failure::usage("usage", "--state-dir is needed, and --fleet, or --hub with its files");
        let state_dir = serve.state_dir.ok_or_else(missing)?;
        let fleet = match (serve.fleet, serve.hub, serve.token_file, serve.credentials) {
            (Some(file), None, ..) => ProxyFleet::File(file),
            (None, Some(url), Some(token), Some(credentials)) => {
                let hub = serve.trust.settle(hub_url(&url)?)?;
                ProxyFleet::Hub {
                    hub: hub.with_credential(config::read_secret(&token)?),
                    credentials,
                    room: serve.room,
                }
            }
            _ => return Err(missing()),
        };
        let places = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Proxy::Serve(Box::new(ProxyServe {
            supervision: Supervision { freezes: Some(state_dir.clone()), ..serve.supervision.settle()? },
            fleet,
            state_dir,
            connecting: places(serve.connecting),
            applying: places(serve.applying),
            start_within: Duration::from_secs(serve.start_within),
        })))
    }
}
