//! Data planes that do nothing but remember, and misbehave on demand. Like a kernel's, their devices outlive the gateway.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use sitepeer::api::{Backend, GatewayDevice, GatewayInstance, GatewayPeer, InstanceId, PeerId};
use sitepeer::domain::{PresharedKey, PublicKey};
use sitepeer::gateway::plane::{DevicePeer, Leg, Plane, PlaneError, Planes, allowed, legs, preshared_digest};
use sitepeer::wireguard::keys::SecretKey;

#[derive(Debug, Clone)]
pub struct Device {
    pub key: SecretKey,
    pub instance: GatewayInstance,
    /// Devices and their ports.
    pub devices: BTreeMap<u32, u16>,
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
        self.is_free(&instance.id, instance.device, instance.listen_port)
    }

    fn is_free(&self, id: &InstanceId, number: u32, port: u16) -> Result<(), PlaneError> {
        let mut all = self.devices.iter().flat_map(|(id, one)| one.devices.iter().map(move |(n, port)| (id, n, port)));
        if !self.taken.contains(&port) && !all.any(|(of, n, other)| *other == port && (of, *n) != (id, number)) {
            return Ok(());
        }
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        Err(PlaneError { what: format!("the port of {id} is taken"), source: Some(source.into()) })
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
        let (devices, peers) = (BTreeMap::new(), BTreeMap::new());
        let fresh = Device { key: key.clone(), instance: instance.clone(), devices, peers };
        let device = world.devices.entry(instance.id.clone()).or_insert(fresh);
        device.configure(instance);
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
        self.with(|device| device.configure(instance))
    }

    async fn devices(&self) -> Vec<(u32, u16)> {
        self.with(|device| device.devices.iter().map(|(n, port)| (*n, *port)).collect()).unwrap_or_default()
    }

    async fn set_device(&self, device: &GatewayDevice, _key: &SecretKey) -> Result<u16, PlaneError> {
        self.planes.call(format!("device {} {}", self.id, device.device)).await?;
        self.planes.world().is_free(&self.id, device.device, device.listen_port)?;
        self.with(|one| one.devices.insert(device.device, device.listen_port))?;
        Ok(device.listen_port)
    }

    async fn remove_device(&self, device: u32) -> Result<(), PlaneError> {
        self.planes.call(format!("undevice {} {device}", self.id)).await?;
        self.with(|one| {
            one.devices.remove(&device);
            one.peers.retain(|_, peer| peer.device != device);
        })
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

    async fn remove_peer(&self, _: u32, public_key: &PublicKey, peer: Option<&PeerId>) -> Result<(), PlaneError> {
        let name = peer.map_or_else(|| "nobody".to_owned(), ToString::to_string);
        self.planes.call(format!("unset {} {name}", self.id)).await?;
        self.with(|device| drop(device.peers.remove(public_key)))
    }
}

impl Device {
    fn configure(&mut self, instance: &GatewayInstance) {
        self.devices.insert(instance.device, instance.listen_port);
        self.instance = instance.clone();
    }
}

/// What devices do with a peer that is set.
pub fn set(peers: &mut BTreeMap<PublicKey, DevicePeer>, peer: &GatewayPeer) {
    legs(peer).for_each(|leg| set_leg(peers, peer, leg));
}

/// Allowed addresses move to whoever is set last on a device.
fn set_leg(peers: &mut BTreeMap<PublicKey, DevicePeer>, peer: &GatewayPeer, leg: Leg) {
    let nets = allowed(peer);
    let others = peers.values_mut().filter(|other| other.device == leg.device && other.public_key != leg.public_key);
    for other in others {
        other.allowed.retain(|net| !nets.contains(net));
    }
    let preshared =
        peer.preshared_key.as_ref().map(|key| preshared_digest(key.expose().parse::<PresharedKey>().unwrap().expose()));
    let before = peers.get(&leg.public_key).cloned();
    let called = peer.endpoint.as_ref().map(|endpoint| format!("192.0.2.9:{}", endpoint.port).parse().unwrap());
    let device = DevicePeer {
        device: leg.device,
        public_key: leg.public_key,
        allowed: nets,
        keepalive_secs: peer.keepalive_secs,
        endpoint: before.as_ref().and_then(|before| before.endpoint).or(called),
        handshake: before.as_ref().and_then(|before| before.handshake),
        preshared_key: preshared,
        rx_bytes: before.as_ref().map_or(0, |before| before.rx_bytes),
        tx_bytes: before.as_ref().map_or(0, |before| before.tx_bytes),
    };
    peers.insert(leg.public_key, device);
}
