//! Arguments of `status`.

use clap::Args;

use super::common::{OutputArgs, Subject, SubjectArgs};
use super::router::RouterArgs;
use crate::cli::failure::Failure;
use crate::routeros::target::Access;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `status` is to do.
#[derive(Debug)]
pub struct Status {
    /// The router.
    pub access: Access,
    /// Whose rows.
    pub subject: Subject,
}

impl StatusArgs {
    pub(super) fn settle(self) -> Result<Status, Failure> {
        Ok(Status { subject: self.subject.settle()?, access: self.router.settle()? })
    }
}
