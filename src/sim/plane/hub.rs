//! The hub's end of the tunnels, for tests: one WireGuard interface that forwards between its peers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::PlaneError;
use crate::wireguard::device::{DeviceSettings, PeerSettings};
use crate::wireguard::exchange::{Exchange, Member, MemberState, Rules, Side};
use crate::wireguard::keys::SecretKey;
use crate::wireguard::wire::{Network, TakenPort};

/// The number of its only device.
const DEVICE: u32 = 0;

/// How a hub end is set up.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Where its UDP socket is bound.
    pub bind: IpAddr,
    /// Its UDP port; 0 lets the system choose.
    pub port: u16,
    /// Its private key.
    pub private_key: SecretKey,
    /// Its addresses in the tunnel, which answer pings, with the tunnel's networks.
    pub addresses: Vec<IpNet>,
    /// Longest packet in the tunnel, in bytes.
    pub mtu: u16,
}

impl HubOptions {
    /// A hub on loopback, any port, MTU 1420.
    #[must_use]
    pub fn new(private_key: SecretKey, addresses: Vec<IpNet>) -> Self {
        Self { bind: Ipv4Addr::LOCALHOST.into(), port: 0, private_key, addresses, mtu: 1420 }
    }
}

/// A site as the hub knows it.
#[derive(Debug, Clone)]
pub struct HubPeer {
    /// The site's public key.
    pub public_key: [u8; 32],
    /// The preshared key, if one was agreed.
    pub preshared_key: Option<SecretKey>,
    /// The site's tunnel address and its subnets.
    pub allowed: Vec<IpNet>,
}

/// What the hub's WireGuard knows of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPeerState {
    /// The site's public key.
    pub public_key: [u8; 32],
    /// Bytes received from it.
    pub rx: u64,
    /// Bytes sent to it.
    pub tx: u64,
    /// How long ago the last handshake was; `None` if there was none.
    pub last_handshake: Option<Duration>,
    /// Where it was last heard from.
    pub endpoint: Option<SocketAddr>,
}

/// A hub end at work; dropping it stops it.
pub struct HubEnd {
    exchange: Exchange,
    network: Arc<Network>,
    public_key: [u8; 32],
    endpoint: SocketAddr,
}

impl HubEnd {
    /// Starts a hub end without peers.
    ///
    /// # Errors
    /// [`PlaneError::Bind`] if the address is no address of this machine; [`PlaneError::Stopped`] if the interface does not come up.
    pub async fn start(options: HubOptions) -> Result<Self, PlaneError> {
        let bind = options.bind;
        let probe = tokio::net::UdpSocket::bind((bind, 0)).await;
        probe.map_err(|source| PlaneError::Bind { bind, source })?;
        let public_key = options.private_key.public();
        let settings = DeviceSettings {
            bind,
            port: options.port,
            taken: TakenPort::StandIn,
            private_key: options.private_key,
            mtu: options.mtu,
        };
        let network = Arc::new(Network::default());
        let rules = Rules { client_to_client: false, site_to_site: true };
        let exchange = Exchange::start(DEVICE, &settings, options.addresses, rules, Arc::clone(&network)).await;
        let exchange = exchange.map_err(|error| stopped(&error))?;
        let endpoint = exchange.socket(DEVICE).await.ok_or(PlaneError::Stopped)?;
        Ok(Self { exchange, network, public_key, endpoint })
    }

    /// Where sites reach the hub.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// The hub's public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// Adds a peer, or changes the one with this public key; no other peer is disturbed.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] if the hub's data plane is gone.
    ///
    /// # Cancel safety
    /// A dropped future may leave the peer half set; set it again.
    pub async fn set_peer(&self, peer: HubPeer) -> Result<(), PlaneError> {
        let settings = PeerSettings {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key,
            endpoint: None,
            allowed: peer.allowed,
            keepalive_secs: None,
        };
        let member = Member { device: DEVICE, settings, side: Side::Site, sends: true };
        self.exchange.set(member, None).await.map(drop).map_err(|error| stopped(&error))
    }

    /// Removes a peer; returns whether there was one.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] if the hub's data plane is gone.
    ///
    /// # Cancel safety
    /// A dropped future may leave the peer half removed; remove it again.
    pub async fn remove_peer(&self, public_key: &[u8; 32]) -> Result<bool, PlaneError> {
        self.exchange.remove(DEVICE, public_key).await.map_err(|error| stopped(&error))
    }

    /// What WireGuard knows of the peers.
    ///
    /// # Errors
    /// None at present: the device is in this process.
    ///
    /// # Cancel safety
    /// Nothing changes.
    pub async fn peers(&self) -> Result<Vec<HubPeerState>, PlaneError> {
        let now = SystemTime::now();
        let mut peers: Vec<_> = self.exchange.members().await.into_iter().map(|member| view(member, now)).collect();
        peers.sort_by_key(|peer| peer.public_key);
        Ok(peers)
    }

    /// Drops all of the hub's UDP, both ways, while on.
    pub fn set_black_hole(&self, on: bool) {
        self.network.set_black_hole(on);
    }

    /// Stops the hub and waits until its socket is closed.
    ///
    /// # Cancel safety
    /// Dropping the future drops the hub.
    pub async fn stop(self) {
        self.exchange.stop().await;
    }
}

impl fmt::Debug for HubEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubEnd").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

fn view(member: MemberState, now: SystemTime) -> HubPeerState {
    HubPeerState {
        public_key: member.on_device.public_key,
        rx: member.on_device.rx,
        tx: member.on_device.tx,
        last_handshake: member.handshake.map(|at| now.duration_since(at).unwrap_or_default()),
        endpoint: member.on_device.endpoint,
    }
}

fn stopped(error: &crate::wireguard::device::Error) -> PlaneError {
    tracing::warn!(%error, "the hub's end does not follow");
    PlaneError::Stopped
}
