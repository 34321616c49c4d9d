//! What a plane knows of its peers: what each was last told to be.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use crate::api::{GatewayPeer, PeerId};
use crate::domain::{Endpoint, PublicKey};
use crate::gateway::plane::firewall::{self, Elements};
use crate::gateway::plane::{DevicePeer, allowed};

/// A session ends this long after its handshake.
const SESSION: Duration = Duration::from_mins(3);

/// Everything a plane remembers.
#[derive(Debug)]
pub(super) struct State {
    pub peers: HashMap<PublicKey, Applied>,
    /// The tunnel's own networks: the kernel routes them by the addresses.
    pub networks: Vec<IpNet>,
    /// The sets of peers were empty when the device was made.
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
}

impl Applied {
    /// A peer as it is wanted.
    pub fn of(peer: &GatewayPeer, endpoint: Option<(Endpoint, SocketAddr)>) -> Self {
        let (allowed, elements) = (allowed(peer), Elements::of(peer));
        Self { allowed, elements, endpoint, peer: Some(peer.id.clone()), heard: None }
    }

    /// A peer that an earlier run left in the device.
    fn found(peer: DevicePeer, now: SystemTime) -> Self {
        // The device does not say whether it is a client.
        let elements = Elements::any(&firewall::host_addresses(&peer.allowed));
        let age = peer.handshake.and_then(|at| now.duration_since(at).ok());
        let heard = peer.endpoint.filter(|_| age.is_some_and(|age| age < SESSION));
        Self { allowed: peer.allowed, elements, endpoint: None, peer: None, heard }
    }
}

impl State {
    /// Begins with what the device has; `swept` says that the sets of peers are empty.
    pub fn new(found: Vec<DevicePeer>, swept: bool) -> Self {
        let now = SystemTime::now();
        let peers = found.into_iter().map(|peer| (peer.public_key, Applied::found(peer, now))).collect();
        Self { peers, networks: Vec::new(), swept, running: true }
    }

    /// The key that a peer had before, if it has another one now.
    pub fn old_key(&self, peer: &GatewayPeer) -> Option<PublicKey> {
        let is_old =
            |key: &PublicKey, known: &Applied| *key != peer.public_key && known.peer.as_ref() == Some(&peer.id);
        self.peers.iter().find(|(key, known)| is_old(key, known)).map(|(key, _)| *key)
    }

    /// What may stand in the sets of peers for a peer.
    pub fn elements(&self, peer: &GatewayPeer) -> Elements {
        match self.peers.get(&peer.public_key) {
            Some(known) => known.elements.clone(),
            None if self.swept => Elements::default(),
            // A run that was stopped half way may have left something.
            None => Elements::any(&peer.addresses),
        }
    }

    /// Those of a peer's elements that do not belong to another one by now.
    pub fn still_of(&self, key: &PublicKey, elements: &Elements) -> Elements {
        let others = self.peers.iter().filter(|(other, known)| *other != key && known.peer.is_some());
        others.fold(elements.clone(), |mut left, (_, known)| {
            left.drop_those_of(&known.elements);
            left
        })
    }

    /// What of a peer's prefixes needs a route.
    pub fn routed(&self, allowed: &[IpNet]) -> Vec<IpNet> {
        let covered = |net: &IpNet| self.networks.iter().any(|network| network.contains(net));
        allowed.iter().filter(|net| !covered(net)).copied().collect()
    }

    /// All prefixes that need a route.
    pub fn all_routed(&self) -> BTreeSet<IpNet> {
        self.peers.values().flat_map(|peer| self.routed(&peer.allowed)).collect()
    }

    /// Whether some peer has this very prefix.
    pub fn has(&self, net: &IpNet) -> bool {
        self.peers.values().any(|peer| peer.allowed.contains(net))
    }
}
