//! One WireGuard interface: follows its row, keeps what a changed row must not lose.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::config::{AppliedInterface, PeerState, WgInterface, WgPeer};
use crate::wireguard::device::{DeviceSettings, Embedded, Error, PeerOnDevice, PeerSettings, networks};
use crate::wireguard::memory::{Deliver, TunnelInput};
use crate::wireguard::wire::{Network, TakenPort};

/// What an endpoint's name stands for at this moment; `None` if it does not resolve.
pub(super) type Resolve<'a> = &'a (dyn Fn(&str) -> Option<IpAddr> + Sync);

/// A WireGuard interface at work.
pub(super) struct Tunnel {
    device: Embedded,
    row: WgInterface,
    peers: HashMap<u64, TunnelPeer>,
    listen_port: u16,
    running: bool,
    problem: Option<String>,
    network: Arc<Network>,
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
pub(super) struct PeerProblems {
    pub unresolved: Vec<u64>,
    pub duplicates: Vec<u64>,
}

impl Tunnel {
    /// Makes the interface, down and without peers; [`follow`](Self::follow) does the rest.
    pub async fn new(row: &WgInterface, bind: IpAddr, network: Arc<Network>, deliver: Deliver) -> Result<Self, Error> {
        let settings = DeviceSettings {
            bind,
            port: row.listen_port,
            taken: TakenPort::StandIn,
            private_key: row.private_key.clone(),
            mtu: row.mtu,
        };
        let device = Embedded::new(&settings, Arc::clone(&network), |_| deliver).await?;
        Ok(Self {
            device,
            row: WgInterface { up: false, peers: Vec::new(), ..row.clone() },
            peers: HashMap::new(),
            listen_port: row.listen_port,
            running: false,
            problem: None,
            network,
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
        self.device.input(self.row.mtu)
    }

    pub fn applied(&self) -> AppliedInterface {
        AppliedInterface {
            id: self.row.id,
            listen_port: self.listen_port,
            socket: self.device.socket(),
            running: self.running,
            problem: self.problem.clone(),
        }
    }

    /// Makes the interface what its row says, changing only what differs.
    pub async fn follow(&mut self, row: WgInterface, drop_sessions: bool, resolve: Resolve<'_>) -> PeerProblems {
        self.problem = None;
        self.remember_handshakes().await;
        if row.private_key != self.row.private_key {
            let set = self.device.set_private_key(&row.private_key).await;
            self.note(set);
        }
        if row.mtu != self.row.mtu {
            self.device.set_mtu(row.mtu);
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
            let resumed = self.device.resume(self.peers.is_empty()).await;
            self.note(resumed);
        }
        self.running = self.problem.is_none();
        if !self.running {
            // A device that could not bind must be suspended to be resumed again.
            self.device.suspend().await;
        }
        if let Some(socket) = self.device.socket()
            && self.listen_port == 0
        {
            self.listen_port = socket.port();
        }
    }

    async fn follow_peers(&mut self, rows: &[WgPeer], drop_sessions: bool, resolve: Resolve<'_>) -> PeerProblems {
        let wanted: HashMap<u64, &WgPeer> = rows.iter().filter(|row| row.up).map(|row| (row.id, row)).collect();
        let stays =
            |id: &u64, peer: &TunnelPeer| wanted.get(id).is_some_and(|row| row.public_key == peer.row.public_key);
        let gone: Vec<u64> = self.peers.iter().filter(|(id, peer)| !stays(id, peer)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(peer) = self.peers.remove(&id) {
                let removed = self.device.remove(&peer.row.public_key).await;
                self.note(removed);
                self.network.peer_went();
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
            let added = self.device.add(&peer.settings()).await;
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
        self.device.modify(&before.row.public_key, change).await
    }

    /// Removes and adds a peer, keeping its counters but not its session.
    async fn make_anew(&mut self, row: &WgPeer, endpoint: Option<SocketAddr>) -> Result<(), Error> {
        let stats = self.device.peers().await;
        let Some(peer) = self.peers.get_mut(&row.id) else {
            return Ok(());
        };
        let key = peer.row.public_key;
        if let Some(found) = stats.iter().find(|found| found.public_key == key) {
            peer.carried_rx += found.rx;
            peer.carried_tx += found.tx;
        }
        peer.row = row.clone();
        peer.endpoint = endpoint;
        self.device.remove(&key).await?;
        self.device.add(&peer.settings()).await
    }

    /// Looks a peer's endpoint up again; `None` if the tunnel has no such peer.
    pub async fn resolve_again(&mut self, id: u64, resolve: Resolve<'_>) -> Option<bool> {
        let peer = self.peers.get_mut(&id)?;
        let (host, port) = peer.row.endpoint.as_ref()?;
        let address = resolve(host).map(|ip| SocketAddr::new(ip, *port));
        peer.endpoint = address;
        let key = peer.row.public_key;
        let set = self.device.modify(&key, |peer| peer.set_endpoint(address)).await;
        self.note(set);
        Some(address.is_some())
    }

    /// What WireGuard knows of the peers; those that are down are left out.
    pub async fn states(&mut self) -> Vec<PeerState> {
        let stats = self.remember_handshakes().await;
        let view = |(id, peer): (&u64, &TunnelPeer)| {
            let found = stats.iter().find(|found| found.public_key == peer.row.public_key)?;
            Some(PeerState {
                id: *id,
                rx: peer.carried_rx + found.rx,
                tx: peer.carried_tx + found.tx,
                last_handshake: peer.handshake.map(|at| at.elapsed()),
                endpoint: found.endpoint,
            })
        };
        self.peers.iter().filter_map(view).collect()
    }

    /// Does what time asks for: remembers handshakes, and starts those that gotatun gave up.
    pub async fn tick(&mut self) {
        let found = self.remember_handshakes().await;
        if self.running {
            self.device.nudge(&found).await;
        }
    }

    async fn remember_handshakes(&mut self) -> Vec<PeerOnDevice> {
        let stats = self.device.peers().await;
        let now = Instant::now();
        for peer in self.peers.values_mut() {
            let found = stats.iter().find(|found| found.public_key == peer.row.public_key);
            if let Some(age) = found.and_then(|found| found.handshake_age) {
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

    fn settings(&self) -> PeerSettings {
        PeerSettings {
            public_key: self.row.public_key,
            preshared_key: self.row.preshared_key.clone(),
            endpoint: self.endpoint,
            allowed: self.row.allowed.clone(),
            keepalive_secs: keepalive_secs(&self.row),
        }
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
