//! Data planes: one for each instance, made by one of three backends.
//!
//! | backend | WireGuard | forwarding |
//! |---|---|---|
//! | kernel | the kernel's, by netlink | the instance's own network namespace, nftables |
//! | userspace | embedded, on a TUN device | the same |
//! | rootless | embedded, packets in memory | in this process; no way out |
//!
//! Whoever calls decides *what* is to be there; a plane knows *how*, touches only the peer it is told to, and tells what the device
//! really has. It knows nothing of the hub.

mod firewall;
mod host;
mod kernel;
mod links;
mod namespace;
pub mod probe;
mod rooted;
pub mod rootless;
mod trouble;
mod tunnel;
mod userspace;

use std::error::Error as _;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use ipnet::IpNet;

use crate::api::{Backend, GatewayDevice, GatewayInstance, GatewayPeer, InstanceId, PeerId};
use crate::domain::PublicKey;
use crate::wireguard::keys::SecretKey;

pub use self::rooted::Rooted;

/// A peer as a device has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePeer {
    /// The device: one that changes to another is on both.
    pub device: u32,
    /// Its key.
    pub public_key: PublicKey,
    /// Allowed addresses, in ascending order.
    pub allowed: Vec<IpNet>,
    /// Seconds; 0 is none.
    pub keepalive_secs: u16,
    /// Where it was last heard, or is to be called.
    pub endpoint: Option<SocketAddr>,
    /// The last handshake; `None` if there was none (the kernel says 1970 then).
    pub handshake: Option<SystemTime>,
    /// The first eight bytes of the SHA-256 of its preshared key, if it has one.
    pub preshared_key: Option<[u8; 8]>,
    /// Bytes received from it, since the device knows it.
    pub rx_bytes: u64,
    /// Bytes sent to it, since the device knows it.
    pub tx_bytes: u64,
}

/// Why a data plane did not do what was asked. Always names instance, interface or file; never a key.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct PlaneError {
    /// What was tried, on what.
    pub what: String,
    /// The system's reason.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PlaneError {
    /// Whether a UDP port could not be had because another socket has it.
    #[must_use]
    pub fn is_port_taken(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if trouble::kind(error) == Some(ErrorKind::AddrInUse) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A backend: makes planes, finds those of an earlier run.
#[async_trait]
pub trait Planes: Send + Sync + fmt::Debug {
    /// Which one.
    fn backend(&self) -> Backend;
    /// Brings an instance up, or takes over what an earlier run left of it, peers and sessions included (kernel). Of its devices
    /// only the one that new peers get, whose key this is: the others are added to the plane.
    ///
    /// # Errors
    /// [`PlaneError`], such as a port that is taken; nothing of it stays then.
    async fn raise(&self, instance: &GatewayInstance, key: &SecretKey) -> Result<Arc<dyn Plane>, PlaneError>;
    /// Instances of which something is on this host, of this gateway only (by the names and marks of its things).
    async fn found(&self) -> Result<Vec<InstanceId>, PlaneError>;
    /// Takes an instance down: interface, namespace, routes, rules. Nothing of it stays; it may be down already.
    async fn remove(&self, instance: &InstanceId) -> Result<(), PlaneError>;
}

/// One instance's data plane.
///
/// What peers may reach beyond the instance is decided on this host, not by the hub: `Planes` is made with a list of prefixes that
/// are allowed beside the public internet; private, link-local, loopback, multicast and shared networks and every address of the
/// host itself are denied otherwise, in both families.
/// Dropping it leaves a kernel interface at work; the others end.
#[async_trait]
pub trait Plane: Send + Sync + fmt::Debug {
    /// The port outside of the device that new peers get, as it really is.
    fn listen_port(&self) -> u16;
    /// Its devices and their ports, as they really are; a device that an earlier run left and nobody added has the port 0.
    async fn devices(&self) -> Vec<(u32, u16)>;
    /// Adds a device beside those that are there, or changes its port; returns its port. On an error the others are as before. Peers
    /// and sessions that an earlier run left in it are taken over.
    async fn set_device(&self, device: &GatewayDevice, key: &SecretKey) -> Result<u16, PlaneError>;
    /// Takes a device away, with all that is on it. The one that new peers get stays.
    async fn remove_device(&self, device: u32) -> Result<(), PlaneError>;
    /// Changes addresses, policy, pushed routes, the device that new peers get and its port to these; no peer is touched, and what is
    /// the same is left alone. That device has to be there.
    async fn configure(&self, instance: &GatewayInstance) -> Result<(), PlaneError>;
    /// Reads all peers of all devices. Fewer than were set is the devices' truth and the caller's business; a list that was cut
    /// short on the way is an error.
    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError>;
    /// Adds a peer, or changes it in place, with its routes, rules and counters; its session stays, no other peer is touched.
    /// A peer whose key changed is the old one removed and this one added; one that changes to another device is on both, and what is
    /// sent to it changes over without a gap. What it gives up (prefixes, a preshared key, a keepalive) is
    /// really cleared; the endpoint is set only if the wanted one changed, for a peer may roam. What belongs to another peer by now
    /// is that peer's. `heard` is where a peer was last heard that the device it is sent to by does not have: it is called there until it
    /// calls.
    async fn set_peer(&self, peer: &GatewayPeer, heard: Option<SocketAddr>) -> Result<(), PlaneError>;
    /// Removes a peer of a device, known by its key, with its routes and rules; `peer` is `None` for one nobody knows. The same peer
    /// stays on another device.
    async fn remove_peer(&self, device: u32, public_key: &PublicKey, peer: Option<&PeerId>) -> Result<(), PlaneError>;
}

/// A peer on one of the devices that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leg {
    /// The device.
    pub device: u32,
    /// The peer's key there.
    pub public_key: PublicKey,
    /// What is sent to the peer goes through this device.
    pub sends: bool,
}

impl Leg {
    /// Device and key, which nobody else has.
    #[must_use]
    pub fn place(&self) -> (u32, PublicKey) {
        (self.device, self.public_key)
    }
}

/// Where a peer is: on its device, and while it moves on the other one too.
pub fn legs(peer: &GatewayPeer) -> impl Iterator<Item = Leg> + use<> {
    let beside = peer.moving.map(|to| Leg { device: to.device, public_key: to.public_key, sends: to.sends });
    let sends = beside.is_none_or(|to| !to.sends);
    let own = Leg { device: peer.device, public_key: peer.public_key, sends };
    std::iter::once(own).chain(beside)
}

/// What a peer may send from, and is sent to: its addresses and its subnets, in ascending order, each once.
#[must_use]
pub fn allowed(peer: &GatewayPeer) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> =
        peer.addresses.iter().map(|address| IpNet::from(*address)).chain(peer.subnets.iter()).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

/// What stands for a preshared key in a [`DevicePeer`].
#[must_use]
pub fn preshared_digest(key: &[u8; 32]) -> [u8; 8] {
    let mut first = [0; 8];
    let digest = ring::digest::digest(&ring::digest::SHA256, key);
    first.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    first
}
