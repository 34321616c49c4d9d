//! What the sites of an instance may reach: a set of addresses, kept as its shortest list of prefixes.
//!
//! The list is changed prefix by prefix, never computed anew from ten thousand peers: sources of enabled peers are disjoint, so
//! taking one out takes exactly its addresses out, but for those that a pushed route holds in place.

use ipnet::IpNet;

use crate::domain::{SubnetSet, is_broad, overlap};

/// The broadest prefix that a site config may have.
const BROADEST: u8 = 8;

/// Joins two lists: adjacent prefixes become one.
pub(super) fn merge(set: &SubnetSet, more: impl IntoIterator<Item = IpNet>) -> SubnetSet {
    let all: Vec<IpNet> = set.iter().chain(more).collect();
    IpNet::aggregate(&all).into_iter().collect()
}

/// Takes the addresses of `hole` out of a list.
pub(super) fn subtract(set: &SubnetSet, hole: IpNet) -> SubnetSet {
    let mut left = Vec::with_capacity(set.len());
    for net in set.iter() {
        cut(net, hole, &mut left);
    }
    left.into_iter().collect()
}

/// What stays of `net` without `hole`: for one inside the other, a half at each length between them.
fn cut(mut net: IpNet, hole: IpNet, left: &mut Vec<IpNet>) {
    if !overlap(net, hole) {
        left.push(net);
        return;
    }
    while net.prefix_len() < hole.prefix_len() {
        let Ok(halves) = net.subnets(net.prefix_len() + 1) else { return };
        let mut next = None;
        for half in halves {
            if half.contains(&hole) { next = Some(half) } else { left.push(half) }
        }
        match next {
            Some(half) => net = half,
            None => return,
        }
    }
}

/// Takes a peer's prefixes out; what `kept` covers of them stays.
pub(super) fn withdraw(set: &SubnetSet, gone: &SubnetSet, kept: &SubnetSet) -> SubnetSet {
    let mut set = set.clone();
    for hole in gone.iter() {
        let still =
            kept.iter().filter(|net| overlap(*net, hole)).map(|net| if hole.contains(&net) { net } else { hole });
        set = merge(&subtract(&set, hole), still);
    }
    set
}

/// What one site is told: all without its own, and nothing broader than a site config may have, whatever merging made.
pub(super) fn for_site(reach: &SubnetSet, own: &SubnetSet) -> SubnetSet {
    let mut set = reach.clone();
    for hole in own.iter() {
        set = subtract(&set, hole);
    }
    if !set.iter().any(is_broad) {
        return set;
    }
    let mut parts = Vec::with_capacity(set.len());
    for net in set.iter() {
        match net.subnets(BROADEST.max(net.prefix_len())) {
            Ok(pieces) => parts.extend(pieces),
            Err(_) => parts.push(net),
        }
    }
    parts.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(nets: &[&str]) -> SubnetSet {
        nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn a_site_is_told_everything_but_its_own() {
        let told = for_site(&set(&["10.0.0.0/8", "192.168.7.0/24"]), &set(&["10.1.0.0/24"]));
        assert_eq!(told.len(), 17, "{told}");
        assert!(told.overlapping("10.1.0.0/24".parse().unwrap()).is_none());
        assert!(told.covering("10.1.1.0/24".parse().unwrap()).is_some());
    }

    #[test]
    fn what_merging_made_too_broad_is_told_in_parts() {
        let told = for_site(&merge(&set(&["10.0.0.0/8"]), set(&["11.0.0.0/8"]).iter()), &set(&[]));
        assert_eq!(told, set(&["10.0.0.0/8", "11.0.0.0/8"]));
    }

    /// Prefixes below 10.0.0.0/24 and fd00::/120: small enough to count their addresses.
    fn small_prefix() -> impl Strategy<Value = IpNet> {
        (any::<bool>(), any::<u8>(), 0_u8..=8).prop_map(|(six, host, bits)| {
            let text =
                if six { format!("fd00::{host:x}/{}", 128 - bits) } else { format!("10.0.0.{host}/{}", 32 - bits) };
            text.parse::<IpNet>().unwrap().trunc()
        })
    }

    fn addresses(set: &SubnetSet) -> BTreeSet<std::net::IpAddr> {
        set.iter()
            .flat_map(|net| net.subnets(if net.addr().is_ipv4() { 32 } else { 128 }).unwrap())
            .map(|net| net.addr())
            .collect()
    }

    proptest! {
        #[test]
        fn adding_and_taking_out_is_the_same_as_counting_addresses(
            nets in proptest::collection::vec(small_prefix(), 0..12),
            gone in proptest::collection::vec(small_prefix(), 0..6),
            kept in proptest::collection::vec(small_prefix(), 0..4),
        ) {
            let kept: SubnetSet = kept.into_iter().collect();
            let gone: SubnetSet = gone.into_iter().collect();
            let all = merge(&kept, nets);
            let left = withdraw(&all, &gone, &kept);
            let expected: BTreeSet<_> = addresses(&all).difference(&addresses(&gone)).copied().chain(addresses(&kept)).collect();
            prop_assert_eq!(addresses(&left), expected);
            prop_assert_eq!(merge(&left, []), left, "not the shortest list");
        }
    }
}
