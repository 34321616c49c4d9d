//! Arguments of `agent`, and those it shares with `proxy`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::common::OutputArgs;
use super::router::RouterArgs;
use super::uplink::{Source, SourceArgs, UplinkArgs};
use crate::cli::failure::Failure;
use crate::routeros::target::Access;

/// Shortest and longest time between two readings of a router, in seconds: a reading is some thirty commands.
const PERIOD_SECS: std::ops::RangeInclusive<u64> = 60..=86_400;

/// What holds for every router of a supervisor.
#[derive(Debug, Args)]
#[command(next_help_heading = "Supervision")]
pub(super) struct SupervisionArgs {
    /// Read each router at least this often, in seconds; changes that the router tells of are looked at within seconds
    #[arg(long, value_name = "SECS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(PERIOD_SECS))]
    period: u64,
    /// Refuse a plan that removes more rows than this
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_removals: usize,
    /// Answer /healthz and /metrics on this address of this machine, such as 127.0.0.1:9180
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

/// What holds for every router of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// Each router is read at least this often.
    pub period: Duration,
    /// The most rows a plan may remove.
    pub max_removals: usize,
    /// Where `/healthz` and `/metrics` are answered.
    pub metrics: Option<SocketAddr>,
    /// Where freezes of this host stand.
    pub freezes: Option<PathBuf>,
}

impl SupervisionArgs {
    pub(super) fn settle(&self) -> Result<Supervision, Failure> {
        if let Some(address) = self.metrics.filter(|address| !address.ip().is_loopback()) {
            let message = format!("--metrics {address}: this is not an address of loopback");
            return Err(Failure::usage("usage", message)
                .hint("it is answered without a password: use 127.0.0.1 or ::1, with a proxy before it if others must read it"));
        }
        Ok(Supervision {
            period: Duration::from_secs(self.period),
            max_removals: self.max_removals,
            metrics: self.metrics,
            freezes: None,
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    supervision: SupervisionArgs,
    /// Where the last site config of the hub is kept for when the hub is away, and where `sitepeer freeze` is heard; the credential
    /// file's folder if left out
    #[arg(long, value_name = "DIR", help_heading = "Supervision")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `agent` is to keep.
#[derive(Debug)]
pub struct Agent {
    /// The router.
    pub access: Access,
    /// What is to be on it.
    pub source: Source,
    /// The file that says so, if it is one: it is read again when that is asked for.
    pub site_file: Option<PathBuf>,
    /// Where the hub's last word is kept, and freezes of this host stand.
    pub state_dir: Option<PathBuf>,
    /// How it is kept.
    pub supervision: Supervision,
}

impl AgentArgs {
    pub(super) fn settle(self) -> Result<Agent, Failure> {
        Ok(Agent {
            supervision: self.supervision.settle()?,
            site_file: self.source.file(),
            source: self.source.settle(self.uplink)?,
            state_dir: self.state_dir,
            access: self.router.settle()?,
        })
    }
}
