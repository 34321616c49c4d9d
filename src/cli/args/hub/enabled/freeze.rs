//! How `freeze` reaches a hub.

use std::time::Duration;

use clap::Args;

use super::connection::ConnectionArgs;
use super::{Ask, Hub, SiteAction};
use crate::api::NewFreeze;
use crate::cli::failure::Failure;

/// The hub that `freeze` may be for.
#[derive(Debug, Args)]
pub struct HubFreezeArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl HubFreezeArgs {
    pub(in crate::cli::args) fn json(&self) -> bool {
        self.connection.json
    }

    /// Whether a hub was named.
    pub(in crate::cli::args) fn is_asked(&self) -> bool {
        self.connection.is_named()
    }

    pub(in crate::cli::args) fn settle(self, site: String, freeze: Option<(Duration, String)>) -> Result<Hub, Failure> {
        let freeze = freeze.map(|(length, reason)| NewFreeze { for_secs: length.as_secs(), reason });
        let ask = Ask::Site(SiteAction::Freeze(site, freeze));
        Ok(Hub::Ask(Box::new(self.connection.settle()?), Box::new(ask)))
    }
}
