//! Arguments of `render`.

use clap::Args;

use super::common::{OutputArgs, SiteArgs};
use crate::cli::failure::Failure;
use crate::domain::Site;

#[derive(Debug, Args)]
pub(super) struct RenderArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Write the preshared key into the script, which is then as secret as the key
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `render` is to do.
#[derive(Debug)]
pub struct Render {
    /// What is to be on the router.
    pub site: Site,
    /// Whether the script may hold the preshared key.
    pub show_secrets: bool,
}

impl RenderArgs {
    pub(super) fn settle(self) -> Result<Render, Failure> {
        Ok(Render { site: self.site.settle()?, show_secrets: self.show_secrets })
    }
}
