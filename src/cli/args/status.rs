//! Arguments of `status`.

use clap::Args;

use super::common::{OutputArgs, Subject, SubjectArgs};
use super::router::RouterArgs;
use super::uplink::{HubSource, UplinkArgs};
use crate::cli::failure::Failure;
use crate::routeros::target::Access;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `status` is to do.
#[derive(Debug)]
pub struct Status {
    /// The router.
    pub access: Access,
    /// Whose rows, if no hub says it.
    pub subject: Subject,
    /// The hub that this site is enrolled at.
    pub hub: Option<HubSource>,
}

impl StatusArgs {
    pub(super) fn settle(self) -> Result<Status, Failure> {
        let (subject, hub) = (self.subject.settle()?, self.uplink.settle()?);
        if hub.is_some() && subject != Subject::Only {
            return Err(Failure::usage("usage", "the hub says which site it is: leave --instance out"));
        }
        Ok(Status { subject, hub, access: self.router.settle()? })
    }
}
