//! Laws of the comparison between what is wanted and what a device has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use sitepeer::api::{GatewayMove, GatewayPeer, PeerId};
use sitepeer::domain::{PublicKey, Secret};
use sitepeer::gateway::desired::admit;
use sitepeer::gateway::plane::{DevicePeer, legs};
use sitepeer::gateway::serve::diff;

use crate::control::{peer, served};
use crate::planes::set;

/// A peer with few possible keys, addresses and subnets, so that they collide.
fn any_peer() -> impl Strategy<Value = GatewayPeer> {
    let nets = prop::collection::vec((0u8..6, prop::sample::select(vec![16u8, 24])), 0..3);
    let place = (0u32..2, 2u8..8, prop::option::of((2u8..8, any::<bool>())));
    // A key is on one device only, as in life.
    let key = |device: u32, n: u8| PublicKey::from_bytes([n + if device == 0 { 0 } else { 50 }; 32]).unwrap();
    (2u8..8, place, 2u8..8, nets, 0i64..5, any::<bool>(), any::<bool>(), 0u16..2).prop_map(
        move |(id, (device, own, beside), address, nets, revision, preshared, route_all, keepalive)| {
            let mut peer = peer("inst1", id);
            let other = 1 - device;
            (peer.device, peer.public_key) = (device, key(device, own));
            peer.moving = beside.map(|(n, sends)| GatewayMove { device: other, public_key: key(other, n), sends });
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
        let own = [98, 99].map(|byte| PublicKey::from_bytes([byte; 32]).unwrap());
        let own = (0..).zip(own).collect();
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
        let of = |device: &BTreeMap<PublicKey, DevicePeer>, peers: &[Arc<GatewayPeer>]| {
            peers.iter().flat_map(|peer| legs(peer)).map(|leg| device[&leg.public_key].clone()).collect::<Vec<_>>()
        };
        let kept = of(&device, &untouched);
        for (_, key, _) in &changes.remove {
            device.remove(key);
        }
        for peer in &changes.set {
            set(&mut device, peer);
            done.insert(peer.id.clone(), Arc::clone(peer));
        }
        prop_assert!(diff(&wanted, &done, &read(&device)).is_empty());
        prop_assert_eq!(device.len(), wanted.iter().flat_map(|peer| legs(peer)).count());
        prop_assert_eq!(kept, of(&device, &untouched), "who did not change is not touched");
    }
}
