//! Who owns an address: prefixes, the longest one wins.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Lengths that a prefix of either family may have, 0 included.
const LENGTHS: usize = 129;

/// Prefixes with their owners.
///
/// A look-up asks once for each length that is in use, the longest first: a handful, whatever the number of prefixes.
#[derive(Debug)]
pub(crate) struct PrefixTable<T> {
    owners: HashMap<IpNet, T>,
    /// How many prefixes there are of each length.
    v4: [usize; LENGTHS],
    v6: [usize; LENGTHS],
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { owners: HashMap::new(), v4: [0; LENGTHS], v6: [0; LENGTHS] }
    }
}

impl<T> PrefixTable<T> {
    /// Gives a prefix to an owner; returns the one it had.
    pub fn insert(&mut self, net: IpNet, owner: T) -> Option<T> {
        let before = self.owners.insert(net.trunc(), owner);
        if before.is_none() {
            *self.count(net) += 1;
        }
        before
    }

    /// Takes a prefix out; returns its owner.
    pub fn remove(&mut self, net: IpNet) -> Option<T> {
        let before = self.owners.remove(&net.trunc());
        if before.is_some() {
            *self.count(net) -= 1;
        }
        before
    }

    /// The owner of exactly this prefix.
    pub fn get(&self, net: IpNet) -> Option<&T> {
        self.owners.get(&net.trunc())
    }

    /// The owner of the longest prefix that holds an address.
    pub fn find(&self, address: IpAddr) -> Option<&T> {
        let (counts, longest) = if address.is_ipv4() { (&self.v4, 32) } else { (&self.v6, 128) };
        let in_use = (0..=longest).rev().filter(|length| counts[usize::from(*length)] > 0);
        in_use.filter_map(|length| IpNet::new(address, length).ok()).find_map(|net| self.owners.get(&net.trunc()))
    }

    fn count(&mut self, net: IpNet) -> &mut usize {
        let counts = if net.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        &mut counts[usize::from(net.prefix_len())]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_owns_the_address_until_it_is_taken_out() {
        let mut table = PrefixTable::default();
        for (text, owner) in [("0.0.0.0/0", 'd'), ("10.0.0.0/8", 'a'), ("10.1.0.9/16", 'b'), ("fd00::/8", 'c')] {
            assert_eq!(table.insert(net(text), owner), None);
        }
        assert_eq!(table.find("10.1.2.3".parse().unwrap()), Some(&'b'));
        assert_eq!(table.find("10.2.2.3".parse().unwrap()), Some(&'a'));
        assert_eq!(table.find("192.0.2.1".parse().unwrap()), Some(&'d'));
        assert_eq!(table.find("fd01::1".parse().unwrap()), Some(&'c'));
        assert_eq!(table.find("2001:db8::1".parse().unwrap()), None);
        assert_eq!(table.remove(net("10.1.0.0/16")), Some('b'));
        assert_eq!(table.find("10.1.2.3".parse().unwrap()), Some(&'a'));
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_a_search_through_all_prefixes_finds(
            nets in prop::collection::vec((any::<[u8; 4]>(), 0u8..=32), 0..50),
            address in any::<[u8; 4]>(),
        ) {
            let nets: Vec<IpNet> = nets.into_iter().map(|(a, l)| IpNet::new(a.into(), l).unwrap().trunc()).collect();
            let mut table = PrefixTable::default();
            for net in &nets {
                table.insert(*net, *net);
            }
            let address = IpAddr::from(address);
            let longest = nets.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
            prop_assert_eq!(table.find(address), longest);
        }
    }
}
