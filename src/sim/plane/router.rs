//! One virtual router: what happens to a packet, from the interface it comes in by to where it ends.
//!
//! A pure state machine behind one lock, with neither tasks nor waits: whoever brings a packet walks it, and all it causes,
//! to the end. Packets for a tunnel go into its bounded queue; a full queue drops, as a router's does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::config::Lan;
use super::firewall::connections::{Connections, Tracked};
use super::firewall::{Context, Table, Verdict};
use super::lan::{LanHosts, SeenEcho};
use super::ping::PingStatus;
use super::routing::Routing;
use crate::wireguard::memory::TunnelInput;
use crate::wireguard::packet::{IpPacket, Problem, Transport};

/// How many echo answers may wait for the one who pings; he waits for one at a time.
const ANSWER_QUEUE: usize = 16;

/// Most packets that one packet may cause (replies, errors, replies to replies); it ends a loop among hosts.
const MAX_CAUSED: usize = 64;

/// Who sent an echo request from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Pinger {
    Router,
    Host(IpAddr),
}

/// What came back for an echo request.
#[derive(Debug)]
pub(super) struct Answer {
    pub seq: u16,
    /// Who answers: not the destination, when it is an error of a router on the way.
    pub from: IpAddr,
    pub status: PingStatus,
    pub at: Instant,
}

/// The rules of all tables.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    pub filter: Table,
    pub filter6: Table,
    pub nat: Table,
}

/// A router that several tasks bring packets to.
#[derive(Debug, Clone)]
pub(super) struct SharedRouter(Arc<Mutex<Router>>);

#[derive(Debug)]
pub(super) struct Router {
    routing: Routing,
    firewall: Firewall,
    connections: Connections,
    lans: Vec<LanHosts>,
    tunnels: HashMap<String, TunnelInput>,
    tunnel_names: HashMap<u64, String>,
    pingers: HashMap<(Pinger, u16), mpsc::Sender<Answer>>,
    next_echo_id: u16,
    work: VecDeque<Work>,
}

#[derive(Debug)]
enum Work {
    Arrived { interface: String, packet: IpPacket },
    Originated(IpPacket),
}

impl SharedRouter {
    pub fn new(lans: Vec<Lan>) -> Self {
        Self(Arc::new(Mutex::new(Router {
            routing: Routing::default(),
            firewall: Firewall::default(),
            connections: Connections::default(),
            lans: lans.into_iter().map(LanHosts::new).collect(),
            tunnels: HashMap::new(),
            tunnel_names: HashMap::new(),
            pingers: HashMap::new(),
            next_echo_id: 1,
            work: VecDeque::new(),
        })))
    }

    /// Locks the router for a moment; never held over an await.
    pub fn lock(&self) -> MutexGuard<'_, Router> {
        // A panic elsewhere leaves at worst one packet half walked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    /// Sets what follows from the device's rows.
    pub fn configure(&mut self, routing: Routing, firewall: Firewall, tunnels: Vec<(u64, String, TunnelInput)>) {
        self.routing = routing;
        self.firewall = firewall;
        self.tunnel_names = tunnels.iter().map(|(id, name, _)| (*id, name.clone())).collect();
        self.tunnels = tunnels.into_iter().map(|(_, name, input)| (name, input)).collect();
    }

    /// Names of the interfaces to networks behind the router.
    pub fn lan_interfaces(&self) -> HashSet<String> {
        self.lans.iter().map(|lan| lan.interface.clone()).collect()
    }

    /// Adds the wire behind one of the LANs, by its place among them.
    pub fn plug_in(&mut self, lan: usize, wire: mpsc::Sender<Vec<u8>>) {
        if let Some(lan) = self.lans.get_mut(lan) {
            lan.plug_in(wire);
        }
    }

    /// The echo requests that LAN hosts received last, oldest first.
    pub fn seen(&self) -> Vec<SeenEcho> {
        self.lans.iter().flat_map(LanHosts::seen).collect()
    }

    /// Registers somebody who pings; his echo id, and where answers come.
    pub fn register(&mut self, pinger: Pinger) -> (u16, mpsc::Receiver<Answer>) {
        let (sender, receiver) = mpsc::channel(ANSWER_QUEUE);
        self.pingers.retain(|_, sender| !sender.is_closed());
        while self.pingers.contains_key(&(pinger, self.next_echo_id)) {
            self.next_echo_id = self.next_echo_id.wrapping_add(1);
        }
        let id = self.next_echo_id;
        self.next_echo_id = id.wrapping_add(1);
        self.pingers.insert((pinger, id), sender);
        (id, receiver)
    }

    /// The address the router's own packets to a destination bear; `None` without a route.
    pub fn source_towards(&self, destination: IpAddr) -> Option<IpAddr> {
        if self.routing.is_own(destination) {
            return Some(destination);
        }
        let interface = self.routing.towards(destination)?;
        self.routing.source_on(interface, destination)
    }

    /// Brings a packet that a tunnel decrypted. Tunnels are known by id, for a name may change.
    pub fn arrived(&mut self, tunnel: u64, packet: IpPacket) {
        if let Some(interface) = self.tunnel_names.get(&tunnel).cloned() {
            self.run(Work::Arrived { interface, packet });
        }
    }

    /// Brings a packet that a real host behind the router sent.
    pub fn arrived_from_wire(&mut self, interface: &str, packet: IpPacket) {
        self.run(Work::Arrived { interface: interface.to_owned(), packet });
    }

    /// Sends a packet of the router's own; `false` if no route leads there.
    pub fn send(&mut self, packet: IpPacket) -> bool {
        let routed = self.source_towards(packet.destination()).is_some();
        self.run(Work::Originated(packet));
        routed
    }

    /// Sends a packet of a LAN host to its gateway; `false` if there is no such host, or it has no gateway.
    pub fn send_from_host(&mut self, host: IpAddr, packet: IpPacket) -> bool {
        let Some(lan) = self.lans.iter().find(|lan| lan.has(host)) else {
            return false;
        };
        let interface = lan.interface.clone();
        if self.routing.towards(host) != Some(interface.as_str()) {
            return false;
        }
        self.run(Work::Arrived { interface, packet });
        true
    }

    fn run(&mut self, first: Work) {
        let now = Instant::now();
        self.work.push_back(first);
        for _ in 0..MAX_CAUSED {
            match self.work.pop_front() {
                Some(Work::Arrived { interface, packet }) => self.take_in(&interface, packet, now),
                Some(Work::Originated(packet)) => self.originate(packet, now),
                None => return,
            }
        }
        self.work.clear();
    }

    fn take_in(&mut self, interface: &str, mut packet: IpPacket, now: Instant) {
        if !self.routing.takes_from(packet.source(), interface) {
            return;
        }
        let tracked = self.connections.track(&packet, now);
        if let Some(address) = tracked.restore {
            packet.set_destination(address);
        }
        if self.routing.is_own(packet.destination()) {
            self.take_for_itself(interface, &packet, &tracked, now);
        } else {
            self.forward(interface, packet, &tracked, now);
        }
    }

    fn take_for_itself(&mut self, interface: &str, packet: &IpPacket, tracked: &Tracked, now: Instant) {
        let context = Context {
            packet,
            in_interface: Some(interface),
            out_interface: None,
            state: tracked.state,
            source_nat: tracked.source_nat.is_some(),
        };
        match self.filter(packet).decide("input", &context) {
            Verdict::Accept | Verdict::Masquerade => {}
            Verdict::Drop => return,
            Verdict::Reject => return self.complain(packet, Problem::Prohibited),
        }
        if tracked.begins {
            self.connections.begin(packet, None, now);
        }
        if let Some(reply) = packet.echo_reply() {
            self.work.push_back(Work::Originated(reply));
        } else {
            self.answer(Pinger::Router, packet, now);
        }
    }

    fn forward(&mut self, interface: &str, mut packet: IpPacket, tracked: &Tracked, now: Instant) {
        if packet.ttl() <= 1 {
            return self.complain(&packet, Problem::TtlExceeded);
        }
        let Some(out) = self.routing.towards(packet.destination()).map(str::to_owned) else {
            return self.complain(&packet, Problem::NetUnreachable);
        };
        if let Some(mtu) = self.too_long_for(&out, &packet) {
            return self.complain(&packet, Problem::TooBig { mtu });
        }
        let context = Context {
            packet: &packet,
            in_interface: Some(interface),
            out_interface: Some(&out),
            state: tracked.state,
            source_nat: tracked.source_nat.is_some(),
        };
        match self.filter(&packet).decide("forward", &context) {
            Verdict::Accept | Verdict::Masquerade => {}
            Verdict::Drop => return,
            Verdict::Reject => return self.complain(&packet, Problem::Prohibited),
        }
        packet.set_ttl(packet.ttl() - 1);
        self.leave(&out, packet, tracked, now);
    }

    fn originate(&mut self, packet: IpPacket, now: Instant) {
        let tracked = self.connections.track(&packet, now);
        if self.routing.is_own(packet.destination()) {
            return self.take_for_itself("lo", &packet, &tracked, now);
        }
        let Some(out) = self.routing.towards(packet.destination()).map(str::to_owned) else {
            return;
        };
        if let Some(mtu) = self.too_long_for(&out, &packet) {
            return self.complain(&packet, Problem::TooBig { mtu });
        }
        let context = Context {
            packet: &packet,
            in_interface: None,
            out_interface: Some(&out),
            state: tracked.state,
            source_nat: tracked.source_nat.is_some(),
        };
        match self.filter(&packet).decide("output", &context) {
            Verdict::Accept | Verdict::Masquerade => self.leave(&out, packet, &tracked, now),
            Verdict::Drop => {}
            Verdict::Reject => self.complain(&packet, Problem::Prohibited),
        }
    }

    /// Source NAT, connection tracking, and out by an interface.
    fn leave(&mut self, out: &str, mut packet: IpPacket, tracked: &Tracked, now: Instant) {
        let mut source_nat = tracked.source_nat;
        if tracked.begins {
            let context = Context {
                packet: &packet,
                in_interface: None,
                out_interface: Some(out),
                state: tracked.state,
                source_nat: false,
            };
            if packet.source().is_ipv4()
                && self.firewall.nat.decide("srcnat", &context) == Verdict::Masquerade
                && let Some(IpAddr::V4(address)) = self.routing.source_on(out, packet.destination())
                && packet.source() != address
            {
                source_nat = Some(address);
            }
            self.connections.begin(&packet, source_nat, now);
        }
        // Only the way there bears the rewritten source; the way back had its destination restored.
        if let Some(address) = source_nat
            && tracked.restore.is_none()
        {
            packet.set_source(address);
        }
        self.emit(out, &packet, now);
    }

    fn emit(&mut self, out: &str, packet: &IpPacket, now: Instant) {
        if let Some(tunnel) = self.tunnels.get(out) {
            if let Some(bytes) = packet.to_bytes() {
                tunnel.send(&bytes);
            }
            return;
        }
        let host = packet.destination();
        let lan = self.lans.iter_mut().find(|lan| lan.interface == out && lan.leads_to(host));
        let Some(lan) = lan else {
            // Nobody there: on a real wire the address would not resolve either.
            return;
        };
        if !lan.has(host) {
            return lan.put_on_wire(packet);
        }
        let reply = lan.receive(packet);
        let interface = lan.interface.clone();
        match reply {
            Some(packet) => self.work.push_back(Work::Arrived { interface, packet }),
            None => self.answer(Pinger::Host(host), packet, now),
        }
    }

    /// Hands an echo reply, or an error about an echo request, to the one who pings.
    fn answer(&mut self, pinger: Pinger, packet: &IpPacket, now: Instant) {
        let (id, seq, status) = match packet.transport() {
            Transport::EchoReply { id, seq } => {
                let (ttl, size) = (packet.ttl(), packet.len());
                (id, seq, PingStatus::Reply { ttl, size })
            }
            Transport::Error { echo: Some((id, seq)), problem: Some(problem), .. } => {
                (id, seq, PingStatus::from(problem))
            }
            _ => return,
        };
        let from = packet.source();
        let answer = Answer { seq, from, status, at: now };
        if let Some(sender) = self.pingers.get(&(pinger, id))
            && let Err(error) = sender.try_send(answer)
        {
            tracing::debug!(%error, "nobody waits for an echo answer");
        }
    }

    /// Tells a packet's sender what is wrong with it, by ICMP (or at once, if the router itself sent it).
    fn complain(&mut self, packet: &IpPacket, problem: Problem) {
        let sender = packet.source();
        let from = self.source_towards(sender);
        let Some(error) = from.and_then(|from| packet.error(from, problem)) else {
            return;
        };
        if self.routing.is_own(sender) {
            self.answer(Pinger::Router, &error, Instant::now());
        } else {
            self.work.push_back(Work::Originated(error));
        }
    }

    /// The interface's MTU in bytes, if the packet is longer.
    fn too_long_for(&self, interface: &str, packet: &IpPacket) -> Option<u16> {
        let mtu = self.tunnels.get(interface)?.mtu;
        (packet.len() > usize::from(mtu)).then_some(mtu)
    }

    fn filter(&self, packet: &IpPacket) -> &Table {
        if packet.source().is_ipv4() { &self.firewall.filter } else { &self.firewall.filter6 }
    }
}
