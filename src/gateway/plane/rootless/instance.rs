//! One instance's plane without root.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::api::{GatewayDevice, GatewayInstance, GatewayPeer, InstanceId, PeerId, PeerKind, Policy};
use crate::domain::{Endpoint, Host, PresharedKey, PublicKey};
use crate::gateway::plane::{DevicePeer, Leg, Plane, PlaneError, allowed, legs, preshared_digest};
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
    /// The device that new peers get, and its port.
    main: AtomicU32,
    port: AtomicU16,
    exchange: Exchange,
    known: Mutex<Known>,
}

/// What was set. Held while it is changed.
#[derive(Default)]
struct Known {
    /// The public keys of the devices.
    devices: BTreeMap<u32, [u8; 32]>,
    /// Keys by peer and device, so that a peer with a new key loses its old one.
    keys: HashMap<(PeerId, u32), PublicKey>,
}

impl RootlessPlane {
    pub async fn start(bind: IpAddr, instance: &GatewayInstance, key: &SecretKey) -> Result<Self, PlaneError> {
        let (network, rules) = (Arc::new(Network::default()), instance.policy.into());
        let settings = settings(bind, instance.listen_port, key);
        let exchange = Exchange::start(instance.device, &settings, instance.addresses.clone(), rules, network).await;
        let exchange = exchange.map_err(|error| cannot_listen(&instance.id, instance.listen_port, bind, error))?;
        let port = exchange.socket(instance.device).await.map_or(instance.listen_port, |socket| socket.port());
        let known = Known { devices: [(instance.device, key.public())].into(), keys: HashMap::new() };
        Ok(Self {
            id: instance.id.clone(),
            bind,
            main: AtomicU32::new(instance.device),
            port: AtomicU16::new(port),
            exchange,
            known: Mutex::new(known),
        })
    }

    pub async fn has_key(&self, device: u32, key: &SecretKey) -> bool {
        self.known.lock().await.devices.get(&device) == Some(&key.public())
    }

    pub async fn stop(&self) {
        self.exchange.stop().await;
    }

    async fn forget(&self, known: &mut Known, device: u32) {
        self.exchange.remove_device(device).await;
        known.devices.remove(&device);
        known.keys.retain(|(_, on), _| *on != device);
    }

    fn no_device(&self, device: u32) -> PlaneError {
        PlaneError { what: format!("instance {} has no device {device}", self.id), source: None }
    }

    fn error(&self, what: &str, error: Error) -> PlaneError {
        PlaneError { what: format!("instance {}: {what}", self.id), source: Some(Box::new(error)) }
    }

    /// A peer on one device.
    async fn member(&self, peer: &GatewayPeer, leg: Leg) -> Result<Member, PlaneError> {
        let preshared = peer.preshared_key.as_ref().map(|key| key.expose().parse::<PresharedKey>()).transpose();
        let preshared = preshared.map_err(|error| PlaneError {
            what: format!("peer {} of instance {}: its preshared key is none", peer.id, self.id),
            source: Some(Box::new(error)),
        })?;
        let settings = PeerSettings {
            public_key: *leg.public_key.as_bytes(),
            preshared_key: preshared.map(|key| SecretKey::from(*key.expose())),
            endpoint: match &peer.endpoint {
                Some(endpoint) => self.resolve(endpoint, &peer.id).await,
                None => None,
            },
            allowed: allowed(peer),
            keepalive_secs: (peer.keepalive_secs > 0).then_some(peer.keepalive_secs),
        };
        Ok(Member { device: leg.device, settings, side: side(peer.kind), sends: leg.sends })
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

    async fn devices(&self) -> Vec<(u32, u16)> {
        self.exchange.devices().await
    }

    async fn set_device(&self, device: &GatewayDevice, key: &SecretKey) -> Result<u16, PlaneError> {
        let number = device.device;
        let mut known = self.known.lock().await;
        if known.devices.get(&number).is_some_and(|before| *before != key.public()) {
            self.forget(&mut known, number).await;
        }
        let port = if known.devices.contains_key(&number) {
            self.exchange.listen(number, device.listen_port).await.map(|_| device.listen_port)
        } else {
            self.exchange.add_device(number, &settings(self.bind, device.listen_port, key)).await
        };
        let port = port.map_err(|error| cannot_listen(&self.id, device.listen_port, self.bind, error))?;
        known.devices.insert(number, key.public());
        Ok(port)
    }

    async fn remove_device(&self, device: u32) -> Result<(), PlaneError> {
        if device == self.main.load(Ordering::Relaxed) {
            let what = format!("device {device} of instance {} is the one that new peers get", self.id);
            return Err(PlaneError { what, source: None });
        }
        let mut known = self.known.lock().await;
        self.forget(&mut known, device).await;
        Ok(())
    }

    async fn configure(&self, instance: &GatewayInstance) -> Result<(), PlaneError> {
        let known = self.known.lock().await;
        let port = match self.exchange.socket(instance.device).await {
            // 0 was never a port: the one that was chosen stays.
            Some(socket) if instance.listen_port == 0 => socket.port(),
            _ => instance.listen_port,
        };
        let listens = self.exchange.listen(instance.device, port).await;
        if !listens.map_err(|error| cannot_listen(&instance.id, port, self.bind, error))? {
            return Err(self.no_device(instance.device));
        }
        self.exchange.configure(&instance.addresses, instance.policy.into());
        self.main.store(instance.device, Ordering::Relaxed);
        self.port.store(port, Ordering::Relaxed);
        drop(known);
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        self.exchange.members().await.into_iter().map(|member| device_peer(&self.id, member)).collect()
    }

    async fn set_peer(&self, peer: &GatewayPeer, heard: Option<SocketAddr>) -> Result<(), PlaneError> {
        // The one that is sent by comes last: until then the other one is.
        let mut places: Vec<Leg> = legs(peer).collect();
        places.sort_by_key(|leg| leg.sends);
        for leg in places {
            let member = self.member(peer, leg).await?;
            let mut known = self.known.lock().await;
            let place = (peer.id.clone(), leg.device);
            if let Some(before) = known.keys.get(&place).filter(|before| **before != leg.public_key) {
                let removed = self.exchange.remove(leg.device, before.as_bytes()).await;
                removed.map_err(|error| self.error("a peer's old key is not removed", error))?;
            }
            let heard = heard.filter(|_| leg.sends);
            let set = self.exchange.set(member, heard).await;
            if !set.map_err(|error| self.error(&format!("peer {} is not set", peer.id), error))? {
                return Err(self.no_device(leg.device));
            }
            known.keys.insert(place, leg.public_key);
        }
        Ok(())
    }

    async fn remove_peer(&self, device: u32, public_key: &PublicKey, peer: Option<&PeerId>) -> Result<(), PlaneError> {
        let mut known = self.known.lock().await;
        let removed = self.exchange.remove(device, public_key.as_bytes()).await;
        removed.map_err(|error| self.error("a peer is not removed", error))?;
        if let Some(peer) = peer {
            let place = (peer.clone(), device);
            if known.keys.get(&place) == Some(public_key) {
                known.keys.remove(&place);
            }
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
        device: member.device,
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

/// How a device is set up.
fn settings(bind: IpAddr, port: u16, key: &SecretKey) -> DeviceSettings {
    DeviceSettings { bind, port, taken: TakenPort::Refuse, private_key: key.clone(), mtu: MTU }
}

fn cannot_listen(id: &InstanceId, port: u16, bind: IpAddr, error: Error) -> PlaneError {
    PlaneError {
        what: format!("instance {id}: cannot listen on UDP port {port} of {bind}"),
        source: Some(Box::new(error)),
    }
}
