//! Where a packet goes: own addresses, connected networks and routes.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::config::PlaneRoute;

/// The routing table of one router.
#[derive(Debug, Default)]
pub(super) struct Routing {
    addresses: Vec<(IpNet, String)>,
    routes: Vec<PlaneRoute>,
    /// A packet must come in where its source would be sent to.
    pub strict: bool,
}

impl Routing {
    /// Keeps the routes that lead to an interface that is up (or has an address).
    pub fn new(addresses: Vec<(IpNet, String)>, routes: Vec<PlaneRoute>, up: &HashSet<String>) -> Self {
        let mut table = Self { addresses, routes: Vec::new(), strict: false };
        for mut route in routes {
            if let Ok(gateway) = route.via.parse::<IpAddr>() {
                match table.connected(gateway) {
                    Some((_, interface)) => route.via.clone_from(interface),
                    None => continue,
                }
            }
            let has_address = table.addresses.iter().any(|(_, name)| *name == route.via);
            if has_address || up.contains(&route.via) {
                table.routes.push(route);
            }
        }
        table
    }

    /// Whether the address is the router's own; loopback is every router's.
    pub fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.iter().any(|(own, _)| own.addr() == address)
    }

    /// Whether a packet with this source is taken from an interface.
    ///
    /// *Source*: RFC 3704, section 2.2, strict mode; Linux and RouterOS have it for IPv4 only.
    pub fn takes_from(&self, source: IpAddr, interface: &str) -> bool {
        !self.strict || source.is_ipv6() || self.towards(source) == Some(interface)
    }

    /// The interface towards a destination: the longest prefix wins, then the lowest distance (connected: 0).
    pub fn towards(&self, destination: IpAddr) -> Option<&str> {
        let connected = self.addresses.iter().map(|(net, name)| (net, 0, name));
        let routes = self.routes.iter().map(|route| (&route.dst, route.distance, &route.via));
        connected
            .chain(routes)
            .filter(|(net, ..)| net.contains(&destination))
            .min_by_key(|(net, distance, _)| (u8::MAX - net.prefix_len(), *distance))
            .map(|(_, _, interface)| interface.as_str())
    }

    /// The address that packets from the router itself bear when they leave by an interface.
    ///
    /// The interface's own; without one, any of the router's of the same family, as an unnumbered interface does.
    pub fn source_on(&self, interface: &str, destination: IpAddr) -> Option<IpAddr> {
        let same_family = |(net, _): &&(IpNet, String)| net.addr().is_ipv4() == destination.is_ipv4();
        let on_interface = |(_, name): &&(IpNet, String)| name == interface;
        let neighbour = |(net, _): &&(IpNet, String)| net.contains(&destination);
        let candidates = || self.addresses.iter().filter(same_family);
        candidates()
            .filter(on_interface)
            .find(neighbour)
            .or_else(|| candidates().find(on_interface))
            .or_else(|| candidates().next())
            .map(|(net, _)| net.addr())
    }

    fn connected(&self, address: IpAddr) -> Option<&(IpNet, String)> {
        self.addresses.iter().filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str, u8)]) -> Routing {
        let addresses = [("192.168.88.1/24", "bridge"), ("10.99.0.2/24", "wg")]
            .map(|(net, name)| (net.parse().unwrap(), name.to_owned()));
        let routes = routes.iter().map(|(dst, via, distance)| PlaneRoute {
            dst: dst.parse().unwrap(),
            via: (*via).to_owned(),
            distance: *distance,
        });
        Routing::new(addresses.to_vec(), routes.collect(), &HashSet::from(["wg".to_owned()]))
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_distance() {
        let table = table(&[
            ("0.0.0.0/0", "bridge", 1),
            ("10.0.0.0/8", "bridge", 1),
            ("10.20.0.0/16", "bridge", 2),
            ("10.20.0.0/16", "wg", 1),
        ]);
        assert_eq!(table.towards("10.20.1.1".parse().unwrap()), Some("wg"));
        assert_eq!(table.towards("10.99.0.1".parse().unwrap()), Some("wg"));
        assert_eq!(table.towards("10.30.0.1".parse().unwrap()), Some("bridge"));
        assert_eq!(table.towards("2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn a_route_by_a_gateway_or_an_interface_that_is_not_there_is_inactive() {
        let table =
            table(&[("10.1.0.0/16", "172.16.0.1", 1), ("10.2.0.0/16", "gone", 1), ("10.3.0.0/16", "10.99.0.1", 1)]);
        assert_eq!(table.towards("10.1.0.1".parse().unwrap()), None);
        assert_eq!(table.towards("10.2.0.1".parse().unwrap()), None);
        assert_eq!(table.towards("10.3.0.1".parse().unwrap()), Some("wg"));
    }

    #[test]
    fn packets_of_the_router_bear_the_address_of_the_interface_they_leave_by() {
        let table = table(&[]);
        let far = "10.50.0.1".parse().unwrap();
        assert_eq!(table.source_on("wg", far), Some("10.99.0.2".parse().unwrap()));
        assert_eq!(table.source_on("other", far), Some("192.168.88.1".parse().unwrap()));
    }

    #[test]
    fn a_strict_router_takes_a_packet_only_from_where_it_would_answer_to() {
        let (far, near) = ("10.50.0.1".parse().unwrap(), "192.168.88.10".parse().unwrap());
        let mut table = table(&[("10.50.0.0/16", "wg", 1)]);
        assert!(table.takes_from(far, "other") && table.takes_from(near, "wg"), "not strict");
        table.strict = true;
        assert!(table.takes_from(far, "wg") && table.takes_from(near, "bridge"));
        assert!(!table.takes_from(far, "other") && !table.takes_from(near, "wg"));
        assert!(table.takes_from("2001:db8::1".parse().unwrap(), "other"), "there is none for IPv6");
    }
}
