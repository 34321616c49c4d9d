//! Arguments of `plan`.

use clap::Args;

use super::common::{OutputArgs, SiteArgs};
use super::router::RouterArgs;
use crate::cli::failure::Failure;
use crate::domain::Site;
use crate::routeros::target::Access;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `plan` is to do.
#[derive(Debug)]
pub struct Plan {
    /// The router.
    pub access: Access,
    /// What is to be on it.
    pub site: Site,
}

impl PlanArgs {
    pub(super) fn settle(self) -> Result<Plan, Failure> {
        Ok(Plan { site: self.site.settle()?, access: self.router.settle()? })
    }
}
