//! Sets of IP prefixes.

use std::fmt;

use ipnet::IpNet;

/// The shortest prefix that is not called broad: a /7 or shorter is no site's network.
const BROAD: u8 = 8;

/// IP prefixes, sorted, host bits zero, none inside another: equality is `==`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubnetSet(Vec<IpNet>);

impl SubnetSet {
    /// Returns the prefixes in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.0.iter().copied()
    }

    /// Returns how many prefixes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the prefix that covers the whole of `net`, if one does.
    #[must_use]
    pub fn covering(&self, net: IpNet) -> Option<IpNet> {
        self.iter().find(|mine| mine.contains(&net))
    }

    /// Returns the first prefix that shares an address with `net`, if one does.
    #[must_use]
    pub fn overlapping(&self, net: IpNet) -> Option<IpNet> {
        // Sorted and disjoint, so the first that does not end before `net` begins is the only candidate: a full
        // BGP table is held against this set row by row.
        let first = self.0.partition_point(|mine| mine.broadcast() < net.network());
        self.0.get(first).copied().filter(|mine| overlap(*mine, net))
    }
}

impl FromIterator<IpNet> for SubnetSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let mut all: Vec<IpNet> = nets.into_iter().map(|net| net.trunc()).collect();
        all.sort_unstable();
        let mut kept: Vec<IpNet> = Vec::with_capacity(all.len());
        for net in all {
            // Sorted by address, then by length: whatever covers `net` was kept last.
            if !kept.last().is_some_and(|last| last.contains(&net)) {
                kept.push(net);
            }
        }
        Self(kept)
    }
}

impl fmt::Display for SubnetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, net) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            net.fmt(f)?;
        }
        Ok(())
    }
}

/// Tells whether two prefixes share an address.
#[must_use]
pub fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Tells whether a prefix is too broad to be routed without being told: shorter than /8, the default routes first.
#[must_use]
pub fn is_broad(net: IpNet) -> bool {
    net.prefix_len() < BROAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nets: &[&str]) -> SubnetSet {
        nets.iter().map(|n| n.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn a_set_is_sorted_without_host_bits_and_without_nested_prefixes() {
        let s = set(&["192.168.89.0/24", "10.1.2.3/8", "10.1.0.0/16", "fd00::1/64", "192.168.89.0/24"]);
        assert_eq!(s.to_string(), "10.0.0.0/8,192.168.89.0/24,fd00::/64");
        assert_eq!(s, set(&["fd00::/64", "192.168.89.0/24", "10.0.0.0/8"]));
    }

    #[test]
    fn families_never_overlap() {
        assert!(!overlap("0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()));
        assert!(overlap("10.0.0.0/8".parse().unwrap(), "10.99.0.0/24".parse().unwrap()));
    }

    #[test]
    fn the_overlapping_prefix_is_found_wherever_it_stands() {
        let s = set(&["10.0.0.0/8", "172.16.0.0/12", "192.168.88.0/24", "fd00::/64"]);
        for (net, found) in [
            ("10.255.255.255/32", Some("10.0.0.0/8")),
            ("192.168.0.0/16", Some("192.168.88.0/24")),
            ("172.15.0.0/16", None),
            ("192.168.89.0/24", None),
            ("::/0", Some("fd00::/64")),
            ("0.0.0.0/0", Some("10.0.0.0/8")),
        ] {
            assert_eq!(s.overlapping(net.parse().unwrap()), found.map(|f| f.parse().unwrap()), "{net}");
        }
    }

    #[test]
    fn broad_is_shorter_than_8() {
        assert!(is_broad("0.0.0.0/0".parse().unwrap()) && is_broad("fc00::/7".parse().unwrap()));
        assert!(!is_broad("10.0.0.0/8".parse().unwrap()));
    }
}
