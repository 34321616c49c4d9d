//! What the data plane has to know of a device's rows, and what it answers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::firewall::Rule;
use super::tun::LanTun;
use crate::wireguard::keys::SecretKey;

/// The state of a device's rows, made anew after every change; the plane applies the difference.
#[derive(Debug, Clone, Default)]
pub struct PlaneConfig {
    /// WireGuard interfaces, the disabled ones too.
    pub wireguard: Vec<WgInterface>,
    /// Addresses with their host bits and the interface they are on; only of enabled rows on interfaces that are up.
    pub addresses: Vec<(IpNet, String)>,
    /// Enabled routes of the table `main`, without the connected ones (they follow from the addresses).
    pub routes: Vec<PlaneRoute>,
    /// Enabled rows of `/ip/firewall/filter`, in order.
    pub filter: Vec<Rule>,
    /// Enabled rows of `/ipv6/firewall/filter`, in order.
    pub filter6: Vec<Rule>,
    /// Enabled rows of `/ip/firewall/nat`, in order; only the chain `srcnat` is looked at.
    pub nat: Vec<Rule>,
    /// `/ip/settings rp-filter=strict`: an IPv4 packet must come in where its source would be sent to.
    pub strict_sources: bool,
}

/// One `/interface/wireguard` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WgInterface {
    /// Stable over the row's life, unlike the name.
    pub id: u64,
    /// The interface's name, as addresses, routes and rules have it.
    pub name: String,
    /// The private key.
    pub private_key: SecretKey,
    /// UDP port; 0 lets the system choose one, which is then kept.
    pub listen_port: u16,
    /// Longest packet that goes into the tunnel, in bytes.
    pub mtu: u16,
    /// Not disabled.
    pub up: bool,
    /// The interface's peers, the disabled ones too.
    pub peers: Vec<WgPeer>,
}

/// One `/interface/wireguard/peers` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WgPeer {
    /// Stable over the row's life.
    pub id: u64,
    /// The peer's public key.
    pub public_key: [u8; 32],
    /// The preshared key, if one is set.
    pub preshared_key: Option<SecretKey>,
    /// `endpoint-address` (name or address) and `endpoint-port`; `None` waits for the peer to speak first.
    pub endpoint: Option<(String, u16)>,
    /// `allowed-address`.
    pub allowed: Vec<IpNet>,
    /// `persistent-keepalive`; whole seconds count.
    pub keepalive: Option<Duration>,
    /// Not disabled.
    pub up: bool,
}

/// One enabled route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneRoute {
    /// Destination.
    pub dst: IpNet,
    /// The gateway: an interface's name, or an address that a connected network holds.
    pub via: String,
    /// The lower wins among routes to the same destination.
    pub distance: u8,
}

/// How a plane is set up for its whole life.
#[derive(Debug, Clone)]
pub struct PlaneOptions {
    /// Where WireGuard's UDP sockets are bound. On loopback, endpoints elsewhere do not resolve.
    pub bind: IpAddr,
    /// The networks behind the router.
    pub lans: Vec<Lan>,
    /// What names (and addresses outside loopback) resolve to; all others do not resolve.
    pub names: HashMap<String, IpAddr>,
    /// Whether every change of a peer row drops its session, as a router might: whether RouterOS does is not known.
    pub drop_session_on_set: bool,
}

impl Default for PlaneOptions {
    fn default() -> Self {
        Self { bind: Ipv4Addr::LOCALHOST.into(), lans: Vec::new(), names: HashMap::new(), drop_session_on_set: false }
    }
}

/// A network behind the router: hosts that have the router as their gateway.
#[derive(Debug, Clone, Default)]
pub struct Lan {
    /// The router's interface to it, such as `bridge`.
    pub interface: String,
    /// Addresses of simulated hosts: they answer pings.
    pub hosts: Vec<IpAddr>,
    /// The wire on which real programs are hosts; everything that is for no simulated host goes there.
    pub tun: Option<LanTun>,
}

/// What came of a [`PlaneConfig`].
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// One for each WireGuard interface of the config, in its order.
    pub interfaces: Vec<AppliedInterface>,
    /// Enabled peers whose endpoint does not resolve, or leads out of the simulation.
    pub unresolved: Vec<u64>,
    /// Enabled peers left out because an earlier one of the interface has the same public key.
    pub duplicates: Vec<u64>,
    /// Firewall matchers that are not known here (`key=value`): their rules never match.
    pub unknown_matchers: Vec<String>,
}

/// What came of one WireGuard interface.
#[derive(Debug, Clone)]
pub struct AppliedInterface {
    /// The interface's id.
    pub id: u64,
    /// The port for the row's `listen-port`: the one configured, or the one chosen for 0.
    pub listen_port: u16,
    /// The UDP socket's address. Its port differs from `listen_port` when that was taken on this machine: the device then
    /// looks as if it stood behind NAT.
    pub socket: Option<SocketAddr>,
    /// Up, with its socket bound.
    pub running: bool,
    /// Why an interface that should be up is not running.
    pub problem: Option<String>,
}

/// What WireGuard knows of a peer at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// The peer's id.
    pub id: u64,
    /// Bytes received from it.
    pub rx: u64,
    /// Bytes sent to it.
    pub tx: u64,
    /// How long ago the last handshake was; `None` if there was none.
    pub last_handshake: Option<Duration>,
    /// Where its packets go now.
    pub endpoint: Option<SocketAddr>,
}
