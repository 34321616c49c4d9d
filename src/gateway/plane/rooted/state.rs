//! What a plane knows of its peers: what each was last told to be.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use crate::api::{GatewayPeer, PeerId};
use crate::domain::{Endpoint, PublicKey};
use crate::gateway::plane::firewall::{self, Elements};
use crate::gateway::plane::{DevicePeer, Leg, allowed};

/// A session ends this long after its handshake.
const SESSION: Duration = Duration::from_mins(3);

/// A device and a key: what a peer is known by.
pub(super) type Place = (u32, PublicKey);

/// Everything a plane remembers.
#[derive(Debug)]
pub(super) struct State {
    pub peers: HashMap<Place, Applied>,
    /// The addresses of all devices, with the tunnel's networks.
    pub addresses: Vec<IpNet>,
    /// The sets of peers were empty when the first device was made.
    swept: bool,
    pub running: bool,
}

/// What a peer was last told to be.
#[derive(Debug)]
pub(super) struct Applied {
    pub allowed: Vec<IpNet>,
    /// What stands in the sets of peers, or may stand there.
    pub elements: Elements,
    /// Where it is to be called, and what that name stood for.
    pub endpoint: Option<(Endpoint, SocketAddr)>,
    /// Whose key it is; `None` for one that an earlier run left.
    pub peer: Option<PeerId>,
    /// Where an earlier run's session goes: it is not called elsewhere because this run knows less.
    pub heard: Option<SocketAddr>,
    /// Routes to the peer lead to this device.
    pub sends: bool,
}

impl Applied {
    /// A peer as it is wanted on a device.
    pub fn of(peer: &GatewayPeer, sends: bool, endpoint: Option<(Endpoint, SocketAddr)>) -> Self {
        let (allowed, elements) = (allowed(peer), Elements::of(peer));
        Self { allowed, elements, endpoint, peer: Some(peer.id.clone()), heard: None, sends }
    }

    /// A peer that an earlier run left in a device.
    fn found(peer: DevicePeer, now: SystemTime) -> Self {
        // The device does not say whether it is a client.
        let elements = Elements::any(&firewall::host_addresses(&peer.allowed));
        let age = peer.handshake.and_then(|at| now.duration_since(at).ok());
        let heard = peer.endpoint.filter(|_| age.is_some_and(|age| age < SESSION));
        // Nor whether routes lead to it: until somebody says, they may.
        Self { allowed: peer.allowed, elements, endpoint: None, peer: None, heard, sends: true }
    }
}

impl State {
    /// Begins without peers; `swept` says that the sets of peers are empty.
    pub fn new(swept: bool) -> Self {
        Self { peers: HashMap::new(), addresses: Vec::new(), swept, running: true }
    }

    /// Takes in what an earlier run left in a device.
    pub fn found(&mut self, peers: Vec<DevicePeer>) {
        let now = SystemTime::now();
        self.peers.extend(peers.into_iter().map(|peer| ((peer.device, peer.public_key), Applied::found(peer, now))));
    }

    /// The key that a peer had before on a device, if it has another one there now.
    pub fn old_key(&self, peer: &GatewayPeer, leg: Leg) -> Option<PublicKey> {
        let is_old = |(device, key): &Place, known: &Applied| {
            *device == leg.device && *key != leg.public_key && known.peer.as_ref() == Some(&peer.id)
        };
        self.peers.iter().find(|(place, known)| is_old(place, known)).map(|((_, key), _)| *key)
    }

    /// What may stand in the sets of peers for a peer.
    pub fn elements(&self, peer: &GatewayPeer, leg: Leg) -> Elements {
        match self.peers.get(&leg.place()) {
            Some(known) => known.elements.clone(),
            None if self.swept => Elements::default(),
            // A run that was stopped half way may have left something.
            None => Elements::any(&peer.addresses),
        }
    }

    /// Those of a peer's elements that do not belong to another one by now, nor to the same one on another device.
    pub fn still_of(&self, place: &Place, elements: &Elements) -> Elements {
        let others = self.peers.iter().filter(|(other, known)| *other != place && known.peer.is_some());
        others.fold(elements.clone(), |mut left, (_, known)| {
            left.drop_those_of(&known.elements);
            left
        })
    }

    /// Whether the kernel routes a prefix to the tunnel by the tunnel's own addresses.
    fn is_covered(&self, net: &IpNet) -> bool {
        self.addresses.iter().any(|address| address.trunc().contains(net))
    }

    /// What of a peer's prefixes needs a route. With more than one device all do: whose is which, the addresses do not say.
    pub fn routed(&self, allowed: &[IpNet], several: bool) -> Vec<IpNet> {
        allowed.iter().filter(|net| several || !self.is_covered(net)).copied().collect()
    }

    /// All prefixes that need a route, and by which device.
    pub fn all_routed(&self, several: bool) -> BTreeSet<(IpNet, u32)> {
        let sent = self.peers.iter().filter(|(_, known)| known.sends);
        sent.flat_map(|((device, _), known)| self.routed(&known.allowed, several).into_iter().map(|net| (net, *device)))
            .collect()
    }

    /// Whether routes to this very prefix lead to a peer on a device.
    pub fn has(&self, device: u32, net: &IpNet) -> bool {
        self.peers.iter().any(|((on, _), peer)| *on == device && peer.sends && peer.allowed.contains(net))
    }

    /// Forgets who was on a device.
    pub fn forget(&mut self, device: u32) {
        self.peers.retain(|(on, _), _| *on != device);
    }
}
