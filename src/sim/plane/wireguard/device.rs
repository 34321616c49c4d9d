//! One WireGuard interface: follows its row, keeps what a changed row must not lose.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gotatun::device::{Device, DeviceBuilder, Error, Peer};
use gotatun::x25519::PublicKey;
use ipnet::IpNet;
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::wire::Wire;
use super::{Decrypted, Deliver, Network, TUNNEL_QUEUE, TunnelInput, TunnelOutput};
use crate::sim::plane::config::{AppliedInterface, PeerState, WgInterface, WgPeer};

/// How long a handshake started by us may take to be *sent*; it goes at once, the wait for the answer is not ours.
const NUDGE_DEADLINE: Duration = Duration::from_millis(20);

type Wireguard = Device<(Wire, Decrypted, TunnelOutput)>;

/// What an endpoint's name stands for at this moment; `None` if it does not resolve.
pub(in crate::sim::plane) type Resolve<'a> = &'a (dyn Fn(&str) -> Option<IpAddr> + Sync);

/// A WireGuard interface at work.
pub(in crate::sim::plane) struct Tunnel {
    device: Wireguard,
    row: WgInterface,
    peers: HashMap<u64, TunnelPeer>,
    input: mpsc::Sender<gotatun::packet::Packet<gotatun::packet::Ip>>,
    mtu: watch::Sender<u16>,
    socket: watch::Receiver<Option<SocketAddr>>,
    listen_port: u16,
    running: bool,
    problem: Option<String>,
}

/// A peer that gotatun has, and what must outlive its sessions.
struct TunnelPeer {
    row: WgPeer,
    endpoint: Option<SocketAddr>,
    /// Bytes counted before the peer was last made anew.
    carried_rx: u64,
    carried_tx: u64,
    /// gotatun forgets a handshake with its session, after 180 s; a router does not.
    handshake: Option<Instant>,
}

/// What came of a tunnel's peers.
#[derive(Default)]
pub(in crate::sim::plane) struct PeerProblems {
    pub unresolved: Vec<u64>,
    pub duplicates: Vec<u64>,
}

impl Tunnel {
    /// Makes the interface, down and without peers; [`follow`](Self::follow) does the rest.
    pub async fn new(row: &WgInterface, bind: IpAddr, network: Arc<Network>, deliver: Deliver) -> Result<Self, Error> {
        let (wire, socket) = Wire::new(bind, network);
        let (input, queue) = mpsc::channel(TUNNEL_QUEUE);
        let (mtu, watched_mtu) = watch::channel(row.mtu);
        let output = TunnelOutput { queue, mtu: watched_mtu };
        let device = DeviceBuilder::new()
            .with_udp(wire)
            .with_ip_pair(Decrypted(deliver), output)
            .with_private_key(row.private_key.to_static())
            .with_listen_port(row.listen_port)
            .suspended(true)
            .build()
            .await?;
        Ok(Self {
            device,
            row: WgInterface { up: false, peers: Vec::new(), ..row.clone() },
            peers: HashMap::new(),
            input,
            mtu,
            socket,
            listen_port: row.listen_port,
            running: false,
            problem: None,
        })
    }

    pub fn id(&self) -> u64 {
        self.row.id
    }

    pub fn name(&self) -> &str {
        &self.row.name
    }

    pub fn is_running(&self) -> bool {
        self.running
    }

    /// The router's way in.
    pub fn input(&self) -> TunnelInput {
        TunnelInput { mtu: self.row.mtu, queue: self.input.clone() }
    }

    pub fn applied(&self) -> AppliedInterface {
        AppliedInterface {
            id: self.row.id,
            listen_port: self.listen_port,
            socket: *self.socket.borrow(),
            running: self.running,
            problem: self.problem.clone(),
        }
    }

    /// Makes the interface what its row says, changing only what differs.
    pub async fn follow(&mut self, row: WgInterface, drop_sessions: bool, resolve: Resolve<'_>) -> PeerProblems {
        self.problem = None;
        self.remember_handshakes().await;
        if row.private_key != self.row.private_key {
            let set = self.device.set_private_key(row.private_key.to_static()).await;
            self.note(set);
        }
        if row.mtu != self.row.mtu {
            self.mtu.send_replace(row.mtu);
        }
        if row.listen_port != 0 && row.listen_port != self.listen_port {
            self.listen_port = row.listen_port;
            let set = self.device.set_listen_port(row.listen_port).await;
            self.note(set);
        }
        let problems = self.follow_peers(&row.peers, drop_sessions, resolve).await;
        self.follow_state(row.up).await;
        self.row = row;
        problems
    }

    async fn follow_state(&mut self, up: bool) {
        if !up {
            self.device.suspend().await;
            self.running = false;
            return;
        }
        if !self.running {
            let resumed = self.resume().await;
            self.note(resumed);
        }
        self.running = self.problem.is_none();
        if !self.running {
            // A device that could not bind must be suspended to be resumed again.
            self.device.suspend().await;
        }
        if let Some(socket) = *self.socket.borrow()
            && self.listen_port == 0
        {
            self.listen_port = socket.port();
        }
    }

    async fn resume(&self) -> Result<(), Error> {
        self.device.resume().await?;
        if self.peers.is_empty() {
            // gotatun opens its socket with the first peer, a router with the interface. This opens it.
            self.device.clear_peers().await?;
        }
        Ok(())
    }

    async fn follow_peers(&mut self, rows: &[WgPeer], drop_sessions: bool, resolve: Resolve<'_>) -> PeerProblems {
        let wanted: HashMap<u64, &WgPeer> = rows.iter().filter(|row| row.up).map(|row| (row.id, row)).collect();
        let stays =
            |id: &u64, peer: &TunnelPeer| wanted.get(id).is_some_and(|row| row.public_key == peer.row.public_key);
        let gone: Vec<u64> = self.peers.iter().filter(|(id, peer)| !stays(id, peer)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(peer) = self.peers.remove(&id) {
                let removed = self.device.remove_peer(&peer.key()).await.map(drop);
                self.note(removed);
            }
        }
        let mut problems = PeerProblems::default();
        let mut keys = HashSet::new();
        for row in rows.iter().filter(|row| row.up) {
            if keys.insert(row.public_key) {
                self.follow_peer(row, drop_sessions, resolve, &mut problems).await;
            } else {
                problems.duplicates.push(row.id);
            }
        }
        problems
    }

    async fn follow_peer(
        &mut self,
        row: &WgPeer,
        drop_sessions: bool,
        resolve: Resolve<'_>,
        problems: &mut PeerProblems,
    ) {
        let resolved = |row: &WgPeer| {
            let (host, port) = row.endpoint.as_ref()?;
            Some(SocketAddr::new(resolve(host)?, *port))
        };
        let Some(peer) = self.peers.get(&row.id) else {
            let peer = TunnelPeer::new(row.clone(), resolved(row));
            peer.report(problems);
            let added = self.device.add_peer(peer.to_gotatun()).await.map(drop);
            self.note(added);
            self.peers.insert(row.id, peer);
            return;
        };
        if peer.row == *row {
            return peer.report(problems);
        }
        let endpoint = if peer.row.endpoint == row.endpoint { peer.endpoint } else { resolved(row) };
        let changed =
            if drop_sessions { self.make_anew(row, endpoint).await } else { self.modify(row, endpoint).await };
        self.note(changed);
        if let Some(peer) = self.peers.get_mut(&row.id) {
            peer.row = row.clone();
            peer.endpoint = endpoint;
            peer.report(problems);
        }
    }

    /// Changes a peer in place: its counters, session and last handshake stay.
    async fn modify(&self, row: &WgPeer, endpoint: Option<SocketAddr>) -> Result<(), Error> {
        let Some(before) = self.peers.get(&row.id) else {
            return Ok(());
        };
        let change = |peer: &mut gotatun::device::configure::PeerMut| {
            if before.row.preshared_key != row.preshared_key {
                peer.set_preshared_key(row.preshared_key.as_ref().map(|key| *key.expose()));
            }
            if before.row.endpoint != row.endpoint {
                peer.set_endpoint(endpoint);
            }
            if before.row.keepalive != row.keepalive {
                peer.set_keepalive(keepalive_secs(row));
            }
            if before.row.allowed != row.allowed {
                peer.clear_allowed_ips();
                peer.add_allowed_ips(networks(&row.allowed));
            }
        };
        let key = before.key();
        let changed = self.device.write(async |device| device.modify_peer(&key, change).await);
        changed.await.map(drop)
    }

    /// Removes and adds a peer, keeping its counters but not its session.
    async fn make_anew(&mut self, row: &WgPeer, endpoint: Option<SocketAddr>) -> Result<(), Error> {
        let stats = self.device.peers().await;
        let Some(peer) = self.peers.get_mut(&row.id) else {
            return Ok(());
        };
        let key = peer.key();
        if let Some(found) = stats.iter().find(|found| found.peer.public_key == key) {
            peer.carried_rx += bytes(found.stats.rx_bytes);
            peer.carried_tx += bytes(found.stats.tx_bytes);
        }
        peer.row = row.clone();
        peer.endpoint = endpoint;
        self.device.remove_peer(&key).await?;
        self.device.add_peer(peer.to_gotatun()).await.map(drop)
    }

    /// Looks a peer's endpoint up again; `None` if the tunnel has no such peer.
    pub async fn resolve_again(&mut self, id: u64, resolve: Resolve<'_>) -> Option<bool> {
        let peer = self.peers.get_mut(&id)?;
        let (host, port) = peer.row.endpoint.as_ref()?;
        let address = resolve(host).map(|ip| SocketAddr::new(ip, *port));
        peer.endpoint = address;
        let key = peer.key();
        let set = self.device.write(async |device| device.modify_peer(&key, |peer| peer.set_endpoint(address)).await);
        let set = set.await.map(drop);
        self.note(set);
        Some(address.is_some())
    }

    /// What WireGuard knows of the peers; those that are down are left out.
    pub async fn states(&mut self) -> Vec<PeerState> {
        let stats = self.remember_handshakes().await;
        let view = |(id, peer): (&u64, &TunnelPeer)| {
            let found = stats.iter().find(|found| found.peer.public_key == peer.key())?;
            Some(PeerState {
                id: *id,
                rx: peer.carried_rx + bytes(found.stats.rx_bytes),
                tx: peer.carried_tx + bytes(found.stats.tx_bytes),
                last_handshake: peer.handshake.map(|at| at.elapsed()),
                endpoint: found.peer.endpoint,
            })
        };
        self.peers.iter().filter_map(view).collect()
    }

    /// Does what time asks for: remembers handshakes, and starts those that gotatun gave up.
    ///
    /// After 90 s without an answer gotatun waits for a packet to send, and persistent keepalive does not count for one. In the
    /// kernel's WireGuard it does: a peer with keepalive tries for ever.
    pub async fn tick(&mut self) {
        let stats = self.remember_handshakes().await;
        if !self.running {
            return;
        }
        for found in stats {
            let idle = found.stats.last_handshake.is_none();
            if idle && found.peer.keepalive.is_some() && found.peer.endpoint.is_some() {
                let handshake = self.device.force_handshake(&found.peer.public_key);
                if let Ok(Err(error)) = timeout(NUDGE_DEADLINE, handshake).await {
                    tracing::debug!(%error, "a handshake could not be started");
                }
            }
        }
    }

    async fn remember_handshakes(&mut self) -> Vec<gotatun::device::configure::PeerStats> {
        let stats = self.device.peers().await;
        let now = Instant::now();
        for peer in self.peers.values_mut() {
            let found = stats.iter().find(|found| found.peer.public_key == peer.key());
            if let Some(age) = found.and_then(|found| found.stats.last_handshake) {
                peer.handshake = peer.handshake.max(now.checked_sub(age));
            }
        }
        stats
    }

    /// Stops the device and waits until its socket is closed.
    pub async fn stop(self) {
        self.device.stop().await;
    }

    fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            tracing::warn!(interface = %self.row.name, %error, "the tunnel does not follow its row");
            self.problem = Some(error.to_string());
        }
    }
}

impl TunnelPeer {
    fn new(row: WgPeer, endpoint: Option<SocketAddr>) -> Self {
        Self { row, endpoint, carried_rx: 0, carried_tx: 0, handshake: None }
    }

    fn key(&self) -> PublicKey {
        self.row.public_key.into()
    }

    fn to_gotatun(&self) -> Peer {
        let mut peer = Peer::new(self.key()).with_allowed_ips(networks(&self.row.allowed));
        peer.endpoint = self.endpoint;
        peer.preshared_key = self.row.preshared_key.as_ref().map(|key| *key.expose());
        peer.keepalive = keepalive_secs(&self.row);
        peer
    }

    fn report(&self, problems: &mut PeerProblems) {
        if self.row.endpoint.is_some() && self.endpoint.is_none() {
            problems.unresolved.push(self.row.id);
        }
    }
}

fn keepalive_secs(row: &WgPeer) -> Option<u16> {
    let secs = row.keepalive?.as_secs();
    // The field ends at 18h12m15s, which is 65,535 s.
    Some(u16::try_from(secs).unwrap_or(u16::MAX))
}

fn networks(allowed: &[IpNet]) -> Vec<IpNetwork> {
    let network = |net: &IpNet| IpNetwork::new(net.network(), net.prefix_len()).ok();
    allowed.iter().filter_map(network).collect()
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
