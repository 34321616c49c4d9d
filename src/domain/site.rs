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
    /// Which tunnel in a row is the one in use; the first is 0.
    pub generation: u32,
    /// Another one beside it, if one is to take over, or did.
    pub beside: Option<Beside>,
    /// The number of the lease under which it is driven, where several may: noted on the router.
    pub fence: Option<i64>,
}

/// A tunnel beside the one in use, with the same addresses, `advertise` and `reach`: the next one until it has proved itself, or
/// the one before until it is surely not needed any more. Nothing is sent into it but what keeps it alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Which in the row.
    pub generation: u32,
    /// Its other end: with a key of its own, as one WireGuard interface cannot hold the same prefixes twice.
    pub hub: Hub,
    /// UDP port of the router's end; `None` lets the router choose.
    pub listen_port: Option<u16>,
}

/// A tunnel of a site: what one has that another has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End<'a> {
    /// Which in the row.
    pub generation: u32,
    /// Its other end.
    pub hub: &'a Hub,
    /// UDP port of the router's end.
    pub listen_port: Option<u16>,
    /// Addresses and routes lead there.
    pub is_in_use: bool,
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
    /// Two tunnels beside each other that a router cannot hold apart.
    #[error("the tunnel in use and the one beside it have the same {0}")]
    SameTunnel(&'static str),
}

impl End<'_> {
    /// Returns the generation and the UDP port that is to be let in, if that is fixed.
    #[must_use]
    pub fn input_port(&self) -> Option<(u32, u16)> {
        self.listen_port.map(|port| (self.generation, port))
    }
}

impl Site {
    /// Returns the tunnels, the one in use first.
    pub fn ends(&self) -> impl Iterator<Item = End<'_>> {
        let in_use =
            End { generation: self.generation, hub: &self.hub, listen_port: self.tunnel.listen_port, is_in_use: true };
        let beside = self.beside.as_ref().map(|beside| End {
            generation: beside.generation,
            hub: &beside.hub,
            listen_port: beside.listen_port,
            is_in_use: false,
        });
        std::iter::once(in_use).chain(beside)
    }

    /// Returns the same site with the tunnel beside in use, and the one in use beside; as it is if there is none.
    #[must_use]
    pub fn switched(mut self) -> Self {
        if let Some(beside) = &mut self.beside {
            std::mem::swap(&mut self.generation, &mut beside.generation);
            std::mem::swap(&mut self.hub, &mut beside.hub);
            std::mem::swap(&mut self.tunnel.listen_port, &mut beside.listen_port);
        }
        self
    }

    /// Returns the same site without a tunnel beside the one in use.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { beside: None, ..self }
    }

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
        for endpoint in self.ends().flat_map(|end| &end.hub.endpoints) {
            if let super::Host::Address(address) = endpoint.host {
                self.check_endpoint(address)?;
            }
        }
        self.check_beside()
    }

    /// Checks that two tunnels can be held apart.
    fn check_beside(&self) -> Result<(), SiteConflict> {
        let Some(beside) = &self.beside else { return Ok(()) };
        let port = self.tunnel.listen_port;
        for (what, is_same) in [
            ("generation", beside.generation == self.generation),
            ("public key of the hub", beside.hub.public_key == self.hub.public_key),
            ("UDP port on the router", port.is_some() && beside.listen_port == port),
        ] {
            if is_same {
                return Err(SiteConflict::SameTunnel(what));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(key: &str) -> Hub {
        let endpoints = vec!["198.51.100.9:51820".parse().unwrap()];
        Hub { public_key: key.parse().unwrap(), endpoints, preshared_key: None, keepalive: None }
    }

    fn moving() -> Site {
        Site {
            id: "k3f9q2".parse().unwrap(),
            instance: "acme".parse().unwrap(),
            tunnel: Tunnel {
                addresses: vec!["10.99.0.2/24".parse().unwrap()],
                mtu: None,
                listen_port: Some(13_231),
                probe: vec!["10.99.0.1".parse().unwrap()],
            },
            hub: hub("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="),
            advertise: SubnetSet::default(),
            reach: SubnetSet::default(),
            routing: Routing::default(),
            generation: 3,
            beside: Some(Beside {
                generation: 4,
                hub: hub("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="),
                listen_port: None,
            }),
            fence: None,
        }
    }

    #[test]
    fn switching_twice_is_not_switching_and_once_exchanges_what_tunnels_differ_in() {
        let site = moving();
        let switched = site.clone().switched();
        assert_eq!((switched.generation, switched.tunnel.listen_port), (4, None));
        let generations: Vec<(u32, bool)> = switched.ends().map(|end| (end.generation, end.is_in_use)).collect();
        assert_eq!(generations, [(4, true), (3, false)]);
        assert_eq!(switched.switched(), site);
        assert_eq!(site.clone().alone().switched(), site.alone(), "one alone cannot be switched");
    }

    #[test]
    fn tunnels_that_cannot_be_held_apart_are_no_site() {
        assert_eq!(moving().check(), Ok(()));
        let with = |change: fn(&mut Beside)| {
            let mut site = moving();
            change(site.beside.as_mut().unwrap());
            site.check()
        };
        assert_eq!(with(|next| next.generation = 3), Err(SiteConflict::SameTunnel("generation")));
        assert_eq!(
            with(|next| next.listen_port = Some(13_231)),
            Err(SiteConflict::SameTunnel("UDP port on the router"))
        );
        assert!(with(|next| next.hub = hub("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=")).is_err());
    }

    #[test]
    fn the_next_hub_must_not_be_sought_inside_the_tunnel_either() {
        let mut site = moving();
        site.beside.as_mut().unwrap().hub.endpoints = vec!["10.99.0.1:51821".parse().unwrap()];
        assert!(matches!(site.check(), Err(SiteConflict::EndpointInTunnel { .. })));
    }
}
