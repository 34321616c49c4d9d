//! Arguments of `gateway`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::common::OutputArgs;
use super::uplink::hub_url;
use crate::api::{Backend, MAX_NAME};
use crate::cli::failure::Failure;
use crate::config;
use crate::domain::{Host, SubnetSet};
use crate::uplink::{Hub, Trust};

/// Longest time between reports in seconds: the hub calls a gateway unknown that was silent for a minute.
const MAX_REPORT_SECS: u64 = 45;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct GatewayArgs {
    #[command(subcommand)]
    command: Option<GatewayCommand>,
    #[command(flatten)]
    serve: Option<GatewayServeArgs>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// Find what this host lacks for a gateway, and say how to get it
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Look for what this backend needs; either rooted one will do, if left out
    #[arg(long, value_name = "BACKEND")]
    backend: Option<BackendArg>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct GatewayServeArgs {
    /// The hub, such as `https://hub.example.net`
    #[arg(long, value_name = "URL", required = true)]
    hub: String,
    /// A file that holds the gateway's token; not readable by others
    #[arg(long, value_name = "FILE", required = true)]
    token_file: PathBuf,
    /// Trust the hub's certificate by this PEM file: an authority's, or the hub's own
    #[arg(long, value_name = "FILE")]
    hub_ca: Option<PathBuf>,
    /// The region whose instances it serves
    #[arg(long, value_name = "REGION", required = true)]
    region: String,
    /// Its name, for people; no other gateway of the hub has it
    #[arg(long, value_name = "NAME", required = true)]
    name: String,
    /// Where peers reach it from outside: an address or a DNS name
    #[arg(long, value_name = "HOST", required = true)]
    public_host: String,
    /// Where it keeps its keys and what it last knew
    #[arg(long, value_name = "DIR", required = true)]
    state_dir: PathBuf,
    /// How it makes tunnels; the best that this host can, if left out
    #[arg(long, value_name = "BACKEND")]
    backend: Option<BackendArg>,
    /// Where the rootless backend binds its UDP sockets
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind: IpAddr,
    /// A network beyond this host that peers may reach beside the internet, such as its LAN; may be repeated
    ///
    /// The hub cannot widen this: private networks and this host itself are closed to peers unless they are named here.
    #[arg(long, value_name = "PREFIX")]
    egress_allow: Vec<IpNet>,
    /// How often it reports, in seconds; as the hub says, if left out
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=MAX_REPORT_SECS))]
    report_secs: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendArg {
    /// WireGuard of the kernel
    Kernel,
    /// Embedded WireGuard on TUN devices
    Userspace,
    /// Embedded WireGuard without root; peers reach each other and nothing else
    Rootless,
}

/// What `gateway` is to do.
#[derive(Debug)]
pub enum Gateway {
    /// Serve.
    Serve(Box<GatewayServe>),
    /// Look at the host, for a backend.
    Doctor(Option<Backend>),
}

/// How to serve.
#[derive(Debug)]
pub struct GatewayServe {
    /// With the gateway's token.
    pub hub: Hub,
    /// The region.
    pub region: String,
    /// For people.
    pub name: String,
    /// Where peers reach it.
    pub public_host: String,
    /// Its own disk.
    pub state_dir: PathBuf,
    /// `None` takes the best there is.
    pub backend: Option<Backend>,
    /// For the rootless backend.
    pub bind: IpAddr,
    /// What peers may reach beside the internet.
    pub egress_allow: SubnetSet,
    /// `None` leaves it to the hub.
    pub report_every: Option<Duration>,
}

impl GatewayArgs {
    /// Whether the output is for machines.
    pub(super) fn json(&self) -> bool {
        match &self.command {
            Some(GatewayCommand::Doctor(doctor)) => doctor.output.json,
            None => self.output.json,
        }
    }

    /// Whether it is to serve.
    pub(super) fn serves(&self) -> bool {
        self.command.is_none()
    }

    pub(super) fn settle(self) -> Result<Gateway, Failure> {
        if let Some(GatewayCommand::Doctor(doctor)) = self.command {
            return Ok(Gateway::Doctor(doctor.backend.map(Backend::from)));
        }
        let Some(serve) = self.serve else {
            return Err(Failure::usage("usage", "gateway needs --hub and what goes with it, or a subcommand"));
        };
        Ok(Gateway::Serve(Box::new(serve.settle()?)))
    }
}

impl GatewayServeArgs {
    fn settle(self) -> Result<GatewayServe, Failure> {
        let url = hub_url(&self.hub)?;
        for (flag, text) in [("--name", &self.name), ("--region", &self.region)] {
            let fits = (1..=MAX_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control);
            if !fits {
                return Err(Failure::usage("usage", format!("{flag} has 1 to {MAX_NAME} characters")));
            }
        }
        let host: Host = self.public_host.parse().map_err(|error| {
            Failure::usage("usage", format!("--public-host: {error}")).hint("an address or a name, without a port")
        })?;
        let token = config::read_secret(&self.token_file)?;
        let trust = self.hub_ca.map_or(Trust::Public, Trust::CaFile);
        let hub = Hub::new(url, &trust, Some(token)).map_err(|error| Failure::from(anyhow::Error::from(error)))?;
        Ok(GatewayServe {
            hub,
            region: self.region,
            name: self.name,
            public_host: host.to_string(),
            state_dir: self.state_dir,
            backend: self.backend.map(Backend::from),
            bind: self.bind,
            egress_allow: self.egress_allow.into_iter().collect(),
            report_every: self.report_secs.map(Duration::from_secs),
        })
    }
}

impl From<BackendArg> for Backend {
    fn from(backend: BackendArg) -> Self {
        match backend {
            BackendArg::Kernel => Self::Kernel,
            BackendArg::Userspace => Self::Userspace,
            BackendArg::Rootless => Self::Rootless,
        }
    }
}
