//! Arguments of `doctor`.

use clap::Args;

use super::common::OutputArgs;
use super::router::RouterArgs;
use super::uplink::{Source, SourceArgs, UplinkArgs};
use crate::cli::failure::Failure;
use crate::routeros::target::Access;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `doctor` is to do.
#[derive(Debug)]
pub struct Doctor {
    /// The router.
    pub access: Access,
    /// What is, or is to be, on it.
    pub source: Source,
}

impl DoctorArgs {
    pub(super) fn settle(self) -> Result<Doctor, Failure> {
        Ok(Doctor { source: self.source.settle(self.uplink)?, access: self.router.settle()? })
    }
}
