//! Values that no site may have, whoever named them: a person in a file, or a hub.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{MAX_ADDRESSES, MAX_ENDPOINTS, MAX_MTU, MAX_PROBES, MAX_SUBNETS, MIN_MTU, Site, is_broad};

/// A value that no site may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteFault {
    /// A list that must have an entry has none.
    #[error("{list} is empty")]
    Empty {
        /// Which list.
        list: &'static str,
    },
    /// A list is longer than any router should hold.
    #[error("{list} has {count} entries; the most are {most}")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        most: usize,
    },
    /// A prefix that leads nowhere.
    #[error("{list} has {prefix}, {kind}: it cannot be routed")]
    Unroutable {
        /// Which list.
        list: &'static str,
        /// The prefix.
        prefix: IpNet,
        /// What it is.
        kind: &'static str,
    },
    /// A tunnel address that no router can have.
    #[error("{address} is {what}, not a router's address")]
    NoHost {
        /// The address.
        address: IpNet,
        /// What it is.
        what: &'static str,
    },
    /// A tunnel address that stands there twice.
    #[error("{0} stands twice among the tunnel's addresses")]
    Twice(IpAddr),
    /// An MTU out of range.
    #[error("the tunnel's MTU {0} is not between {MIN_MTU} and {MAX_MTU}")]
    Mtu(u16),
    /// UDP port 0.
    #[error("the tunnel's UDP port is 0")]
    Port,
    /// A probe that the router would answer itself.
    #[error("{0} is this router's own tunnel address")]
    OwnProbe(IpAddr),
    /// A probe whose way does not lead through the tunnel.
    #[error("{0} is not reached through the tunnel")]
    ProbeOutside(IpAddr),
}

impl Site {
    /// Checks each value by itself; [`Site::check`] is about how they go together.
    ///
    /// # Errors
    /// The first [`SiteFault`].
    pub fn check_values(&self) -> Result<(), SiteFault> {
        let tunnel = &self.tunnel;
        let beside = self.beside.as_ref().map_or(1, |beside| beside.hub.endpoints.len());
        for (list, count, most) in [
            ("addresses", tunnel.addresses.len(), MAX_ADDRESSES),
            ("probe", tunnel.probe.len(), MAX_PROBES),
            ("endpoints", self.hub.endpoints.len(), MAX_ENDPOINTS),
            ("endpoints", beside, MAX_ENDPOINTS),
            ("advertise", self.advertise.len(), MAX_SUBNETS),
            ("reach", self.reach.len(), MAX_SUBNETS),
        ] {
            if count == 0 && !["advertise", "reach"].contains(&list) {
                return Err(SiteFault::Empty { list });
            }
            if count > most {
                return Err(SiteFault::TooMany { list, count, most });
            }
        }
        for (index, address) in tunnel.addresses.iter().enumerate() {
            if let Some(what) = unroutable(address.addr()).or_else(|| not_a_host(*address)) {
                return Err(SiteFault::NoHost { address: *address, what });
            }
            if tunnel.addresses.iter().take(index).any(|other| other.addr() == address.addr()) {
                return Err(SiteFault::Twice(address.addr()));
            }
        }
        for (list, set) in [("advertise", &self.advertise), ("reach", &self.reach)] {
            for prefix in set.iter() {
                if let Some(kind) = unroutable_prefix(prefix) {
                    return Err(SiteFault::Unroutable { list, prefix, kind });
                }
            }
        }
        if let Some(mtu) = tunnel.mtu.filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu)) {
            return Err(SiteFault::Mtu(mtu));
        }
        if self.ends().any(|end| end.listen_port == Some(0)) {
            return Err(SiteFault::Port);
        }
        tunnel.probe.iter().try_for_each(|probe| self.check_probe(*probe))
    }

    /// Checks that a probe proves the tunnel: its way leads through it, to somebody else.
    ///
    /// # Errors
    /// [`SiteFault::OwnProbe`] or [`SiteFault::ProbeOutside`].
    pub fn check_probe(&self, probe: IpAddr) -> Result<(), SiteFault> {
        if self.tunnel.addresses.iter().any(|own| own.addr() == probe) {
            return Err(SiteFault::OwnProbe(probe));
        }
        let host = IpNet::from(probe);
        if self.tunnel_networks().covering(host).is_none() && self.reach.covering(host).is_none() {
            return Err(SiteFault::ProbeOutside(probe));
        }
        Ok(())
    }
}

/// Returns what keeps a prefix from being routed, if anything does; a broad one is a matter of safety, for [`Site::check`].
#[must_use]
pub fn unroutable_prefix(net: IpNet) -> Option<&'static str> {
    unroutable(net.addr()).filter(|_| !is_broad(net))
}

/// Returns what keeps an address from being routed through a tunnel, if anything does.
#[must_use]
pub fn unroutable(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if link_local {
        Some("a link-local address")
    } else if address.is_unspecified() {
        Some("the unspecified address")
    } else {
        None
    }
}

/// Returns what keeps an address with its network's length from being a host's, if anything does.
#[must_use]
pub fn not_a_host(net: IpNet) -> Option<&'static str> {
    // In a network of one or two addresses every address is a host's (RFC 3021, RFC 6164).
    let small = net.max_prefix_len() - net.prefix_len() <= 1;
    if small {
        None
    } else if net.addr() == net.network() {
        Some("the network itself")
    } else if net.addr().is_ipv4() && net.addr() == net.broadcast() {
        Some("the network's broadcast address")
    } else {
        None
    }
}
