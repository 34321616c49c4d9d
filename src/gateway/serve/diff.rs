//! What has to change on a device so that it has the wanted peers. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{GatewayPeer, PeerId};
use crate::domain::{PresharedKey, PublicKey};
use crate::gateway::plane::{DevicePeer, allowed, preshared_digest};

/// What has to change, in this order: removals, then peers that give something up, then those that get something.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys to take out, and whose they were, if that is known.
    pub remove: Vec<(PublicKey, Option<PeerId>)>,
    /// Peers to set.
    pub set: Vec<Arc<GatewayPeer>>,
}

impl Changes {
    /// Whether the device is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }
}

/// Compares what is wanted with what the device has. `done` is what was set last: it tells what no device shows, such as a
/// full tunnel.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "workers have one kind of map")]
pub fn diff(wanted: &[Arc<GatewayPeer>], done: &HashMap<PeerId, Arc<GatewayPeer>>, device: &[DevicePeer]) -> Changes {
    let keys: HashSet<&PublicKey> = wanted.iter().map(|peer| &peer.public_key).collect();
    let on_device: HashMap<&PublicKey, &DevicePeer> = device.iter().map(|peer| (&peer.public_key, peer)).collect();
    let stray: Vec<&PublicKey> = device.iter().map(|peer| &peer.public_key).filter(|key| !keys.contains(key)).collect();
    let owners: HashMap<&PublicKey, &PeerId> = if stray.is_empty() {
        HashMap::new()
    } else {
        done.values().map(|peer| (&peer.public_key, &peer.id)).collect()
    };
    let remove = stray.into_iter().map(|key| (*key, owners.get(key).map(|id| (*id).clone()))).collect();
    let differs = |peer: &&Arc<GatewayPeer>| {
        let unlike_before = done.get(&peer.id).is_none_or(|before| !same(before, peer));
        unlike_before || on_device.get(&peer.public_key).is_none_or(|found| !shows(found, peer))
    };
    let mut set: Vec<Arc<GatewayPeer>> = wanted.iter().filter(differs).cloned().collect();
    set.sort_by_key(|peer| !on_device.get(&peer.public_key).is_some_and(|found| gives_up(found, peer)));
    Changes { remove, set }
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
