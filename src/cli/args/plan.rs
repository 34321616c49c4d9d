//! Arguments of `plan`.

use clap::Args;

use super::common::OutputArgs;
use super::router::RouterArgs;
use super::uplink::{Source, SourceArgs, UplinkArgs};
use crate::cli::failure::Failure;
use crate::routeros::target::Access;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `plan` is to do.
#[derive(Debug)]
pub struct Plan {
    /// The router.
    pub access: Access,
    /// What is to be on it.
    pub source: Source,
}

impl PlanArgs {
    pub(super) fn settle(self) -> Result<Plan, Failure> {
        Ok(Plan { source: self.source.settle(self.uplink)?, access: self.router.settle()? })
    }
}
