//! What a device has, as far as it was set or read: which peers, and which of them has a prefix.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::domain::PublicKey;
use crate::gateway::plane::DevicePeer;

/// Peers and prefixes of a device. A prefix has one owner, as in the device: who gets it takes it from who had it.
#[derive(Debug, Default)]
pub(super) struct Known {
    peers: BTreeSet<PublicKey>,
    owners: BTreeMap<IpNet, PublicKey>,
    changes: u64,
}

impl Known {
    /// Counts changes: a reading that one fell into says nothing certain of prefixes.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes over what was read. Peers that were set and are not there stay known: the next reading is looked at twice for them.
    pub fn read<'a>(&mut self, peers: impl Iterator<Item = &'a DevicePeer>) {
        self.owners.clear();
        for peer in peers {
            self.peers.insert(peer.public_key);
            self.owners.extend(peer.allowed.iter().map(|net| (net.trunc(), peer.public_key)));
        }
    }

    /// How many peers are known that are not there.
    pub fn missing(&self, is_there: impl Fn(&PublicKey) -> bool) -> usize {
        self.peers.iter().filter(|key| !is_there(key)).count()
    }

    /// What a peer has and shall have no more; `None` if it is not known what it has.
    pub fn given_up(&self, key: &PublicKey, wanted: &[IpNet]) -> Option<Vec<IpNet>> {
        let wanted: BTreeSet<IpNet> = wanted.iter().map(IpNet::trunc).collect();
        let mine = self.owners.iter().filter(|(net, owner)| *owner == key && !wanted.contains(net));
        self.peers.contains(key).then(|| mine.map(|(net, _)| *net).collect())
    }

    /// A peer was set.
    pub fn set(&mut self, key: PublicKey, allowed: &[IpNet]) {
        self.forget(&key);
        self.peers.insert(key);
        self.owners.extend(allowed.iter().map(|net| (net.trunc(), key)));
    }

    /// A peer is gone, or nobody knows what became of it.
    pub fn forget(&mut self, key: &PublicKey) {
        self.changes += 1;
        self.peers.remove(key);
        self.owners.retain(|_, owner| owner != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_prefix_that_another_peer_got_is_not_taken_away_from_it_later() {
        let (a, b) = (PublicKey::from_bytes([9; 32]).unwrap(), PublicKey::from_bytes([8; 32]).unwrap());
        let mut known = Known::default();
        assert_eq!(known.given_up(&a, &[]), None, "nothing is known of it");
        known.set(a, &nets(&["10.1.0.0/24", "10.2.0.0/24"]));
        known.set(b, &nets(&["10.2.0.0/24"]));
        assert_eq!(known.given_up(&a, &nets(&["10.3.0.0/24"])), Some(nets(&["10.1.0.0/24"])));
        assert_eq!(known.given_up(&b, &nets(&["10.2.0.0/24"])), Some(Vec::new()));
        known.forget(&b);
        assert_eq!((known.given_up(&b, &[]), known.missing(|_| false)), (None, 1));
    }
}
