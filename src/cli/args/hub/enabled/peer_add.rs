//! Arguments of `hub peer add`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::list::{Item, list, word};
use crate::api::{NewPeer, Protocol};
use crate::cli::failure::Failure;
use crate::config;
use crate::domain::{Endpoint, PublicKey};

#[derive(Debug, Subcommand)]
pub(super) enum AddCommand {
    /// Add a site peer: a MikroTik router and the subnets behind it
    Site(AddSiteArgs),
    /// Add a client peer: a person's device
    Client(AddClientArgs),
    /// Add a remote peer: a network whose router we do not manage
    Remote(AddRemoteArgs),
}

#[derive(Debug, Args)]
struct TunnelArgs {
    /// A tunnel address of its own choice; the next free one if left out
    #[arg(long, value_name = "ADDR")]
    address: Option<IpAddr>,
    /// Seconds between keepalives; 25 if left out, 0 is off
    #[arg(long, value_name = "SECS")]
    keepalive: Option<u16>,
    /// How it connects
    #[arg(long, default_value = "wireguard", value_parser = word::<Protocol>(&["wireguard", "openvpn"]))]
    protocol: Protocol,
}

#[derive(Debug, Args)]
pub(super) struct AddSiteArgs {
    /// The instance, name or id
    instance: String,
    /// The site, name or id
    site: String,
    /// Its name; the site's if left out
    #[arg(long)]
    name: Option<String>,
    /// What it advertises
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',')]
    subnets: Vec<Item<IpNet>>,
    /// What it may reach, instead of what the instance offers to all
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',')]
    reach: Vec<Item<IpNet>>,
    /// Allow prefixes broader than /8
    #[arg(long)]
    allow_broad: bool,
    #[command(flatten)]
    tunnel: TunnelArgs,
}

#[derive(Debug, Args)]
pub(super) struct AddClientArgs {
    /// The instance, name or id
    instance: String,
    /// Whose device it is
    user: String,
    /// Its name; the user if left out
    #[arg(long)]
    name: Option<String>,
    /// Send all of its traffic through the tunnel, not only what the instance reaches
    #[arg(long)]
    route_all: bool,
    /// Its own public key; without one it waits for `sitepeer client-key`
    #[arg(long, value_name = "KEY")]
    public_key: Option<PublicKey>,
    /// DNS servers, instead of the instance's
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    dns: Vec<Item<IpAddr>>,
    #[command(flatten)]
    tunnel: TunnelArgs,
}

#[derive(Debug, Args)]
pub(super) struct AddRemoteArgs {
    /// The instance, name or id
    instance: String,
    /// Its name, unique in the instance
    name: String,
    /// Its public key
    #[arg(long, value_name = "KEY")]
    public_key: PublicKey,
    /// Where to call it; it calls if left out
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<Endpoint>,
    /// What lies behind it
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',', required = true)]
    subnets: Vec<IpNet>,
    /// A file that holds a preshared key; not readable by others
    #[arg(long, value_name = "FILE")]
    preshared_key_file: Option<PathBuf>,
    /// Allow prefixes broader than /8
    #[arg(long)]
    allow_broad: bool,
    /// Seconds between keepalives; 25 if left out, 0 is off
    #[arg(long, value_name = "SECS")]
    keepalive: Option<u16>,
    /// How it connects
    #[arg(long, default_value = "wireguard", value_parser = word::<Protocol>(&["wireguard", "openvpn"]))]
    protocol: Protocol,
}

/// A peer to be added.
#[derive(Debug)]
pub enum PeerAdding {
    /// A site peer; its site is still to be found by name or id.
    Site {
        /// Name or id.
        site: String,
        /// The rest.
        details: Box<SitePeer>,
    },
    /// Any other, as the hub takes it.
    Other(Box<NewPeer>),
}

/// A site peer, but for its site.
#[derive(Debug)]
pub struct SitePeer {
    /// The site's if it is missing.
    pub name: Option<String>,
    /// How it connects.
    pub protocol: Protocol,
    /// What it advertises.
    pub subnets: Vec<IpNet>,
    /// What it may reach.
    pub reach: Option<Vec<IpNet>>,
    /// Its tunnel address.
    pub address: Option<IpAddr>,
    /// Seconds.
    pub keepalive_secs: Option<u16>,
    /// Prefixes broader than /8 are meant.
    pub allow_broad: bool,
}

impl AddCommand {
    /// The instance, name or id, and the peer.
    pub(super) fn settle(self) -> Result<(String, PeerAdding), Failure> {
        match self {
            Self::Site(args) => {
                let details = SitePeer {
                    name: args.name,
                    protocol: args.tunnel.protocol,
                    subnets: list(args.subnets)?.unwrap_or_default(),
                    reach: list(args.reach)?,
                    address: args.tunnel.address,
                    keepalive_secs: args.tunnel.keepalive,
                    allow_broad: args.allow_broad,
                };
                Ok((args.instance, PeerAdding::Site { site: args.site, details: Box::new(details) }))
            }
            Self::Client(args) => {
                let new = NewPeer::Client {
                    user: args.user,
                    name: args.name,
                    protocol: args.tunnel.protocol,
                    route_all: args.route_all,
                    public_key: args.public_key,
                    dns: list(args.dns)?,
                    keepalive_secs: args.tunnel.keepalive,
                    address: args.tunnel.address,
                };
                Ok((args.instance, PeerAdding::Other(Box::new(new))))
            }
            Self::Remote(args) => {
                let preshared_key = args.preshared_key_file.map(|file| config::read_secret(&file)).transpose()?;
                let new = NewPeer::Remote {
                    name: args.name,
                    protocol: args.protocol,
                    public_key: args.public_key,
                    endpoint: args.endpoint,
                    allowed_ips: args.subnets,
                    preshared_key,
                    keepalive_secs: args.keepalive,
                    allow_broad: args.allow_broad,
                };
                Ok((args.instance, PeerAdding::Other(Box::new(new))))
            }
        }
    }
}
