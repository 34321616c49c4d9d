//! Arguments of `hub site`.

use clap::{Args, Subcommand};

use super::connection::ConnectionArgs;
use super::list::YesArgs;
use crate::api::{NewFreeze, ProxyAssignment};
use crate::cli::args::common::FreezeTerms;
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;

/// Transitions that are read if none are asked for: two screens.
const DEFAULT_TRANSITIONS: &str = "50";

#[derive(Debug, Args)]
pub(super) struct SiteArgs {
    #[command(subcommand)]
    pub(super) command: SiteCommand,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum SiteCommand {
    /// Make a site: a place with a router
    Create {
        /// Its name, unique in its account
        name: String,
        /// Whose it is, name or id: for administrators
        #[arg(long)]
        account: Option<String>,
    },
    /// List sites
    List {
        /// Part of the name, the board or the serial number
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show a site, and what its agent said of the router
    Show {
        /// Its name or id
        site: String,
    },
    /// Rename a site
    Edit {
        /// Its name or id
        site: String,
        /// The new name
        #[arg(long)]
        name: String,
    },
    /// List the networks that the router is in: what it could advertise
    Subnets {
        /// Its name or id
        site: String,
    },
    /// Show how a site is, seen from its gateway and from its agent, and how available it was
    Health {
        /// Its name or id
        site: String,
        /// The month whose availability is shown, such as 2026-11 (UTC); this one if it is missing
        #[arg(long, value_name = "MONTH")]
        month: Option<String>,
    },
    /// List the changes of state of a site's tunnels, newest first
    Transitions {
        /// Its name or id
        site: String,
        /// How many at most
        #[arg(long, value_name = "N", default_value = DEFAULT_TRANSITIONS)]
        limit: usize,
    },
    /// List what agents did to the site's routers by themselves, and what they found changed by others, newest first
    Events {
        /// Its name or id
        site: String,
        /// How many at most
        #[arg(long, value_name = "N", default_value = DEFAULT_TRANSITIONS)]
        limit: usize,
    },
    /// Make the site's agents hold hands off for a while: somebody works there. It ends by itself
    Freeze {
        /// Its name or id
        site: String,
        #[command(flatten)]
        terms: FreezeTerms,
    },
    /// Have a site's router driven by the proxies of a group; they know how to log in
    Assign {
        /// Its name or id
        site: String,
        /// The group of proxies: a word of your own, which the tokens of proxies may name
        #[arg(long)]
        group: String,
        /// The router as its proxies reach it, by its address, such as `apis://10.1.1.1`; never with a password
        #[arg(long, value_name = "URL")]
        router: String,
        /// The fingerprint of its certificate: sha256: and 64 hex digits
        #[arg(long, value_name = "PIN")]
        pin: Option<String>,
    },
    /// Have no proxy drive a site's router any more; what is on it stays
    Unassign {
        /// Its name or id
        site: String,
    },
    /// Delete a site that has no peers
    Rm {
        /// Its name or id
        site: String,
        #[command(flatten)]
        yes: YesArgs,
    },
}

/// What is to be done with sites, which are named by name or id.
#[derive(Debug)]
pub enum SiteAction {
    /// Make one.
    Create {
        /// Its name.
        name: String,
        /// Its account.
        account: Option<String>,
    },
    /// List them, with a part of a name.
    List(Option<String>),
    /// Show one.
    Show(String),
    /// Rename one.
    Rename {
        /// Which.
        site: String,
        /// Its new name.
        name: String,
    },
    /// What it could advertise.
    Subnets(String),
    /// How it is, and how a month went.
    Health(String, Option<String>),
    /// Its changes of state, at most so many.
    Transitions(String, usize),
    /// What agents did there or found done, at most so many.
    Events(String, usize),
    /// Freeze it, or end its freeze.
    Freeze(String, Option<NewFreeze>),
    /// Assign it to a group of proxies, or to none.
    Assign(String, Option<ProxyAssignment>),
    /// Delete.
    Remove(String, Confirm),
}

impl SiteCommand {
    pub(super) fn settle(self) -> Result<SiteAction, Failure> {
        Ok(match self {
            Self::Create { name, account } => SiteAction::Create { name, account },
            Self::List { search } => SiteAction::List(search),
            Self::Show { site } => SiteAction::Show(site),
            Self::Edit { site, name } => SiteAction::Rename { site, name },
            Self::Subnets { site } => SiteAction::Subnets(site),
            Self::Health { site, month } => SiteAction::Health(site, month),
            Self::Transitions { site, limit } => SiteAction::Transitions(site, limit),
            Self::Events { site, limit } => SiteAction::Events(site, limit),
            Self::Freeze { site, terms: FreezeTerms { length, reason, .. } } => {
                let freeze = length.map(|length| NewFreeze { for_secs: length.as_secs(), reason });
                SiteAction::Freeze(site, freeze)
            }
            Self::Assign { site, group, router, pin } => {
                SiteAction::Assign(site, Some(ProxyAssignment { group, url: router, pin }))
            }
            Self::Unassign { site } => SiteAction::Assign(site, None),
            Self::Rm { site, yes } => SiteAction::Remove(site, yes.settle()?),
        })
    }
}
