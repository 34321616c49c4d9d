//! Arguments of `hub site`.

use clap::{Args, Subcommand};

use super::connection::ConnectionArgs;
use super::list::YesArgs;
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;

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
            Self::Rm { site, yes } => SiteAction::Remove(site, yes.settle()?),
        })
    }
}
