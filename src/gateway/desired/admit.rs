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
use crate::gateway::plane::allowed;

/// Who is served, and who is not.
#[derive(Debug, Default)]
pub struct Admitted {
    /// In the order of their revisions.
    pub serve: Vec<Arc<GatewayPeer>>,
    /// With the reason.
    pub refused: Vec<GatewayPeerFailed>,
}

/// Sorts out which of the peers can be served together. `own` is the instance's own public key.
#[must_use]
pub fn admit<'a>(
    instance: &GatewayInstance,
    own: &PublicKey,
    peers: impl IntoIterator<Item = &'a Arc<GatewayPeer>>,
) -> Admitted {
    let mut peers: Vec<&Arc<GatewayPeer>> = peers.into_iter().collect();
    peers.sort_by(|a, b| (a.revision, &a.id).cmp(&(b.revision, &b.id)));
    let mut taken = Taken::default();
    let mut admitted = Admitted::default();
    for peer in peers {
        let nets = allowed(peer);
        match taken.conflict(instance, own, peer, &nets) {
            None => {
                taken.take(peer, &nets);
                admitted.serve.push(Arc::clone(peer));
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
    keys: HashMap<PublicKey, PeerId>,
    /// By first address: the last address, whose. None overlaps another one of a different peer.
    ranges: BTreeMap<IpAddr, (IpAddr, PeerId)>,
}

impl Taken {
    fn conflict(
        &self,
        instance: &GatewayInstance,
        own: &PublicKey,
        peer: &GatewayPeer,
        nets: &[IpNet],
    ) -> Option<String> {
        if peer.public_key == *own {
            return Some("its key is the gateway's own".to_owned());
        }
        if let Some(other) = self.keys.get(&peer.public_key) {
            return Some(format!("its key is that of peer {other}"));
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
        self.keys.insert(peer.public_key, peer.id.clone());
        // A peer's own prefixes may hold its own addresses: only the outer ones are kept, so that ranges stay apart.
        for net in nets.iter().filter(|net| !nets.iter().any(|outer| outer != *net && outer.contains(*net))) {
            self.ranges.insert(net.network(), (net.broadcast(), peer.id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{PeerKind, Policy};

    fn peer(id: &str, key: u8, subnets: &[&str]) -> Arc<GatewayPeer> {
        Arc::new(GatewayPeer {
            id: id.parse().unwrap(),
            instance: "inst".parse().unwrap(),
            kind: PeerKind::Site,
            public_key: PublicKey::from_bytes([key; 32]).unwrap(),
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
            listen_port: 51820,
            any_port: false,
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
        let own = PublicKey::from_bytes([99; 32]).unwrap();
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
}
