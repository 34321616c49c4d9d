//! Which peers of an instance can be served together.
//!
//! The hub's store keeps overlaps out. Where it did not, whoever has the address, the prefix or the key by the lower revision keeps
//! it, the other one is refused by name, and everybody else is served.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{GatewayInstance, GatewayPeer, GatewayPeerFailed, PeerId};
use crate::domain::PublicKey;
use crate::gateway::plane::{allowed, legs};

/// Who is served, and who is not.
#[derive(Debug, Default)]
pub struct Admitted {
    /// In the order of their revisions.
    pub serve: Vec<Arc<GatewayPeer>>,
    /// With the reason.
    pub refused: Vec<GatewayPeerFailed>,
}

/// Sorts out which of the peers can be served together. `own` are the public keys of the instance's devices that are up. A peer that
/// changes to a device that is not up stays where it is.
#[must_use]
pub fn admit<'a>(
    instance: &GatewayInstance,
    own: &BTreeMap<u32, PublicKey>,
    peers: impl IntoIterator<Item = &'a Arc<GatewayPeer>>,
) -> Admitted {
    let mut peers: Vec<&Arc<GatewayPeer>> = peers.into_iter().collect();
    peers.sort_by(|a, b| (a.revision, &a.id).cmp(&(b.revision, &b.id)));
    let mut taken = Taken::default();
    let mut admitted = Admitted::default();
    for peer in peers {
        let mut peer = Arc::clone(peer);
        if let Some(to) = peer.moving.filter(|to| !own.contains_key(&to.device)) {
            let error = format!("device {}, which it changes to, is not up", to.device);
            admitted.refused.push(GatewayPeerFailed { id: peer.id.clone(), revision: peer.revision, error });
            peer = Arc::new(GatewayPeer { moving: None, ..(*peer).clone() });
        }
        let nets = allowed(&peer);
        match taken.conflict(instance, own, &peer, &nets) {
            None => {
                taken.take(&peer, &nets);
                admitted.serve.push(peer);
            }
            Some(error) => {
                admitted.refused.push(GatewayPeerFailed { id: peer.id.clone(), revision: peer.revision, error });
            }
        }
    }
    admitted
}

/// What those who are served have.
#[derive(Default)]
struct Taken {
    keys: HashMap<(u32, PublicKey), PeerId>,
    /// By first address: the last address, whose. None overlaps another one of a different peer.
    ranges: BTreeMap<IpAddr, (IpAddr, PeerId)>,
}

impl Taken {
    fn conflict(
        &self,
        instance: &GatewayInstance,
        own: &BTreeMap<u32, PublicKey>,
        peer: &GatewayPeer,
        nets: &[IpNet],
    ) -> Option<String> {
        if !own.contains_key(&peer.device) {
            return Some(format!("its device {} is not up", peer.device));
        }
        for leg in legs(peer) {
            if own.values().any(|own| *own == leg.public_key) {
                return Some("its key is the gateway's own".to_owned());
            }
            if let Some(other) = self.keys.get(&leg.place()) {
                return Some(format!("its key is that of peer {other}"));
            }
        }
        for net in nets {
            if let Some(address) = instance.addresses.iter().find(|address| net.contains(&address.addr())) {
                return Some(format!("{net} holds the gateway's own address {}", address.addr()));
            }
            if let Some(other) = self.holder(*net) {
                return Some(format!("{net} overlaps what peer {other} has"));
            }
        }
        None
    }

    /// Who has an address of a prefix: whoever begins last before its end, if he reaches its beginning.
    fn holder(&self, net: IpNet) -> Option<&PeerId> {
        let (first, last) = (net.network(), net.broadcast());
        let (_, (reaches, who)) = self.ranges.range(..=last).next_back()?;
        (reaches.is_ipv4() == first.is_ipv4() && *reaches >= first).then_some(who)
    }

    fn take(&mut self, peer: &GatewayPeer, nets: &[IpNet]) {
        self.keys.extend(legs(peer).map(|leg| (leg.place(), peer.id.clone())));
        // A peer's own prefixes may hold its own addresses: only the outer ones are kept, so that ranges stay apart.
        for net in nets.iter().filter(|net| !nets.iter().any(|outer| outer != *net && outer.contains(*net))) {
            self.ranges.insert(net.network(), (net.broadcast(), peer.id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{GatewayMove, PeerKind, Policy};

    fn peer(id: &str, key: u8, subnets: &[&str]) -> Arc<GatewayPeer> {
        Arc::new(GatewayPeer {
            id: id.parse().unwrap(),
            instance: "inst".parse().unwrap(),
            kind: PeerKind::Site,
            device: 0,
            public_key: PublicKey::from_bytes([key; 32]).unwrap(),
            moving: None,
            preshared_key: None,
            addresses: vec![IpAddr::from([10, 99, 0, key])],
            subnets: subnets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect(),
            route_all: false,
            endpoint: None,
            keepalive_secs: 0,
            revision: key.into(),
        })
    }

    fn instance() -> GatewayInstance {
        GatewayInstance {
            id: "inst".parse().unwrap(),
            name: String::new(),
            suspended: false,
            addresses: vec!["10.99.0.1/24".parse().unwrap()],
            device: 0,
            listen_port: 51820,
            any_port: false,
            devices: Vec::new(),
            pushed_routes: Vec::new().into_iter().collect(),
            policy: Policy::default(),
            revision: 1,
        }
    }

    #[test]
    fn the_earlier_one_keeps_what_two_want_and_everybody_else_is_served() {
        let mut twin = (*peer("twin", 2, &[])).clone();
        twin.addresses = vec![IpAddr::from([10, 99, 0, 77])];
        twin.revision = 50;
        let own = [(0, PublicKey::from_bytes([99; 32]).unwrap())].into();
        let peers = [
            peer("site2", 2, &["10.2.0.0/16", "10.99.0.2/32"]),
            peer("inside", 3, &["10.2.3.0/24"]),
            peer("around", 4, &["10.0.0.0/8"]),
            peer("apart", 5, &["10.3.0.0/16", "::/0"]),
            peer("gate", 6, &["10.99.0.0/28"]),
            Arc::new(twin),
            peer("usus", 99, &[]),
            peer("six7", 7, &["fd00::/8"]),
        ];
        let admitted = admit(&instance(), &own, &peers);
        let served: Vec<&str> = admitted.serve.iter().map(|peer| peer.id.as_str()).collect();
        assert_eq!(served, ["site2", "apart"]);
        let refused: Vec<String> = admitted.refused.iter().map(|f| format!("{}: {}", f.id, f.error)).collect();
        assert_eq!(
            refused,
            [
                "inside: 10.2.3.0/24 overlaps what peer site2 has",
                "around: 10.0.0.0/8 holds the gateway's own address 10.99.0.1",
                "gate: 10.99.0.0/28 holds the gateway's own address 10.99.0.1",
                "six7: fd00::/8 overlaps what peer apart has",
                "twin: its key is that of peer site2",
                "usus: its key is the gateway's own",
            ]
        );
    }

    #[test]
    fn a_peer_whose_next_device_is_not_up_stays_on_the_one_it_has() {
        let key = |byte| PublicKey::from_bytes([byte; 32]).unwrap();
        let to = |device, byte| Some(GatewayMove { device, public_key: key(byte), sends: true });
        let moving = |id, byte, to| Arc::new(GatewayPeer { moving: to, ..(*peer(id, byte, &[])).clone() });
        let peers = [
            moving("both", 2, to(1, 12)),
            moving("stay", 3, to(7, 13)),
            Arc::new(GatewayPeer { device: 7, ..(*peer("lost", 4, &[])).clone() }),
            moving("same", 5, to(1, 12)),
        ];
        let own = [(0, key(99)), (1, key(98))].into();
        let admitted = admit(&instance(), &own, &peers);
        let served: Vec<_> = admitted.serve.iter().map(|peer| (peer.id.as_str(), peer.moving.is_some())).collect();
        assert_eq!(served, [("both", true), ("stay", false)]);
        let refused: Vec<String> = admitted.refused.iter().map(|f| format!("{}: {}", f.id, f.error)).collect();
        let expected = [
            "stay: device 7, which it changes to, is not up",
            "lost: its device 7 is not up",
            "same: its key is that of peer both",
        ];
        assert_eq!(refused, expected);
    }
}
