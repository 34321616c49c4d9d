//! A site: what it offers, what it may reach, and how it gets to its hub.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Endpoint, InstanceName, PresharedKey, PublicKey, SiteId, SubnetSet, is_broad, overlap};

/// Most prefixes in `advertise`, and in `reach`: each is a row on the router, and a small router has 16 MB of flash.
pub const MAX_SUBNETS: usize = 1024;
/// Most tunnel addresses: one or two per family is what anybody needs.
pub const MAX_ADDRESSES: usize = 8;
/// Most probe addresses: each is pinged in turn while the tunnel is being proven.
pub const MAX_PROBES: usize = 8;
/// Most endpoints of a hub.
pub const MAX_ENDPOINTS: usize = 8;
/// Smallest tunnel MTU: what IPv6 needs, RFC 8200.
pub const MIN_MTU: u16 = 1280;
/// Largest tunnel MTU: a jumbo frame of 9000 bytes less WireGuard's 80.
pub const MAX_MTU: u16 = 8920;
/// Longest keepalive, in seconds, that RouterOS takes: 18h12m15s.
/// *Source:* the range of `persistent-keepalive` in the manual.
pub const MAX_KEEPALIVE_SECS: u16 = u16::MAX;
/// The routing table that is always there.
pub const DEFAULT_ROUTING_TABLE: &str = "main";

/// The whole of a site's desired state, wherever it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Marks our rows.
    pub id: SiteId,
    /// The name people know.
    pub instance: InstanceName,
    /// The router's end.
    pub tunnel: Tunnel,
    /// The other end.
    pub hub: Hub,
    /// What this site offers.
    pub advertise: SubnetSet,
    /// What it may reach through the hub.
    pub reach: SubnetSet,
    /// How the routes are made.
    pub routing: Routing,
}

/// The router's end of the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Tunnel addresses with the length of the tunnel's network; host bits kept. 1 to [`MAX_ADDRESSES`].
    pub addresses: Vec<IpNet>,
    /// Bytes, [`MIN_MTU`] to [`MAX_MTU`]; `None` leaves RouterOS's default.
    pub mtu: Option<u16>,
    /// UDP port; `None` lets the router choose.
    pub listen_port: Option<u16>,
    /// Addresses that must answer through the tunnel. 1 to [`MAX_PROBES`].
    pub probe: Vec<IpAddr>,
}

/// The hub, as a WireGuard peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Its public key.
    pub public_key: PublicKey,
    /// 1 to [`MAX_ENDPOINTS`]; the first is used, the rest are for healing.
    pub endpoints: Vec<Endpoint>,
    /// The optional preshared key.
    pub preshared_key: Option<PresharedKey>,
    /// `None` switches the keepalive off. At most [`MAX_KEEPALIVE_SECS`].
    pub keepalive: Option<Duration>,
}

/// How the routes into the tunnel are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// 1 to 255.
    pub distance: u8,
    /// The routing table.
    pub table: String,
}

impl Default for Routing {
    fn default() -> Self {
        Self { distance: 1, table: DEFAULT_ROUTING_TABLE.to_owned() }
    }
}

/// Two parts of a site config that must not meet, or a prefix too broad.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteConflict {
    /// A /0 to /7 in `advertise`, `reach` or the tunnel's addresses.
    #[error("{list} has {prefix}, which is broader than a /8")]
    Broad {
        /// `advertise`, `reach` or `addresses`.
        list: &'static str,
        /// The prefix.
        prefix: IpNet,
    },
    /// What the site offers is also what it is to reach.
    #[error("advertise has {ours} and reach has {theirs}: they overlap")]
    AdvertiseReach {
        /// From `advertise`.
        ours: IpNet,
        /// From `reach`.
        theirs: IpNet,
    },
    /// What the site offers meets the tunnel's own network.
    #[error("advertise has {ours}, which overlaps the tunnel's network {tunnel}")]
    AdvertiseTunnel {
        /// From `advertise`.
        ours: IpNet,
        /// From `addresses`.
        tunnel: IpNet,
    },
    /// The hub would be sought inside its own tunnel.
    #[error("the hub's endpoint {endpoint} lies in {prefix}, which is reached through the tunnel itself")]
    EndpointInTunnel {
        /// The hub's address.
        endpoint: IpAddr,
        /// From `reach` or the tunnel's networks.
        prefix: IpNet,
    },
}

impl Site {
    /// Returns the networks of the tunnel addresses, host bits zero.
    #[must_use]
    pub fn tunnel_networks(&self) -> SubnetSet {
        self.tunnel.addresses.iter().copied().collect()
    }

    /// Returns the prefixes that get a route: `reach` without what the tunnel's own networks cover.
    pub fn routed(&self) -> impl Iterator<Item = IpNet> + '_ {
        let own = self.tunnel_networks();
        self.reach.iter().filter(move |net| own.covering(*net).is_none())
    }

    /// Returns what the hub may send and be sent: `reach`, and the probes where `reach` leaves them out.
    #[must_use]
    pub fn allowed(&self) -> SubnetSet {
        self.reach.iter().chain(self.tunnel.probe.iter().map(|probe| IpNet::from(*probe))).collect()
    }

    /// Returns the endpoint in use.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.hub.endpoints.first()
    }

    /// Checks what can be known without a router: nothing overlaps, nothing is broad.
    ///
    /// # Errors
    /// The first [`SiteConflict`], naming both prefixes.
    pub fn check(&self) -> Result<(), SiteConflict> {
        let tunnel = self.tunnel_networks();
        for (list, set) in [("advertise", &self.advertise), ("reach", &self.reach), ("addresses", &tunnel)] {
            if let Some(prefix) = set.iter().find(|net| is_broad(*net)) {
                return Err(SiteConflict::Broad { list, prefix });
            }
        }
        for ours in self.advertise.iter() {
            if let Some(theirs) = self.reach.overlapping(ours) {
                return Err(SiteConflict::AdvertiseReach { ours, theirs });
            }
            if let Some(tunnel) = tunnel.overlapping(ours) {
                return Err(SiteConflict::AdvertiseTunnel { ours, tunnel });
            }
        }
        for endpoint in &self.hub.endpoints {
            if let super::Host::Address(address) = endpoint.host {
                self.check_endpoint(address)?;
            }
        }
        Ok(())
    }

    /// Checks one address that a hub's endpoint stands for.
    ///
    /// # Errors
    /// [`SiteConflict::EndpointInTunnel`] if it would be sought inside the tunnel.
    pub fn check_endpoint(&self, endpoint: IpAddr) -> Result<(), SiteConflict> {
        let host = IpNet::from(endpoint);
        let inside = self.reach.iter().chain(self.tunnel_networks().iter()).find(|net| overlap(*net, host));
        inside.map_or(Ok(()), |prefix| Err(SiteConflict::EndpointInTunnel { endpoint, prefix }))
    }
}
