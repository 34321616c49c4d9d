//! Arguments of `hub peer`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::connection::ConnectionArgs;
use super::list::{Item, YesArgs, list, word};
use super::peer_add::{AddCommand, PeerAdding};
use crate::api::{PeerEdit, PeerKind, PeerStatus};
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;
use crate::config;
use crate::domain::{Endpoint, PublicKey, Secret};

#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    #[command(subcommand)]
    pub(super) command: PeerCommand,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum PeerCommand {
    /// Add a peer: site, client or remote
    #[command(subcommand)]
    Add(Box<AddCommand>),
    /// List peers
    List(ListArgs),
    /// Show a peer
    Show(ShowArgs),
    /// Let a peer connect again
    Enable(OneArgs),
    /// Keep a peer from connecting; its configuration is kept
    Disable(OneArgs),
    /// Change a peer
    Edit(Box<EditArgs>),
    /// Write a client's profile: a .conf for WireGuard
    Profile(ProfileArgs),
    /// Give a site's router a new key, without a gap
    Rotate(RotateArgs),
    /// Take the credential of a site's agent back; the peer stays, and can be enrolled again
    Revoke(SureArgs),
    /// Delete a peer
    Rm(SureArgs),
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// Its name, INSTANCE/NAME or id
    peer: String,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Its name, INSTANCE/NAME or id
    peer: String,
    /// Measure how much passes, over two reports of the gateway
    #[arg(long)]
    rate: bool,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Its name, INSTANCE/NAME or id
    peer: String,
    /// Give up a change that its router does not use yet
    #[arg(long)]
    cancel: bool,
}

#[derive(Debug, Args)]
pub(super) struct SureArgs {
    /// Its name, INSTANCE/NAME or id
    peer: String,
    #[command(flatten)]
    yes: YesArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only of this instance, name or id
    #[arg(long)]
    instance: Option<String>,
    /// Only of this site, name or id
    #[arg(long)]
    site: Option<String>,
    /// Only these
    #[arg(long, value_parser = word::<PeerKind>(&["site", "client", "remote"]))]
    kind: Option<PeerKind>,
    /// Only these
    #[arg(long, value_parser = word::<PeerStatus>(&["connected", "offline", "waiting", "disabled", "unknown"]))]
    status: Option<PeerStatus>,
    /// Part of the name, the user, the site's or instance's name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// Its name, INSTANCE/NAME or id
    peer: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// What a site advertises or lies behind a remote peer, all of it
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',', conflicts_with_all = ["add_subnets", "remove_subnets"])]
    subnets: Vec<Item<IpNet>>,
    /// Prefixes to add to those it has
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',')]
    add_subnets: Vec<IpNet>,
    /// Prefixes to take from those it has
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',')]
    remove_subnets: Vec<IpNet>,
    /// What a site may reach; none goes back to what the instance offers to all
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',')]
    reach: Vec<Item<IpNet>>,
    /// Whether all of a client's traffic goes through the tunnel: true or false
    #[arg(long, value_name = "BOOL")]
    route_all: Option<bool>,
    /// The user of a client
    #[arg(long)]
    user: Option<String>,
    /// The public key of a client or remote peer
    #[arg(long, value_name = "KEY")]
    public_key: Option<PublicKey>,
    /// DNS servers of a client; none goes back to the instance's
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    dns: Vec<Item<IpAddr>>,
    /// Seconds between keepalives; 0 is off
    #[arg(long, value_name = "SECS")]
    keepalive: Option<u16>,
    /// A tunnel address of its own choice
    #[arg(long, value_name = "ADDR")]
    address: Option<IpAddr>,
    /// Where a remote peer is called
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<Endpoint>,
    /// A file that holds a remote peer's preshared key; not readable by others
    #[arg(long, value_name = "FILE", conflicts_with = "no_preshared_key")]
    preshared_key_file: Option<PathBuf>,
    /// Use no preshared key any more
    #[arg(long)]
    no_preshared_key: bool,
    /// Allow prefixes broader than /8
    #[arg(long)]
    allow_broad: bool,
}

#[derive(Debug, Args)]
pub(super) struct ProfileArgs {
    /// Its name, INSTANCE/NAME or id
    peer: String,
    /// Write it to a new file that only you can read, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show it as a QR code for a phone
    #[arg(long, conflicts_with = "out")]
    qr: bool,
}

/// What is to be done with peers.
#[derive(Debug)]
pub enum PeerAction {
    /// Add one to an instance, named by name or id.
    Add(String, PeerAdding),
    /// List them.
    List {
        /// Name or id.
        instance: Option<String>,
        /// Name or id.
        site: Option<String>,
        /// Only these.
        kind: Option<PeerKind>,
        /// Only these.
        status: Option<PeerStatus>,
        /// Part of a name.
        search: Option<String>,
    },
    /// Show one, and measure its rate.
    Show(String, bool),
    /// Switch one on or off.
    Switch(String, bool),
    /// Change one.
    Edit(Box<PeerEditing>),
    /// Write a profile.
    Profile(String, ProfileAs),
    /// Take the agent's credential back.
    Revoke(String, Confirm),
    /// Give a router a new key, or give that up.
    Rotate(String, bool),
    /// Delete.
    Remove(String, Confirm),
}

/// A change of a peer.
#[derive(Debug)]
pub struct PeerEditing {
    /// Which.
    pub peer: String,
    /// Its changes, but for what follows.
    pub edit: PeerEdit,
    /// Changes of its subnets that count from what they are.
    pub subnets: SubnetEdit,
}

/// Prefixes to add and to take away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetEdit {
    /// To add.
    pub add: Vec<IpNet>,
    /// To take away.
    pub remove: Vec<IpNet>,
}

/// How a profile is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileAs {
    /// On stdout.
    Stdout,
    /// In a new file.
    File(PathBuf),
    /// As a QR code on stdout.
    Qr,
}

impl PeerCommand {
    pub(super) fn settle(self) -> Result<PeerAction, Failure> {
        Ok(match self {
            Self::Add(command) => {
                let (instance, adding) = command.settle()?;
                PeerAction::Add(instance, adding)
            }
            Self::List(ListArgs { instance, site, kind, status, search }) => {
                PeerAction::List { instance, site, kind, status, search }
            }
            Self::Show(args) => PeerAction::Show(args.peer, args.rate),
            Self::Enable(args) => PeerAction::Switch(args.peer, true),
            Self::Disable(args) => PeerAction::Switch(args.peer, false),
            Self::Edit(args) => PeerAction::Edit(Box::new(args.settle()?)),
            Self::Profile(args) => {
                let shape = match (args.out, args.qr) {
                    (Some(file), _) => ProfileAs::File(file),
                    (None, true) => ProfileAs::Qr,
                    (None, false) => ProfileAs::Stdout,
                };
                PeerAction::Profile(args.peer, shape)
            }
            Self::Revoke(args) => PeerAction::Revoke(args.peer, args.yes.settle()?),
            Self::Rotate(args) => PeerAction::Rotate(args.peer, args.cancel),
            Self::Rm(args) => PeerAction::Remove(args.peer, args.yes.settle()?),
        })
    }
}

impl EditArgs {
    fn settle(self) -> Result<PeerEditing, Failure> {
        let preshared_key = match self.preshared_key_file {
            Some(file) => Some(config::read_secret(&file)?),
            None => self.no_preshared_key.then(|| Secret::new(String::new())),
        };
        let edit = PeerEdit {
            name: self.name,
            enabled: None,
            subnets: list(self.subnets)?,
            reach: list(self.reach)?,
            route_all: self.route_all,
            user: self.user,
            public_key: self.public_key,
            dns: list(self.dns)?,
            keepalive_secs: self.keepalive,
            address: self.address,
            endpoint: self.endpoint,
            preshared_key,
            allow_broad: self.allow_broad,
        };
        let subnets = SubnetEdit { add: self.add_subnets, remove: self.remove_subnets };
        let nothing = PeerEdit { allow_broad: edit.allow_broad, ..PeerEdit::default() };
        if edit == nothing && subnets == SubnetEdit::default() {
            return Err(super::nothing_to_change());
        }
        Ok(PeerEditing { peer: self.peer, edit, subnets })
    }
}
