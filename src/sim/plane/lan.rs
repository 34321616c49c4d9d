//! The hosts behind a simulated router: they answer pings, and remember who asked; others may be on a real wire.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

use tokio::sync::mpsc;

use super::config::Lan;
use crate::wireguard::packet::{IpPacket, Transport};

/// How many askers a network remembers; tests and the demo look at the last few.
const MAX_SEEN: usize = 64;

/// An echo request that a LAN host received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenEcho {
    /// The host that was asked.
    pub host: IpAddr,
    /// The source address the host saw (after any NAT on the way).
    pub from: IpAddr,
}

/// The hosts of one network.
#[derive(Debug)]
pub(super) struct LanHosts {
    pub interface: String,
    hosts: HashSet<IpAddr>,
    seen: VecDeque<SeenEcho>,
    wire: Option<mpsc::Sender<Vec<u8>>>,
}

impl LanHosts {
    pub fn new(lan: Lan) -> Self {
        let hosts = lan.hosts.into_iter().collect();
        Self { interface: lan.interface, hosts, seen: VecDeque::new(), wire: None }
    }

    /// Adds the wire to hosts that are not simulated.
    pub fn plug_in(&mut self, wire: mpsc::Sender<Vec<u8>>) {
        self.wire = Some(wire);
    }

    /// Whether a packet for the host has somewhere to go here.
    pub fn leads_to(&self, host: IpAddr) -> bool {
        self.has(host) || self.wire.is_some()
    }

    /// Puts a packet on the wire; a full queue drops it.
    pub fn put_on_wire(&self, packet: &IpPacket) {
        if let (Some(wire), Some(bytes)) = (&self.wire, packet.to_bytes())
            && let Err(error) = wire.try_send(bytes)
        {
            tracing::debug!(%error, "the wire of a LAN takes no packet");
        }
    }

    pub fn has(&self, host: IpAddr) -> bool {
        self.hosts.contains(&host)
    }

    /// Hands a host a packet; returns its answer to an echo request.
    pub fn receive(&mut self, packet: &IpPacket) -> Option<IpPacket> {
        if matches!(packet.transport(), Transport::EchoRequest { .. }) {
            if self.seen.len() == MAX_SEEN {
                self.seen.pop_front();
            }
            self.seen.push_back(SeenEcho { host: packet.destination(), from: packet.source() });
        }
        packet.echo_reply()
    }

    /// The last echo requests its hosts received, oldest first.
    pub fn seen(&self) -> impl Iterator<Item = SeenEcho> {
        self.seen.iter().copied()
    }
}
