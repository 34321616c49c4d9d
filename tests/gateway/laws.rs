//! Laws of the comparison between what is wanted and what a device has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use sitepeer::api::{GatewayPeer, PeerId};
use sitepeer::domain::{PublicKey, Secret};
use sitepeer::gateway::desired::admit;
use sitepeer::gateway::plane::DevicePeer;
use sitepeer::gateway::serve::diff;

use crate::control::{peer, served};
use crate::planes::set;

/// A peer with few possible keys, addresses and subnets, so that they collide.
fn any_peer() -> impl Strategy<Value = GatewayPeer> {
    let nets = prop::collection::vec((0u8..6, prop::sample::select(vec![16u8, 24])), 0..3);
    (2u8..8, 2u8..8, 2u8..8, nets, 0i64..5, any::<bool>(), any::<bool>(), 0u16..2).prop_map(
        |(id, key, address, nets, revision, preshared, route_all, keepalive)| {
            let mut peer = peer("inst1", id);
            peer.public_key = PublicKey::from_bytes([key; 32]).unwrap();
            peer.addresses = vec![crate::world::ip(&format!("10.99.0.{address}"))];
            peer.subnets =
                nets.iter().map(|(n, len)| format!("10.{n}.0.0/{len}").parse::<ipnet::IpNet>().unwrap()).collect();
            peer.revision = revision;
            peer.route_all = route_all;
            peer.keepalive_secs = keepalive;
            peer.preshared_key = preshared.then(|| Secret::new("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".into()));
            peer
        },
    )
}

fn unique(peers: Vec<GatewayPeer>) -> Vec<Arc<GatewayPeer>> {
    let by_id: BTreeMap<PeerId, GatewayPeer> = peers.into_iter().map(|peer| (peer.id.clone(), peer)).collect();
    by_id.into_values().map(Arc::new).collect()
}

proptest! {
    #[test]
    fn after_the_difference_is_applied_there_is_none(
        before in prop::collection::vec(any_peer(), 0..8),
        on_device in prop::collection::vec(any_peer(), 0..8),
        wanted in prop::collection::vec(any_peer(), 0..8),
    ) {
        let own = PublicKey::from_bytes([99; 32]).unwrap();
        let wanted = admit(&served("inst1", 1), &own, &unique(wanted)).serve;
        let mut done: HashMap<PeerId, Arc<GatewayPeer>> =
            unique(before).into_iter().map(|peer| (peer.id.clone(), peer)).collect();
        let mut device = BTreeMap::new();
        for peer in &on_device {
            set(&mut device, peer);
        }
        let read = |device: &BTreeMap<PublicKey, DevicePeer>| device.values().cloned().collect::<Vec<_>>();
        let changes = diff(&wanted, &done, &read(&device));
        let untouched: Vec<_> = wanted.iter().filter(|peer| !changes.set.contains(peer)).cloned().collect();
        let kept: Vec<_> = untouched.iter().map(|peer| device[&peer.public_key].clone()).collect();
        for (key, _) in &changes.remove {
            device.remove(key);
        }
        for peer in &changes.set {
            set(&mut device, peer);
            done.insert(peer.id.clone(), Arc::clone(peer));
        }
        prop_assert!(diff(&wanted, &done, &read(&device)).is_empty());
        prop_assert_eq!(device.len(), wanted.len());
        let still: Vec<_> = untouched.iter().map(|peer| device[&peer.public_key].clone()).collect();
        prop_assert_eq!(kept, still, "who did not change is not touched");
    }
}
