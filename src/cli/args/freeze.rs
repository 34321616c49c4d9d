//! Arguments of `freeze`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::common::FreezeTerms;
use super::hub::{Hub, HubFreezeArgs};
use crate::api::MAX_FREEZE_REASON;
use crate::cli::failure::Failure;
use crate::domain::SiteId;

#[derive(Debug, Args)]
pub(super) struct FreezeArgs {
    /// The site: its name or id at the hub; its id with --state-dir
    site: String,
    #[command(flatten)]
    terms: FreezeTerms,
    /// Freeze on this host, without a hub: the --state-dir of the agent or proxy that keeps the router
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    hub: HubFreezeArgs,
}

/// What `freeze` is to do.
#[derive(Debug)]
pub enum Freeze {
    /// Tell the hub, which tells all agents of the site.
    AtHub(Hub),
    /// Leave word for the agent or proxy of this host.
    Here {
        /// Its state folder.
        folder: PathBuf,
        /// Whose router.
        site: SiteId,
        /// How long and why; `None` ends it.
        freeze: Option<(Duration, String)>,
    },
}

impl FreezeArgs {
    pub(super) fn json(&self) -> bool {
        self.hub.json()
    }

    pub(super) fn settle(self) -> Result<Freeze, Failure> {
        let reason = self.terms.reason;
        if reason.chars().count() > MAX_FREEZE_REASON || reason.chars().any(char::is_control) {
            let message =
                format!("--reason has at most {MAX_FREEZE_REASON} characters, none of them a control character");
            return Err(Failure::usage("usage", message));
        }
        let freeze = self.terms.length.map(|length| (length, reason));
        let Some(folder) = self.state_dir else {
            if !self.hub.is_asked() {
                return Err(Failure::usage("usage", "where? neither --hub nor --state-dir was said").hint(
                    "--hub URL freezes at the hub; --state-dir DIR, as the agent or proxy on this host has it, without one",
                ));
            }
            return Ok(Freeze::AtHub(self.hub.settle(self.site, freeze)?));
        };
        let site = self.site.parse().map_err(|error| {
            Failure::usage("usage", format!("{:?}: {error}", self.site))
                .hint("without a hub a site goes by the id of its site config, which sitepeer status shows")
        })?;
        Ok(Freeze::Here { folder, site, freeze })
    }
}
