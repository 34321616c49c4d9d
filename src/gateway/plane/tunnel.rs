//! A WireGuard device inside an instance's namespace, as both rooted backends have one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::trouble::Doing;
use super::{DevicePeer, PlaneError};
use crate::api::GatewayPeer;
use crate::domain::{Endpoint, Host, PresharedKey, PublicKey};

/// What the names of tunnels inside the namespace begin with; the device's number follows.
pub(super) const PREFIX: &str = "wg";
/// How long the name of a remote peer may take to resolve.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// A device's name inside the namespace.
pub(super) fn name(device: u32) -> String {
    format!("{PREFIX}{device}")
}

/// The number of the device that has a name.
pub(super) fn number(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok().filter(|device| self::name(*device) == name)
}

/// A device at work. Its changes are made one after another.
#[async_trait]
pub(super) trait Tunnel: Send + Sync + fmt::Debug {
    /// The port outside.
    fn listen_port(&self) -> u16;
    /// Changes the port; sessions stay. On an error the old one is still served.
    async fn set_listen_port(&self, port: u16) -> Result<(), PlaneError>;
    /// Switches the device on or off.
    async fn set_running(&self, running: bool) -> Result<(), PlaneError>;
    /// All peers of the device.
    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError>;
    /// Adds a peer or changes it in place.
    async fn set_peer(&self, peer: &TunnelPeer) -> Result<(), PlaneError>;
    /// Removes a peer; it may be gone already.
    async fn remove_peer(&self, public_key: &PublicKey) -> Result<(), PlaneError>;
    /// Ends the device where it ends with the process.
    async fn stop(&self);
}

/// What WireGuard has to know of a peer.
#[derive(Clone)]
pub(super) struct TunnelPeer {
    pub public_key: PublicKey,
    pub preshared_key: Option<Zeroizing<[u8; 32]>>,
    /// Ascending.
    pub allowed: Vec<IpNet>,
    /// Set only where it is new, or to be called somewhere else than before: a peer that moved stays where it was heard.
    pub endpoint: Option<SocketAddr>,
    /// Seconds; 0 is none.
    pub keepalive_secs: u16,
}

impl fmt::Debug for TunnelPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelPeer").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// Reads a peer's preshared key.
pub(super) fn preshared_key(peer: &GatewayPeer) -> Result<Option<Zeroizing<[u8; 32]>>, PlaneError> {
    let Some(secret) = &peer.preshared_key else {
        return Ok(None);
    };
    let wrong = || PlaneError::new(format!("the preshared key of peer {} is no key", peer.id));
    let key: PresharedKey = secret.expose().parse().map_err(|_| wrong())?;
    let mut bytes = Zeroizing::new([0; 32]);
    let decoded = BASE64_STANDARD.decode_slice_unchecked(key.expose_base64().as_bytes(), bytes.as_mut_slice());
    decoded.map_err(|_| wrong())?;
    Ok(Some(bytes))
}

/// Finds the address of an endpoint. A name that does not resolve in time is no address for now: it is tried again when the peer
/// is set the next time.
pub(super) async fn resolve(endpoint: &Endpoint) -> Option<SocketAddr> {
    let name = match &endpoint.host {
        Host::Address(address) => return Some(SocketAddr::new(*address, endpoint.port)),
        Host::Name(name) => name.as_str(),
    };
    let found = timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((name, endpoint.port))).await;
    let problem = match found.doing(|| "wait".to_owned()).and_then(|found| found.doing(|| "look up".to_owned())) {
        Ok(mut addresses) => match addresses.next() {
            Some(address) => return Some(address),
            None => "no address".to_owned(),
        },
        Err(error) => error.source.map_or(error.what, |source| source.to_string()),
    };
    tracing::warn!(%endpoint, problem, "a remote peer's endpoint does not resolve: it is not called until it does");
    None
}

/// The family-less order of prefixes that [`DevicePeer::allowed`] is in.
pub(super) fn ascending(mut allowed: Vec<IpNet>) -> Vec<IpNet> {
    allowed.sort_unstable();
    allowed
}

/// An IPv4 address that a socket for both families shows as IPv6.
pub(super) fn canonical(endpoint: SocketAddr) -> SocketAddr {
    match endpoint.ip() {
        IpAddr::V6(address) => SocketAddr::new(IpAddr::V6(address).to_canonical(), endpoint.port()),
        IpAddr::V4(_) => endpoint,
    }
}
