//! The hub's end of the tunnels, for the demo and for tests: one WireGuard interface that forwards between its peers.
//!
//! It is a [`Plane`] whose rows are made here. That a packet's source belongs to the peer that sent it, WireGuard checks; that its
//! destination belongs to *another* peer, the forward rules made here check: isolation is not WireGuard's business.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Mutex;

use super::config::{PlaneConfig, PlaneOptions, PlaneRoute, WgInterface, WgPeer};
use super::firewall::{Action, Matcher, Rule};
use super::{Plane, PlaneError};
use crate::wireguard::keys::SecretKey;

/// The name of the hub's only interface.
const INTERFACE: &str = "hub";

/// How a hub end is set up.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Where its UDP socket is bound.
    pub bind: IpAddr,
    /// Its UDP port; 0 lets the system choose.
    pub port: u16,
    /// Its private key.
    pub private_key: SecretKey,
    /// Its addresses in the tunnel, which answer pings, with the tunnel's networks.
    pub addresses: Vec<IpNet>,
    /// Longest packet in the tunnel, in bytes.
    pub mtu: u16,
}

impl HubOptions {
    /// A hub on loopback, any port, MTU 1420.
    #[must_use]
    pub fn new(private_key: SecretKey, addresses: Vec<IpNet>) -> Self {
        Self { bind: Ipv4Addr::LOCALHOST.into(), port: 0, private_key, addresses, mtu: 1420 }
    }
}

/// A site as the hub knows it.
#[derive(Debug, Clone)]
pub struct HubPeer {
    /// The site's public key.
    pub public_key: [u8; 32],
    /// The preshared key, if one was agreed.
    pub preshared_key: Option<SecretKey>,
    /// The site's tunnel address and its subnets.
    pub allowed: Vec<IpNet>,
}

/// What the hub's WireGuard knows of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPeerState {
    /// The site's public key.
    pub public_key: [u8; 32],
    /// Bytes received from it.
    pub rx: u64,
    /// Bytes sent to it.
    pub tx: u64,
    /// How long ago the last handshake was; `None` if there was none.
    pub last_handshake: Option<Duration>,
    /// Where it was last heard from.
    pub endpoint: Option<SocketAddr>,
}

/// A hub end at work; dropping it stops it.
pub struct HubEnd {
    plane: Plane,
    public_key: [u8; 32],
    endpoint: SocketAddr,
    /// Held while a change is made, so that two changes do not undo each other.
    sites: Mutex<Sites>,
}

struct Sites {
    options: HubOptions,
    next_id: u64,
    peers: BTreeMap<[u8; 32], (u64, HubPeer)>,
}

impl HubEnd {
    /// Starts a hub end without peers.
    ///
    /// # Errors
    /// [`PlaneError::Bind`] if the address is no address of this machine; [`PlaneError::Stopped`] if the interface does not come up.
    pub async fn start(options: HubOptions) -> Result<Self, PlaneError> {
        let plane = Plane::start(PlaneOptions { bind: options.bind, ..PlaneOptions::default() }).await?;
        let public_key = options.private_key.public();
        let sites = Sites { options, next_id: 1, peers: BTreeMap::new() };
        let applied = plane.apply(sites.to_config()).await?;
        let socket = applied.interfaces.first().and_then(|interface| interface.socket);
        Ok(Self { plane, public_key, endpoint: socket.ok_or(PlaneError::Stopped)?, sites: Mutex::new(sites) })
    }

    /// Where sites reach the hub.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// The hub's public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// Adds a peer, or changes the one with this public key; no other peer is disturbed.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::Deadline`] if the hub's data plane is gone or stuck.
    ///
    /// # Cancel safety
    /// Once begun, the change is carried out even if this future is dropped.
    pub async fn set_peer(&self, peer: HubPeer) -> Result<(), PlaneError> {
        let mut sites = self.sites.lock().await;
        let id = match sites.peers.get(&peer.public_key) {
            Some((id, _)) => *id,
            None => sites.take_id(),
        };
        sites.peers.insert(peer.public_key, (id, peer));
        self.plane.apply(sites.to_config()).await.map(drop)
    }

    /// Removes a peer; returns whether there was one.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::Deadline`] if the hub's data plane is gone or stuck.
    ///
    /// # Cancel safety
    /// Once begun, the change is carried out even if this future is dropped.
    pub async fn remove_peer(&self, public_key: &[u8; 32]) -> Result<bool, PlaneError> {
        let mut sites = self.sites.lock().await;
        let removed = sites.peers.remove(public_key).is_some();
        self.plane.apply(sites.to_config()).await?;
        Ok(removed)
    }

    /// What WireGuard knows of the peers.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::Deadline`] if the hub's data plane is gone or stuck.
    ///
    /// # Cancel safety
    /// Nothing changes.
    pub async fn peers(&self) -> Result<Vec<HubPeerState>, PlaneError> {
        let states = self.plane.peers().await?;
        let sites = self.sites.lock().await;
        let view = |(key, (id, _)): (&[u8; 32], &(u64, HubPeer))| {
            let found = states.iter().find(|state| state.id == *id)?;
            Some(HubPeerState {
                public_key: *key,
                rx: found.rx,
                tx: found.tx,
                last_handshake: found.last_handshake,
                endpoint: found.endpoint,
            })
        };
        Ok(sites.peers.iter().filter_map(view).collect())
    }

    /// Drops all of the hub's UDP, both ways, while on.
    pub fn set_black_hole(&self, on: bool) {
        self.plane.set_black_hole(on);
    }

    /// Stops the hub and waits until its socket is closed.
    ///
    /// # Cancel safety
    /// Dropping the future drops the hub.
    pub async fn stop(self) {
        self.plane.stop().await;
    }
}

impl fmt::Debug for HubEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubEnd").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Sites {
    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn to_config(&self) -> PlaneConfig {
        let peers = || self.peers.values();
        let on_hub = |net: &IpNet| (*net, INTERFACE.to_owned());
        let route = |net: &IpNet| PlaneRoute { dst: *net, via: INTERFACE.to_owned(), distance: 1 };
        let rules = isolation(peers().map(|(_, peer)| peer));
        PlaneConfig {
            wireguard: vec![WgInterface {
                id: 0,
                name: INTERFACE.to_owned(),
                private_key: self.options.private_key.clone(),
                listen_port: self.options.port,
                mtu: self.options.mtu,
                up: true,
                peers: peers().map(|(id, peer)| peer.to_row(*id)).collect(),
            }],
            addresses: self.options.addresses.iter().map(on_hub).collect(),
            routes: peers().flat_map(|(_, peer)| &peer.allowed).map(route).collect(),
            filter: rules.clone(),
            filter6: rules,
            nat: Vec::new(),
        }
    }
}

impl HubPeer {
    fn to_row(&self, id: u64) -> WgPeer {
        WgPeer {
            id,
            public_key: self.public_key,
            preshared_key: self.preshared_key.clone(),
            endpoint: None,
            allowed: self.allowed.clone(),
            keepalive: None,
            up: true,
        }
    }
}

/// Forward rules: not back to the peer it came from, to any other peer, to nobody else.
fn isolation<'a>(peers: impl Iterator<Item = &'a HubPeer> + Clone) -> Vec<Rule> {
    let back = peers.clone().map(|peer| {
        let (from, to) = (Matcher::source(peer.allowed.clone()), Matcher::destination(peer.allowed.clone()));
        Rule::new("forward", Action::Drop, vec![from, to])
    });
    let across = peers.map(|peer| {
        let to = Matcher::destination(peer.allowed.clone());
        Rule::new("forward", Action::Accept, vec![to])
    });
    let nobody_else = Rule::new("forward", Action::Reject, Vec::new());
    back.chain(across).chain([nobody_else]).collect()
}
