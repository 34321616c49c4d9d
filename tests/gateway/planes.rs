//! Data planes that do nothing but remember, and misbehave on demand. Like a kernel's, their devices outlive the gateway.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use sitepeer::api::{Backend, GatewayInstance, GatewayPeer, InstanceId, PeerId};
use sitepeer::domain::{PresharedKey, PublicKey};
use sitepeer::gateway::plane::{DevicePeer, Plane, PlaneError, Planes, allowed, preshared_digest};
use sitepeer::wireguard::keys::SecretKey;

#[derive(Debug, Clone)]
pub struct Device {
    pub key: SecretKey,
    pub instance: GatewayInstance,
    pub peers: BTreeMap<PublicKey, DevicePeer>,
}

#[derive(Debug, Default)]
pub struct World {
    pub devices: BTreeMap<InstanceId, Device>,
    /// Such as `raise inst1`, `set inst1 peer0002`.
    pub calls: Vec<String>,
    /// Calls that fail.
    pub fail: HashSet<String>,
    /// Calls that are said to have been done, and were not.
    pub lie: HashSet<String>,
    /// Ports that other processes have.
    pub taken: HashSet<u16>,
    /// Calls that never end.
    pub hang: HashSet<String>,
}

impl World {
    fn port_is_free(&self, instance: &GatewayInstance) -> Result<(), PlaneError> {
        let has =
            |device: &Device| device.instance.listen_port == instance.listen_port && device.instance.id != instance.id;
        if !self.taken.contains(&instance.listen_port) && !self.devices.values().any(has) {
            return Ok(());
        }
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        Err(PlaneError { what: format!("the port of {} is taken", instance.id), source: Some(source.into()) })
    }
}

type Boundary = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub struct FakePlanes {
    world: Mutex<World>,
    pub boundary: Mutex<Option<Boundary>>,
}

impl std::fmt::Debug for FakePlanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakePlanes")
    }
}

impl FakePlanes {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn peers(&self, instance: &str) -> Vec<PublicKey> {
        let world = self.world();
        let device = world.devices.get(&instance.parse().unwrap());
        device.map(|device| device.peers.keys().copied().collect()).unwrap_or_default()
    }

    /// The calls so far, forgotten here.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world().calls)
    }

    /// Notes a call; returns whether it is to be carried out.
    async fn call(&self, call: String) -> Result<bool, PlaneError> {
        if let Some(boundary) = &*self.boundary.lock().unwrap() {
            boundary();
        }
        let (hangs, fails, lies) = {
            let mut world = self.world();
            world.calls.push(call.clone());
            (world.hang.contains(&call), world.fail.contains(&call), world.lie.contains(&call))
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        if fails { Err(PlaneError { what: format!("{call} fails as told"), source: None }) } else { Ok(!lies) }
    }
}

/// A handle that gateways take: the planes stay with the test.
#[derive(Debug, Clone)]
pub struct Handle(pub Arc<FakePlanes>);

#[async_trait]
impl Planes for Handle {
    fn backend(&self) -> Backend {
        Backend::Kernel
    }

    async fn raise(&self, instance: &GatewayInstance, key: &SecretKey) -> Result<Arc<dyn Plane>, PlaneError> {
        self.0.call(format!("raise {}", instance.id)).await?;
        let mut world = self.0.world();
        world.port_is_free(instance)?;
        let fresh = Device { key: key.clone(), instance: instance.clone(), peers: BTreeMap::new() };
        let device = world.devices.entry(instance.id.clone()).or_insert(fresh);
        device.instance = instance.clone();
        Ok(Arc::new(FakePlane { planes: Arc::clone(&self.0), id: instance.id.clone() }))
    }

    async fn found(&self) -> Result<Vec<InstanceId>, PlaneError> {
        Ok(self.0.world().devices.keys().cloned().collect())
    }

    async fn remove(&self, instance: &InstanceId) -> Result<(), PlaneError> {
        self.0.call(format!("remove {instance}")).await?;
        self.0.world().devices.remove(instance);
        Ok(())
    }
}

#[derive(Debug)]
struct FakePlane {
    planes: Arc<FakePlanes>,
    id: InstanceId,
}

impl FakePlane {
    fn with<T>(&self, change: impl FnOnce(&mut Device) -> T) -> Result<T, PlaneError> {
        let mut world = self.planes.world();
        let device = world.devices.get_mut(&self.id);
        device.map(change).ok_or_else(|| PlaneError { what: format!("{} is gone", self.id), source: None })
    }
}

#[async_trait]
impl Plane for FakePlane {
    fn listen_port(&self) -> u16 {
        self.with(|device| device.instance.listen_port).unwrap_or_default()
    }

    async fn configure(&self, instance: &GatewayInstance) -> Result<(), PlaneError> {
        self.planes.call(format!("configure {}", self.id)).await?;
        self.planes.world().port_is_free(instance)?;
        self.with(|device| device.instance = instance.clone())
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        if self.planes.world().fail.contains(&format!("peers {}", self.id)) {
            return Err(PlaneError { what: format!("peers {} fails as told", self.id), source: None });
        }
        self.with(|device| device.peers.values().cloned().collect())
    }

    async fn set_peer(&self, peer: &GatewayPeer, heard: Option<SocketAddr>) -> Result<(), PlaneError> {
        if !self.planes.call(format!("set {} {}", self.id, peer.id)).await? {
            return Ok(());
        }
        self.with(|device| {
            set(&mut device.peers, peer);
            if let Some(device) = device.peers.get_mut(&peer.public_key) {
                device.endpoint = device.endpoint.or(heard);
            }
        })
    }

    async fn remove_peer(&self, public_key: &PublicKey, peer: Option<&PeerId>) -> Result<(), PlaneError> {
        let name = peer.map_or_else(|| "nobody".to_owned(), ToString::to_string);
        self.planes.call(format!("unset {} {name}", self.id)).await?;
        self.with(|device| drop(device.peers.remove(public_key)))
    }
}

/// What a device does with a peer that is set: allowed addresses move to whoever is set last.
pub fn set(peers: &mut BTreeMap<PublicKey, DevicePeer>, peer: &GatewayPeer) {
    let nets = allowed(peer);
    for (_, other) in peers.iter_mut().filter(|(key, _)| **key != peer.public_key) {
        other.allowed.retain(|net| !nets.contains(net));
    }
    let preshared =
        peer.preshared_key.as_ref().map(|key| preshared_digest(key.expose().parse::<PresharedKey>().unwrap().expose()));
    let before = peers.get(&peer.public_key).cloned();
    let called = peer.endpoint.as_ref().map(|endpoint| format!("192.0.2.9:{}", endpoint.port).parse().unwrap());
    let device = DevicePeer {
        public_key: peer.public_key,
        allowed: nets,
        keepalive_secs: peer.keepalive_secs,
        endpoint: before.as_ref().and_then(|before| before.endpoint).or(called),
        handshake: before.as_ref().and_then(|before| before.handshake),
        preshared_key: preshared,
        rx_bytes: before.as_ref().map_or(0, |before| before.rx_bytes),
        tx_bytes: before.as_ref().map_or(0, |before| before.tx_bytes),
    };
    peers.insert(peer.public_key, device);
}
