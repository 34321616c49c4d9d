//! Arguments of `hub` itself, and of what works on its settings and its store: `check`, `backup`, `restore`, `admin-token`.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::instance::DEFAULT_REGION;
use super::list::{YesArgs, word};
use super::secret::{SecretArgs, SecretTo};
use super::settings::SettingsArgs;
use crate::api::Backend;
use crate::cli::args::common::OutputArgs;
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;
use crate::domain::{Host, SubnetSet};
use crate::hub::config::HubConfig;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    gateway: GatewayBesideArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Gateway")]
struct GatewayBesideArgs {
    /// Be the gateway too, in the same process
    #[arg(long)]
    gateway: bool,
    /// The region it serves
    #[arg(long, requires = "gateway", default_value = DEFAULT_REGION)]
    region: String,
    /// Where peers reach it from outside: an address or a DNS name; what --listen says if left out
    #[arg(long, value_name = "HOST", requires = "gateway")]
    public_host: Option<Host>,
    /// How it makes tunnels; the best that this machine can if left out
    #[arg(long, requires = "gateway", value_parser = word::<Backend>(&["kernel", "userspace", "rootless"]))]
    backend: Option<Backend>,
    /// A network beyond this host that peers may reach beside the internet, such as its LAN; may be repeated
    #[arg(long, value_name = "PREFIX", requires = "gateway")]
    egress_allow: Vec<IpNet>,
    /// Its name
    #[arg(long, value_name = "NAME", requires = "gateway", default_value = "embedded")]
    gateway_name: String,
}

/// A gateway in the hub's own process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayBeside {
    /// The region it serves.
    pub region: String,
    /// Where peers reach it, if it was said.
    pub public_host: Option<Host>,
    /// How it makes tunnels, if it was said.
    pub backend: Option<Backend>,
    /// What peers may reach beside the internet.
    pub egress_allow: SubnetSet,
    /// Its name.
    pub name: String,
}

/// What `hub` is to serve.
#[derive(Debug)]
pub struct Serve {
    /// The hub's settings.
    pub config: HubConfig,
    /// The gateway beside it.
    pub gateway: Option<GatewayBeside>,
}

impl ServeArgs {
    pub(super) fn settle(self) -> Result<Serve, Failure> {
        let beside = self.gateway;
        let gateway = beside.gateway.then_some(GatewayBeside {
            region: beside.region,
            public_host: beside.public_host,
            backend: beside.backend,
            egress_allow: beside.egress_allow.into_iter().collect(),
            name: beside.gateway_name,
        });
        Ok(Serve { config: self.settings.settle()?, gateway })
    }
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Settings to be checked.
#[derive(Debug)]
pub struct Check {
    /// What they come to.
    pub config: HubConfig,
}

impl CheckArgs {
    pub(super) fn settle(self) -> Result<Check, Failure> {
        Ok(Check { config: self.settings.settle()? })
    }
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The file to write, of mode 0600; it must not be there yet
    file: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// A copy to be made.
#[derive(Debug)]
pub struct Backup {
    /// The hub's settings: where its store is.
    pub config: HubConfig,
    /// Where to.
    pub file: PathBuf,
}

impl BackupArgs {
    pub(super) fn settle(self) -> Result<Backup, Failure> {
        Ok(Backup { config: self.settings.settle()?, file: self.file })
    }
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The file that `sitepeer hub backup` wrote
    file: PathBuf,
    #[command(flatten)]
    yes: YesArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// A copy to be put back.
#[derive(Debug)]
pub struct Restore {
    /// The hub's settings: where its store is.
    pub config: HubConfig,
    /// Where from.
    pub file: PathBuf,
    /// Whether to ask first.
    pub confirm: Confirm,
}

impl RestoreArgs {
    pub(super) fn settle(self) -> Result<Restore, Failure> {
        let confirm = self.yes.settle()?;
        Ok(Restore { config: self.settings.settle()?, file: self.file, confirm })
    }
}

#[derive(Debug, Args)]
pub(super) struct AdminTokenArgs {
    /// A name for people
    #[arg(long, default_value = "from the hub's machine")]
    name: String,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// An administrator's token to be made.
#[derive(Debug)]
pub struct AdminToken {
    /// The hub's settings: where its store is.
    pub config: HubConfig,
    /// The token's name.
    pub name: String,
    /// Where it goes.
    pub to: SecretTo,
}

impl AdminTokenArgs {
    pub(super) fn settle(self) -> Result<AdminToken, Failure> {
        let to = self.secret.settle()?;
        Ok(AdminToken { config: self.settings.settle()?, name: self.name, to })
    }
}
