//! Arguments of `hub instance`.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::connection::ConnectionArgs;
use super::list::{Item, YesArgs, list, span, word};
use crate::api::{InstanceEdit, InstanceStatus, NewInstance, Policy};
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;
use crate::domain::InstanceName;

/// The region of a hub that has only one, such as `sitepeer hub --gateway`.
pub(super) const DEFAULT_REGION: &str = "default";

#[derive(Debug, Args)]
pub(super) struct InstanceArgs {
    #[command(subcommand)]
    pub(super) command: InstanceCommand,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum InstanceCommand {
    /// Make an instance; a gateway of its region takes it within seconds
    Create(Box<CreateArgs>),
    /// List instances
    List(ListArgs),
    /// Show an instance
    Show(OneArgs),
    /// Change settings of an instance
    Edit(Box<EditArgs>),
    /// Let a gateway try again; name, hostname, settings and keys stay
    Retry(WaitedArgs),
    /// Switch an instance off; everything is kept
    Suspend(SureArgs),
    /// Switch an instance on again
    Resume(WaitedArgs),
    /// Make a new gateway key and port; sites follow without a gap, clients with their next profile
    Rotate(OneArgs),
    /// Delete an instance with its peers and keys
    Delete(SureArgs),
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// Its name or id
    instance: String,
}

#[derive(Debug, Args)]
pub(super) struct SureArgs {
    /// Its name or id
    instance: String,
    #[command(flatten)]
    yes: YesArgs,
}

#[derive(Debug, Args)]
pub(super) struct WaitedArgs {
    /// Its name or id
    instance: String,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Wait until it is active; exit 3 if it is not
    #[arg(long)]
    wait: bool,
    /// How long to wait, such as 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = span)]
    timeout: Duration,
}

impl WaitArgs {
    fn settle(&self) -> Option<Duration> {
        self.wait.then_some(self.timeout)
    }
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// A DNS label of 1 to 20 characters, unique in its account
    name: InstanceName,
    /// Where its gateway stands
    #[arg(long, default_value = DEFAULT_REGION)]
    region: String,
    /// Its public label, 3 to 20 characters, unique on the hub; the name if left out
    #[arg(long, value_name = "LABEL")]
    hostname: Option<String>,
    /// Whose it is, name or id: for administrators
    #[arg(long)]
    account: Option<String>,
    /// IPv4 network of the tunnel addresses; 10.99.0.0/24 if left out
    #[arg(long, value_name = "PREFIX")]
    tunnel_subnet: Option<IpNet>,
    /// IPv6 network of the tunnel addresses; none if left out
    #[arg(long, value_name = "PREFIX")]
    tunnel_subnet6: Option<IpNet>,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What can be said when an instance is made, and changed later.
#[derive(Debug, Args)]
struct CommonArgs {
    /// UDP port outside; 51820 or the next one that is free if left out
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    listen_port: Option<u16>,
    /// DNS servers of client profiles
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    dns: Vec<Item<IpAddr>>,
    /// Search domains of client profiles
    #[arg(long, value_name = "DOMAIN,…", value_delimiter = ',')]
    search: Vec<Item<String>>,
    /// Prefixes behind the gateway that every peer is told to reach through the tunnel
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',')]
    routes: Vec<Item<IpNet>>,
    /// Allow routes broader than /8
    #[arg(long)]
    allow_broad: bool,
    /// Give routers new keys when theirs are older than so many days; 0 is never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=3650))]
    rotate_keys_days: Option<u32>,
    /// Whether client peers reach each other: true or false
    #[arg(long, value_name = "BOOL")]
    client_to_client: Option<bool>,
    /// Whether sites and remote peers reach each other: true or false
    #[arg(long, value_name = "BOOL")]
    site_to_site: Option<bool>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Part of the name, hostname, a site's or the account's name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only these
    #[arg(long, value_parser = word::<InstanceStatus>(&["deploying", "active", "error", "suspended"]))]
    status: Option<InstanceStatus>,
    /// Only of this account, name or id: for administrators
    #[arg(long)]
    account: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// Its name or id
    instance: String,
    /// A new name; on the sites' routers the interface is renamed with it
    #[arg(long)]
    name: Option<InstanceName>,
    /// A new public label: profiles handed out before stop working
    #[arg(long, value_name = "LABEL")]
    hostname: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What is to be done with instances.
#[derive(Debug)]
pub enum InstanceAction {
    /// Make one.
    Create {
        /// It, but for its account.
        new: NewInstance,
        /// Its account, name or id.
        account: Option<String>,
        /// How long to wait for it to be active.
        wait: Option<Duration>,
    },
    /// List them.
    List {
        /// Part of a name.
        search: Option<String>,
        /// Only these.
        status: Option<InstanceStatus>,
        /// Only of this account, name or id.
        account: Option<String>,
    },
    /// Show one.
    Show(String),
    /// Change one.
    Edit {
        /// Which.
        instance: String,
        /// Its changes, but for what follows.
        edit: InstanceEdit,
        /// Clients reach each other.
        client_to_client: Option<bool>,
        /// Sites reach each other.
        site_to_site: Option<bool>,
    },
    /// Try again.
    Retry(String, Option<Duration>),
    /// Switch off.
    Suspend(String, Confirm),
    /// Switch on.
    Resume(String, Option<Duration>),
    /// Another key.
    Rotate(String),
    /// Delete.
    Delete(String, Confirm),
}

impl InstanceCommand {
    pub(super) fn settle(self) -> Result<InstanceAction, Failure> {
        Ok(match self {
            Self::Create(args) => args.settle()?,
            Self::List(ListArgs { search, status, account }) => InstanceAction::List { search, status, account },
            Self::Show(args) => InstanceAction::Show(args.instance),
            Self::Edit(args) => args.settle()?,
            Self::Retry(args) => InstanceAction::Retry(args.instance, args.wait.settle()),
            Self::Suspend(args) => InstanceAction::Suspend(args.instance, args.yes.settle()?),
            Self::Resume(args) => InstanceAction::Resume(args.instance, args.wait.settle()),
            Self::Rotate(args) => InstanceAction::Rotate(args.instance),
            Self::Delete(args) => InstanceAction::Delete(args.instance, args.yes.settle()?),
        })
    }
}

impl CreateArgs {
    fn settle(self) -> Result<InstanceAction, Failure> {
        let common = self.common;
        let default = Policy::default();
        let policy = Policy {
            client_to_client: common.client_to_client.unwrap_or(default.client_to_client),
            site_to_site: common.site_to_site.unwrap_or(default.site_to_site),
        };
        let new = NewInstance {
            name: self.name,
            hostname: self.hostname,
            region: self.region,
            account: None,
            tunnel_subnet: self.tunnel_subnet,
            tunnel_subnet6: self.tunnel_subnet6,
            listen_port: common.listen_port,
            dns: list(common.dns)?.unwrap_or_default(),
            search: list(common.search)?.unwrap_or_default(),
            pushed_routes: list(common.routes)?.unwrap_or_default(),
            policy,
            rotate_keys_days: common.rotate_keys_days,
            allow_broad: common.allow_broad,
        };
        Ok(InstanceAction::Create { new, account: self.account, wait: self.wait.settle() })
    }
}

impl EditArgs {
    fn settle(self) -> Result<InstanceAction, Failure> {
        let common = self.common;
        let edit = InstanceEdit {
            name: self.name,
            hostname: self.hostname,
            listen_port: common.listen_port,
            dns: list(common.dns)?,
            search: list(common.search)?,
            pushed_routes: list(common.routes)?,
            policy: None,
            rotate_keys_days: common.rotate_keys_days,
            allow_broad: common.allow_broad,
        };
        let (client_to_client, site_to_site) = (common.client_to_client, common.site_to_site);
        let nothing = InstanceEdit { allow_broad: edit.allow_broad, ..InstanceEdit::default() };
        if edit == nothing && client_to_client.is_none() && site_to_site.is_none() {
            return Err(super::nothing_to_change());
        }
        Ok(InstanceAction::Edit { instance: self.instance, edit, client_to_client, site_to_site })
    }
}
