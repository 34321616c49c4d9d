//! Arguments of `hub gateway`, `hub audit` and `hub whoami`.

use clap::{Args, Subcommand};

use super::connection::ConnectionArgs;
use super::list::YesArgs;
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;

#[derive(Debug, Args)]
pub(super) struct GatewayArgs {
    #[command(subcommand)]
    pub(super) command: GatewayCommand,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum GatewayCommand {
    /// List gateways: for administrators
    List,
    /// Remove a gateway for good; others of its region take its instances, with new keys
    Rm {
        /// Its name or id
        gateway: String,
        #[command(flatten)]
        yes: YesArgs,
    },
}

/// What is to be done with gateways.
#[derive(Debug)]
pub enum GatewayAction {
    /// List them.
    List,
    /// Remove one, named by name or id.
    Remove(String, Confirm),
}

impl GatewayCommand {
    pub(super) fn settle(self) -> Result<GatewayAction, Failure> {
        Ok(match self {
            Self::List => GatewayAction::List,
            Self::Rm { gateway, yes } => GatewayAction::Remove(gateway, yes.settle()?),
        })
    }
}

/// Entries of the audit log that are read if none are asked for: two screens.
const DEFAULT_ENTRIES: &str = "50";

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// How many entries at most
    #[arg(long, value_name = "N", default_value = DEFAULT_ENTRIES)]
    pub(super) limit: usize,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}
