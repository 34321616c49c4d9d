//! Whether a session of somebody far away gets to the router, and the answers back to them.
//!
//! The sessions themselves come over loopback; what is asked here is what the router's own rows would do with their packets.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

use super::config::PlaneConfig;
use super::firewall::connections::ConnectionState;
use super::firewall::{Context, Table, Verdict};
use super::routing::Routing;
use crate::wireguard::packet::IpPacket;

/// TTL of a packet that came a few hops.
const TTL: u8 = 60;
/// A receive window; nothing looks at it.
const WINDOW: u16 = 65_535;

/// A session's packets as they come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) interface: &'a str,
    /// The interfaces by which answers reach whoever sent them.
    pub(crate) back: &'a [String],
    /// Both sides have spoken.
    pub(crate) established: bool,
}

impl PlaneConfig {
    /// Tells whether the session's packets are taken, and the answers to them go back a way that leads there.
    pub(crate) fn takes(self, session: Incoming<'_>, up: &HashSet<String>) -> bool {
        let Some(packet) = packet(session.from, session.to) else { return false };
        let rules = if session.to.is_ipv4() { self.filter } else { self.filter6 };
        let state = if session.established { ConnectionState::Established } else { ConnectionState::New };
        let interface = Some(session.interface);
        let context =
            Context { packet: &packet, in_interface: interface, out_interface: None, state, source_nat: false };
        let routing = Routing::new(self.addresses, self.routes, up);
        up.contains(session.interface)
            && routing.is_own(session.to.ip())
            && Table::new(rules).decide("input", &context) == Verdict::Accept
            // So it is under a strict `rp-filter` as well: a session that goes back another way is at its end either way.
            && routing.towards(session.from.ip()).is_some_and(|way| session.back.iter().any(|back| back == way))
    }
}

fn packet(from: SocketAddr, to: SocketAddr) -> Option<IpPacket> {
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), TTL),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), TTL),
        _ => return None,
    };
    let mut bytes = Vec::new();
    builder.tcp(from.port(), to.port(), 0, WINDOW).write(&mut bytes, &[]).ok()?;
    IpPacket::parse(&bytes)
}
