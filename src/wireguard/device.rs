//! One embedded WireGuard device: gotatun with our own socket below and packets in memory above.
//!
//! Peers are changed in place: a peer that is removed and added again stays dark for about 16 s.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gotatun::device::configure::{PeerMut, PeerStats};
use gotatun::device::{Device, DeviceBuilder, Peer};
use gotatun::x25519::PublicKey;
use ipnet::IpNet;
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tokio::time::timeout;

use super::keys::SecretKey;
use super::memory::{self, Decrypted, Deliver, TunnelInput, TunnelOutput};
use super::wire::{Network, TakenPort, Wire};

pub(crate) use gotatun::device::Error;

/// How long a handshake started by us may take to be *sent*; it goes at once, the wait for the answer is not ours.
const NUDGE_DEADLINE: Duration = Duration::from_millis(20);

/// How a device is set up.
#[derive(Debug, Clone)]
pub(crate) struct DeviceSettings {
    /// Where its UDP socket is bound.
    pub bind: IpAddr,
    /// Its UDP port; 0 lets the system choose.
    pub port: u16,
    /// What becomes of a port that somebody else has.
    pub taken: TakenPort,
    /// Its private key.
    pub private_key: SecretKey,
    /// Longest packet in the tunnel, in bytes.
    pub mtu: u16,
}

/// A peer as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerSettings {
    pub public_key: [u8; 32],
    pub preshared_key: Option<SecretKey>,
    pub endpoint: Option<SocketAddr>,
    pub allowed: Vec<IpNet>,
    pub keepalive_secs: Option<u16>,
}

/// A peer as the device has it.
#[derive(Debug, Clone)]
pub(crate) struct PeerOnDevice {
    pub public_key: [u8; 32],
    pub endpoint: Option<SocketAddr>,
    /// Ascending.
    pub allowed: Vec<IpNet>,
    pub keepalive_secs: Option<u16>,
    pub preshared_key: Option<SecretKey>,
    /// Missing after 180 s too: gotatun forgets a handshake with its session.
    pub handshake_age: Option<Duration>,
    pub rx: u64,
    pub tx: u64,
}

/// A device at work; it stops when dropped.
pub(crate) struct Embedded {
    device: Device<(Wire, Decrypted, TunnelOutput)>,
    input: TunnelInput,
    mtu: watch::Sender<u16>,
    socket: watch::Receiver<Option<SocketAddr>>,
}

impl Embedded {
    /// Makes a device, down and without peers. `deliver` gets the way into the tunnel, and takes what comes out of it.
    pub async fn new(
        settings: &DeviceSettings,
        network: Arc<Network>,
        deliver: impl FnOnce(TunnelInput) -> Deliver,
    ) -> Result<Self, Error> {
        let (wire, socket) = Wire::new(settings.bind, settings.taken, network);
        let (input, output, mtu) = memory::channel(settings.mtu);
        let device = DeviceBuilder::new()
            .with_udp(wire)
            .with_ip_pair(Decrypted(deliver(input.clone())), output)
            .with_private_key(settings.private_key.to_static())
            .with_listen_port(settings.port)
            .suspended(true)
            .build()
            .await?;
        Ok(Self { device, input, mtu, socket })
    }

    /// The way into the tunnel.
    pub fn input(&self, mtu: u16) -> TunnelInput {
        self.input.with_mtu(mtu)
    }

    /// Where the UDP socket is bound.
    pub fn socket(&self) -> Option<SocketAddr> {
        *self.socket.borrow()
    }

    /// Opens the socket and starts. `no_peers` as the device is now.
    pub async fn resume(&self, no_peers: bool) -> Result<(), Error> {
        self.device.resume().await?;
        if no_peers {
            // gotatun opens its socket with the first peer, a router with the interface. This opens it.
            self.device.clear_peers().await?;
        }
        Ok(())
    }

    /// Stops and closes the socket; peers and keys stay.
    pub async fn suspend(&self) {
        self.device.suspend().await;
    }

    /// Changes the private key.
    pub async fn set_private_key(&self, key: &SecretKey) -> Result<(), Error> {
        self.device.set_private_key(key.to_static()).await
    }

    /// Moves to another port, sessions and all.
    pub async fn set_listen_port(&self, port: u16) -> Result<(), Error> {
        self.device.set_listen_port(port).await
    }

    /// Changes the length of the longest packet, in bytes.
    pub fn set_mtu(&self, mtu: u16) {
        self.mtu.send_replace(mtu);
    }

    /// Adds a peer that is not there yet.
    pub async fn add(&self, peer: &PeerSettings) -> Result<(), Error> {
        self.device.add_peer(peer.to_gotatun()).await.map(drop)
    }

    /// Changes a peer in place: its session, counters and last handshake stay.
    pub async fn modify(&self, key: &[u8; 32], change: impl FnOnce(&mut PeerMut)) -> Result<(), Error> {
        let key = PublicKey::from(*key);
        self.device.write(async |device| device.modify_peer(&key, change).await).await.map(drop)
    }

    /// Removes a peer, if it is there.
    pub async fn remove(&self, key: &[u8; 32]) -> Result<(), Error> {
        self.device.remove_peer(&PublicKey::from(*key)).await.map(drop)
    }

    /// What the device knows of its peers.
    pub async fn peers(&self) -> Vec<PeerOnDevice> {
        self.device.peers().await.into_iter().map(PeerOnDevice::from).collect()
    }

    /// Starts a handshake with those that should have one all the time and do not.
    ///
    /// After 90 s without an answer gotatun waits for a packet to send, and persistent keepalive does not count for one. In the
    /// kernel's WireGuard it does: a peer with keepalive tries for ever.
    pub async fn nudge(&self, peers: &[PeerOnDevice]) {
        let keeps_trying = |peer: &&PeerOnDevice| {
            peer.handshake_age.is_none() && peer.keepalive_secs.is_some() && peer.endpoint.is_some()
        };
        for peer in peers.iter().filter(keeps_trying) {
            self.call(&peer.public_key).await;
        }
    }

    /// Starts a handshake with a peer whose endpoint is known.
    pub async fn call(&self, key: &[u8; 32]) {
        let key = PublicKey::from(*key);
        if let Ok(Err(error)) = timeout(NUDGE_DEADLINE, self.device.force_handshake(&key)).await {
            tracing::debug!(%error, "a handshake could not be started");
        }
    }

    /// Stops the device and waits until its socket is closed.
    pub async fn stop(self) {
        self.device.stop().await;
    }
}

impl PeerSettings {
    fn to_gotatun(&self) -> Peer {
        let mut peer = Peer::new(self.public_key.into()).with_allowed_ips(networks(&self.allowed));
        peer.endpoint = self.endpoint;
        peer.preshared_key = self.preshared_key.as_ref().map(|key| *key.expose());
        peer.keepalive = self.keepalive_secs;
        peer
    }
}

impl From<PeerStats> for PeerOnDevice {
    fn from(found: PeerStats) -> Self {
        let back = |net: &IpNetwork| IpNet::new(net.network(), net.prefix()).ok();
        let mut allowed: Vec<IpNet> = found.peer.allowed_ips.iter().filter_map(back).collect();
        allowed.sort_unstable();
        Self {
            public_key: found.peer.public_key.to_bytes(),
            endpoint: found.peer.endpoint,
            allowed,
            keepalive_secs: found.peer.keepalive,
            preshared_key: found.peer.preshared_key.map(SecretKey::from),
            handshake_age: found.stats.last_handshake,
            rx: bytes(found.stats.rx_bytes),
            tx: bytes(found.stats.tx_bytes),
        }
    }
}

/// Allowed addresses in gotatun's words.
pub(crate) fn networks(allowed: &[IpNet]) -> Vec<IpNetwork> {
    let network = |net: &IpNet| IpNetwork::new(net.network(), net.prefix_len()).ok();
    allowed.iter().filter_map(network).collect()
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
