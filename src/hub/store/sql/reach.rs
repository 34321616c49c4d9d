//! What the sites of an instance may reach: prefixes merged into as few as there can be, and cut so that a router takes them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::{MAX_SUBNETS, SubnetSet, is_broad, overlap};

/// The broadest prefix that a site config may have.
const BROADEST: u8 = 8;
/// Most prefixes that are published: half of what a router takes, because a site's own make holes in them.
const MOST_PUBLISHED: usize = MAX_SUBNETS / 2;

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
        let mut inner = None;
        for part in halves {
            if part.contains(&hole) { inner = Some(part) } else { left.push(part) }
        }
        match inner {
            Some(half) => net = half,
            None => return,
        }
    }
}

/// What all sites are told of these prefixes: merged, nothing broader than a site config may have, and in coarser prefixes where
/// they would be too many. A broad prefix that somebody asked for is reached only by who names it.
pub(super) fn published(nets: impl IntoIterator<Item = IpNet>) -> SubnetSet {
    let fine: Vec<IpNet> = nets.into_iter().filter(|net| !is_broad(*net)).collect();
    let mut set = in_parts(&merge(&SubnetSet::default(), fine));
    let mut length = 128;
    while set.len() > MOST_PUBLISHED && length > BROADEST {
        length -= 1;
        let coarser = set.iter().map(|net| coarse(net, length));
        set = in_parts(&merge(&SubnetSet::default(), coarser.collect::<Vec<_>>()));
    }
    set
}

/// The prefix of this length around a longer one. IPv4 begins to give way with the last 24 of its bits.
fn coarse(net: IpNet, length: u8) -> IpNet {
    let length = if net.addr().is_ipv4() { length.min(32) } else { length };
    if net.prefix_len() <= length {
        return net;
    }
    net.supernet().map_or(net, |wider| if wider.prefix_len() > length { coarse(wider, length) } else { wider })
}

/// What one site is told: all without its own and without the hub's own address, which is sought outside the tunnel.
pub(super) fn for_site(reach: &SubnetSet, own: &SubnetSet, endpoint: Option<IpAddr>) -> SubnetSet {
    let mut set = in_parts(reach);
    for hole in own.iter().chain(endpoint.map(IpNet::from)) {
        set = subtract(&set, hole);
    }
    // Holes make more prefixes; a router takes no more than this.
    set.iter().take(MAX_SUBNETS).collect()
}

/// Nothing broader than a site config may have: a broader one in its parts.
fn in_parts(set: &SubnetSet) -> SubnetSet {
    if !set.iter().any(is_broad) {
        return set.clone();
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
    fn a_site_is_told_everything_but_its_own_and_the_hubs_address() {
        let told = for_site(&set(&["10.0.0.0/8", "192.168.7.0/24"]), &set(&["10.1.0.0/24"]), None);
        assert_eq!(told.len(), 17, "{told}");
        assert!(told.overlapping("10.1.0.0/24".parse().unwrap()).is_none());
        assert!(told.covering("10.1.1.0/24".parse().unwrap()).is_some());
        let told = for_site(&set(&["203.0.113.0/24"]), &set(&[]), Some("203.0.113.9".parse().unwrap()));
        assert!(told.overlapping("203.0.113.9/32".parse().unwrap()).is_none() && told.len() == 8, "{told}");
    }

    #[test]
    fn what_merging_makes_too_broad_is_told_in_parts_and_a_broad_one_not_at_all() {
        let told = published(set(&["10.0.0.0/8", "11.0.0.0/8"]).iter().chain(set(&["0.0.0.0/0", "fc00::/7"]).iter()));
        assert_eq!(told, set(&["10.0.0.0/8", "11.0.0.0/8"]));
    }

    #[test]
    fn ten_thousand_scattered_sites_are_told_in_coarser_prefixes_that_cover_them_all() {
        let nets: Vec<IpNet> =
            (0..10_000_u32).map(|n| format!("10.{}.{}.0/25", n / 128, 2 * (n % 128)).parse().unwrap()).collect();
        let told = published(nets.clone());
        assert!(told.len() <= MOST_PUBLISHED, "{}", told.len());
        assert!(nets.iter().all(|net| told.covering(*net).is_some()));
    }

    /// Prefixes below `10.0.0.0/24` and `fd00::/120`: small enough to count their addresses.
    fn small_prefix() -> impl Strategy<Value = IpNet> {
        (any::<bool>(), any::<u8>(), 0_u8..=8).prop_map(|(six, host, bits)| {
            let text =
                if six { format!("fd00::{host:x}/{}", 128 - bits) } else { format!("10.0.0.{host}/{}", 32 - bits) };
            text.parse::<IpNet>().unwrap().trunc()
        })
    }

    fn addresses(set: &SubnetSet) -> BTreeSet<IpAddr> {
        let single = |net: IpNet| net.subnets(if net.addr().is_ipv4() { 32 } else { 128 }).unwrap();
        set.iter().flat_map(single).map(|net| net.addr()).collect()
    }

    proptest! {
        #[test]
        fn what_a_site_is_told_is_what_counting_addresses_says(
            nets in proptest::collection::vec(small_prefix(), 0..12),
            own in proptest::collection::vec(small_prefix(), 0..6),
        ) {
            let own: SubnetSet = own.into_iter().collect();
            let all = published(nets.clone());
            prop_assert_eq!(addresses(&all), addresses(&nets.into_iter().collect()));
            let told = for_site(&all, &own, None);
            let expected: BTreeSet<_> = addresses(&all).difference(&addresses(&own)).copied().collect();
            prop_assert_eq!(addresses(&told), expected);
            prop_assert_eq!(merge(&all, []), all, "not the shortest list");
        }
    }
}
