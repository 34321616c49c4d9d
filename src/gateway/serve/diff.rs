//! What has to change on an instance's devices so that they have the wanted peers. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{GatewayPeer, PeerId};
use crate::domain::{PresharedKey, PublicKey};
use crate::gateway::plane::{DevicePeer, allowed, legs, preshared_digest};

/// What has to change, in this order: removals, then peers that give something up, then those that get something.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys to take out of a device, and whose they were, if that is known.
    pub remove: Vec<(u32, PublicKey, Option<PeerId>)>,
    /// Peers to set.
    pub set: Vec<Arc<GatewayPeer>>,
}

impl Changes {
    /// Whether the devices are as they should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }
}

/// Compares what is wanted with what the devices have. `done` is what was set last: it tells what no device shows, such as a
/// full tunnel, or by which of two devices a peer is sent to.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "workers have one kind of map")]
pub fn diff(wanted: &[Arc<GatewayPeer>], done: &HashMap<PeerId, Arc<GatewayPeer>>, device: &[DevicePeer]) -> Changes {
    let places: HashSet<Place> = wanted.iter().flat_map(|peer| legs(peer)).map(|leg| leg.place()).collect();
    let on_device: HashMap<Place, &DevicePeer> = device.iter().map(|peer| (place(peer), peer)).collect();
    let stray: Vec<Place> = device.iter().map(place).filter(|place| !places.contains(place)).collect();
    let owners: HashMap<Place, &PeerId> = if stray.is_empty() {
        HashMap::new()
    } else {
        done.values().flat_map(|peer| legs(peer).map(|leg| (leg.place(), &peer.id))).collect()
    };
    let owner = |place: &Place| owners.get(place).map(|id| (*id).clone());
    let remove = stray.into_iter().map(|place| (place.0, place.1, owner(&place))).collect();
    let differs = |peer: &&Arc<GatewayPeer>| {
        let unlike_before = done.get(&peer.id).is_none_or(|before| !same(before, peer));
        unlike_before || legs(peer).any(|leg| on_device.get(&leg.place()).is_none_or(|found| !shows(found, peer)))
    };
    let mut set: Vec<Arc<GatewayPeer>> = wanted.iter().filter(differs).cloned().collect();
    let gives = |peer: &GatewayPeer| {
        legs(peer).any(|leg| on_device.get(&leg.place()).is_some_and(|found| gives_up(found, peer)))
    };
    set.sort_by_key(|peer| !gives(peer));
    Changes { remove, set }
}

/// A device and a key.
type Place = (u32, PublicKey);

fn place(peer: &DevicePeer) -> Place {
    (peer.device, peer.public_key)
}

/// Whether the device shows a peer as it is wanted. Where it was last heard is its own business, unless it is to be called and
/// the device does not know where.
fn shows(found: &DevicePeer, peer: &GatewayPeer) -> bool {
    found.allowed == allowed(peer)
        && found.keepalive_secs == peer.keepalive_secs
        && found.preshared_key == digest(peer)
        && (peer.endpoint.is_none() || found.endpoint.is_some())
}

fn digest(peer: &GatewayPeer) -> Option<[u8; 8]> {
    let key = peer.preshared_key.as_ref()?.expose().parse::<PresharedKey>().ok()?;
    Some(preshared_digest(key.expose()))
}

fn gives_up(found: &DevicePeer, peer: &GatewayPeer) -> bool {
    let wanted: HashSet<IpNet> = allowed(peer).into_iter().collect();
    found.allowed.iter().any(|net| !wanted.contains(net))
}

/// Whether two readings of a peer mean the same; the revision alone means nothing.
fn same(a: &Arc<GatewayPeer>, b: &Arc<GatewayPeer>) -> bool {
    Arc::ptr_eq(a, b) || GatewayPeer { revision: b.revision, ..(**a).clone() } == **b
}
