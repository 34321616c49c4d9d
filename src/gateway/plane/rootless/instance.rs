//! One instance's plane without root.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::api::{GatewayInstance, GatewayPeer, InstanceId, PeerId, PeerKind, Policy};
use crate::domain::{Endpoint, Host, PresharedKey, PublicKey};
use crate::gateway::plane::{DevicePeer, Plane, PlaneError, allowed, preshared_digest};
use crate::wireguard::device::{DeviceSettings, Error, PeerSettings};
use crate::wireguard::exchange::{Exchange, Member, MemberState, Rules, Side};
use crate::wireguard::keys::SecretKey;
use crate::wireguard::wire::{Network, TakenPort};

/// Longest packet in a tunnel, in bytes: what an Ethernet frame of 1,500 leaves over IPv6.
const MTU: u16 = 1420;

/// How long the name of a remote peer may take to resolve. The peer is set without it then, and set again later.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(3);

/// An instance at work; it stops when dropped.
pub(super) struct RootlessPlane {
    id: InstanceId,
    bind: IpAddr,
    public_key: [u8; 32],
    port: AtomicU16,
    exchange: Exchange,
    /// Keys by peer, so that a peer with a new key loses its old one. Held while a peer is changed.
    keys: Mutex<HashMap<PeerId, PublicKey>>,
}

impl RootlessPlane {
    pub async fn start(bind: IpAddr, instance: &GatewayInstance, key: &SecretKey) -> Result<Self, PlaneError> {
        let settings = DeviceSettings {
            bind,
            port: instance.listen_port,
            taken: TakenPort::Refuse,
            private_key: key.clone(),
            mtu: MTU,
        };
        let network = Arc::new(Network::default());
        let exchange = Exchange::start(&settings, instance.addresses.clone(), instance.policy.into(), network).await;
        let exchange = exchange.map_err(|error| cannot_listen(instance, bind, error))?;
        let port = exchange.socket().await.map_or(instance.listen_port, |socket| socket.port());
        Ok(Self {
            id: instance.id.clone(),
            bind,
            public_key: key.public(),
            port: AtomicU16::new(port),
            exchange,
            keys: Mutex::new(HashMap::new()),
        })
    }

    pub fn has_key(&self, key: &SecretKey) -> bool {
        key.public() == self.public_key
    }

    pub async fn stop(&self) {
        self.exchange.stop().await;
    }

    fn error(&self, what: &str, error: Error) -> PlaneError {
        PlaneError { what: format!("instance {}: {what}", self.id), source: Some(Box::new(error)) }
    }

    async fn member(&self, peer: &GatewayPeer) -> Result<Member, PlaneError> {
        let preshared = peer.preshared_key.as_ref().map(|key| key.expose().parse::<PresharedKey>()).transpose();
        let preshared = preshared.map_err(|error| PlaneError {
            what: format!("peer {} of instance {}: its preshared key is none", peer.id, self.id),
            source: Some(Box::new(error)),
        })?;
        let settings = PeerSettings {
            public_key: *peer.public_key.as_bytes(),
            preshared_key: preshared.map(|key| SecretKey::from(*key.expose())),
            endpoint: match &peer.endpoint {
                Some(endpoint) => self.resolve(endpoint, &peer.id).await,
                None => None,
            },
            allowed: allowed(peer),
            keepalive_secs: (peer.keepalive_secs > 0).then_some(peer.keepalive_secs),
        };
        Ok(Member { settings, side: side(peer.kind) })
    }

    /// Looks up where a peer is to be called, in the family of our own socket.
    async fn resolve(&self, endpoint: &Endpoint, peer: &PeerId) -> Option<SocketAddr> {
        let name = match &endpoint.host {
            Host::Address(address) => return Some(SocketAddr::new(*address, endpoint.port)),
            Host::Name(name) => (name.as_str(), endpoint.port),
        };
        let fits = |address: &SocketAddr| self.bind.is_ipv6() || address.is_ipv4();
        match timeout(RESOLVE_DEADLINE, lookup_host(name)).await {
            Ok(Ok(mut found)) => found.find(fits),
            Ok(Err(error)) => {
                tracing::warn!(instance = %self.id, %peer, host = name.0, %error, "a peer's name does not resolve");
                None
            }
            Err(_) => {
                tracing::warn!(instance = %self.id, %peer, host = name.0, "a peer's name does not resolve in time");
                None
            }
        }
    }
}

#[async_trait]
impl Plane for RootlessPlane {
    fn listen_port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    async fn configure(&self, instance: &GatewayInstance) -> Result<(), PlaneError> {
        // 0 was never a port: the one that was chosen stays.
        let port = if instance.listen_port == 0 { self.listen_port() } else { instance.listen_port };
        let configured = self.exchange.configure(&instance.addresses, instance.policy.into(), port).await;
        configured.map_err(|error| cannot_listen(instance, self.bind, error))?;
        self.port.store(port, Ordering::Relaxed);
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        self.exchange.members().await.into_iter().map(|member| device_peer(&self.id, member)).collect()
    }

    async fn set_peer(&self, peer: &GatewayPeer, heard: Option<SocketAddr>) -> Result<(), PlaneError> {
        let member = self.member(peer).await?;
        let mut keys = self.keys.lock().await;
        if let Some(before) = keys.get(&peer.id).filter(|before| **before != peer.public_key) {
            let removed = self.exchange.remove(before.as_bytes()).await;
            removed.map_err(|error| self.error("a peer's old key is not removed", error))?;
        }
        let set = self.exchange.set(member, heard).await;
        set.map_err(|error| self.error(&format!("peer {} is not set", peer.id), error))?;
        keys.insert(peer.id.clone(), peer.public_key);
        Ok(())
    }

    async fn remove_peer(&self, public_key: &PublicKey, peer: Option<&PeerId>) -> Result<(), PlaneError> {
        let mut keys = self.keys.lock().await;
        let removed = self.exchange.remove(public_key.as_bytes()).await;
        removed.map_err(|error| self.error("a peer is not removed", error))?;
        if let Some(peer) = peer.filter(|peer| keys.get(*peer) == Some(public_key)) {
            keys.remove(peer);
        }
        Ok(())
    }
}

impl fmt::Debug for RootlessPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootlessPlane").field("id", &self.id).field("port", &self.port).finish_non_exhaustive()
    }
}

impl From<Policy> for Rules {
    fn from(policy: Policy) -> Self {
        Self { client_to_client: policy.client_to_client, site_to_site: policy.site_to_site }
    }
}

fn side(kind: PeerKind) -> Side {
    match kind {
        PeerKind::Client => Side::Client,
        PeerKind::Site | PeerKind::Remote => Side::Site,
    }
}

fn device_peer(instance: &InstanceId, member: MemberState) -> Result<DevicePeer, PlaneError> {
    let on = member.on_device;
    let public_key = PublicKey::from_bytes(on.public_key).map_err(|error| PlaneError {
        what: format!("instance {instance}: the device has a peer without a key"),
        source: Some(Box::new(error)),
    })?;
    Ok(DevicePeer {
        public_key,
        allowed: on.allowed,
        keepalive_secs: on.keepalive_secs.unwrap_or(0),
        endpoint: on.endpoint,
        handshake: member.handshake,
        preshared_key: on.preshared_key.map(|key| preshared_digest(key.expose())),
        rx_bytes: on.rx,
        tx_bytes: on.tx,
    })
}

fn cannot_listen(instance: &GatewayInstance, bind: IpAddr, error: Error) -> PlaneError {
    let (id, port) = (&instance.id, instance.listen_port);
    PlaneError {
        what: format!("instance {id}: cannot listen on UDP port {port} of {bind}"),
        source: Some(Box::new(error)),
    }
}
