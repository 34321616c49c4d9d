//! Arguments of `remove`.

use clap::Args;

use super::common::{OutputArgs, Subject, SubjectArgs, Write, WriteArgs};
use super::router::RouterArgs;
use crate::cli::failure::Failure;
use crate::reconcile::guard::When;
use crate::routeros::target::Access;

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `remove` is to do.
#[derive(Debug)]
pub struct Remove {
    /// The router.
    pub access: Access,
    /// Whose rows.
    pub subject: Subject,
    /// Whether to write, and whether to ask first.
    pub write: Write,
    /// When the router undoes the change by itself unless it is confirmed.
    pub guard: When,
}

impl RemoveArgs {
    pub(super) fn settle(self) -> Result<Remove, Failure> {
        let guard = self.write.guard();
        Ok(Remove {
            subject: self.subject.settle()?,
            write: self.write.settle()?,
            guard,
            access: self.router.settle()?,
        })
    }
}
