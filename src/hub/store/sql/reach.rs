//! What the sites of an instance may reach: prefixes merged into as few as there can be, and cut so that a router takes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::domain::{MAX_SUBNETS, SubnetSet, is_broad, unroutable_prefix};

/// The broadest prefix that a site config may have.
const BROADEST: u8 = 8;
/// Most prefixes that are published, and that one site may ask for: half of what a router takes, because a site's own make holes
/// in them.
pub(super) const MOST_PUBLISHED: usize = MAX_SUBNETS / 2;
/// What no tunnel carries. A wider prefix is told without it.
const NEVER: [(IpNet, &str); 7] = [
    (four(0, 0, 8), "of the unspecified address"),
    (four(127, 0, 8), "of loopback addresses"),
    (four(169, 254, 16), "of link-local addresses"),
    (four(224, 0, 4), "of multicast addresses"),
    (six(0, 16), "of the unspecified and the loopback address"),
    (six(0xfe80, 10), "of link-local addresses"),
    (six(0xff00, 8), "of multicast addresses"),
];

const fn four(first: u8, second: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), length))
}

const fn six(first: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
}

/// What keeps a prefix out of every tunnel, if anything does.
pub(super) fn never(net: IpNet) -> Option<&'static str> {
    let net = net.trunc();
    NEVER.iter().find(|(never, _)| never.contains(&net)).map(|(_, what)| *what).or_else(|| unroutable_prefix(net))
}

/// Joins prefixes: adjacent ones become one.
fn merge(nets: impl IntoIterator<Item = IpNet>) -> SubnetSet {
    IpNet::aggregate(&nets.into_iter().collect()).into_iter().collect()
}

/// A list without the addresses of another; `None` if more than `most` prefixes are left.
fn without(set: &SubnetSet, holes: &SubnetSet, most: usize) -> Option<SubnetSet> {
    let mut left = Vec::with_capacity(set.len());
    let mut open: Vec<IpNet> = set.iter().collect();
    while let Some(net) = open.pop() {
        match holes.overlapping(net) {
            None if left.len() == most => return None,
            None => left.push(net),
            Some(hole) if hole.contains(&net) => {}
            // The hole lies inside: each half for itself.
            Some(_) => open.extend(net.subnets(net.prefix_len() + 1).into_iter().flatten()),
        }
    }
    Some(left.into_iter().collect())
}

/// A list as a site config may have it: a broad prefix in its parts, and without what no tunnel carries.
pub(super) fn carried(set: &SubnetSet) -> SubnetSet {
    let parts = in_parts(set);
    without(&parts, &NEVER.iter().map(|(net, _)| *net).collect(), usize::MAX).unwrap_or(parts)
}

/// What all sites are told of these prefixes: merged, nothing broader than a site config may have, and in coarser prefixes where
/// they would be too many. A broad prefix that somebody asked for is reached only by who names it.
pub(super) fn published(nets: impl IntoIterator<Item = IpNet>) -> SubnetSet {
    few(carried(&merge(nets.into_iter().filter(|net| !is_broad(*net)))))
}

/// As few prefixes as are published, coarser ones if need be. In prefixes of a /8 there are never more.
fn few(mut set: SubnetSet) -> SubnetSet {
    let mut length = 128;
    while set.len() > MOST_PUBLISHED && length > BROADEST {
        length -= 1;
        set = carried(&merge(set.iter().map(|net| coarse(net, length))));
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

/// What one site is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// What it may reach.
    pub reach: SubnetSet,
    /// Its own prefixes made too many holes, so they were cut out in prefixes of this length: what lies beside them is not reached.
    pub coarse: Option<u8>,
}

/// What one site is told: all without its own and without the hub's own address, which is sought outside the tunnel.
pub(super) fn for_site(reach: &SubnetSet, own: &SubnetSet, hub: Option<IpAddr>) -> Told {
    let all = few(carried(reach));
    // With holes of a /8 nothing is cut any more, so there is always an answer.
    let told = (BROADEST..=128).rev().find_map(|length| {
        let holes = own.iter().map(|net| coarse(net, length)).chain(hub.map(IpNet::from)).collect();
        let coarse = own.iter().any(|net| coarse(net, length) != net).then_some(length);
        without(&all, &holes, MAX_SUBNETS).map(|reach| Told { reach, coarse })
    });
    told.unwrap_or_default()
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
        let told = for_site(&set(&["10.0.0.0/8", "192.168.7.0/24"]), &set(&["10.1.0.0/24"]), None).reach;
        assert_eq!(told.len(), 17, "{told}");
        assert!(told.overlapping("10.1.0.0/24".parse().unwrap()).is_none());
        assert!(told.covering("10.1.1.0/24".parse().unwrap()).is_some());
        let told = for_site(&set(&["203.0.113.0/24"]), &set(&[]), Some("203.0.113.9".parse().unwrap())).reach;
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

    #[test]
    fn what_would_be_too_many_holes_is_cut_out_coarser_and_said_so() {
        let own = (0..1024_u32).map(|n| IpNet::from(IpAddr::from((0x0a00_0001 + n * 0x4000).to_be_bytes())));
        let own: SubnetSet = own.collect();
        let told = for_site(&set(&["10.0.0.0/8", "192.168.7.0/24"]), &own, None);
        assert!(told.reach.len() <= MAX_SUBNETS && told.coarse.is_some_and(|length| length < 32), "{told:?}");
        assert!(own.iter().all(|net| told.reach.overlapping(net).is_none()), "{told:?}");
        assert!(told.reach.covering("192.168.7.0/24".parse().unwrap()).is_some(), "{told:?}");
    }

    #[test]
    fn what_no_tunnel_carries_is_cut_out_of_what_is_wider() {
        let everything = carried(&set(&["0.0.0.0/0", "::/0"]));
        assert!(everything.len() <= MOST_PUBLISHED, "{}", everything.len());
        for (net, told) in
            [("8.8.8.8/32", true), ("169.254.1.1/32", false), ("127.0.0.1/32", false), ("::1/128", false)]
        {
            assert_eq!(everything.covering(net.parse().unwrap()).is_some(), told, "{net}");
        }
        // Neighbours that became one network around link-local addresses.
        let told = published((0..4096_u32).map(|n| IpNet::from(IpAddr::from((0x000f_0001 + (n << 20)).to_be_bytes()))));
        assert!(told.iter().all(|net| never(net).is_none()), "{told}");
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
            prop_assert_eq!((addresses(&told.reach), told.coarse), (expected, None));
            prop_assert_eq!(merge(all.iter()), all, "not the shortest list");
        }
    }
}
