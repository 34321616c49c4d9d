//! One instance's data plane in its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::Mutex;

use super::device::{Device, Maker};
use super::in_instance;
use super::state::{Applied, Place, State};
use crate::api::{GatewayDevice, GatewayInstance, GatewayPeer, PeerId};
use crate::domain::{Endpoint, PublicKey};
use crate::gateway::plane::firewall::{self, Elements};
use crate::gateway::plane::host::{self, Uplink};
use crate::gateway::plane::links::Route;
use crate::gateway::plane::tunnel::{self, TunnelPeer};
use crate::gateway::plane::{DevicePeer, Leg, Plane, PlaneError, allowed, legs};
use crate::wireguard::keys::SecretKey;

/// Routes to peers' subnets stand before pushed ones of the same prefix.
const PEER_METRIC: u32 = 10;

/// A plane at work.
#[derive(Debug)]
pub(super) struct RootedPlane {
    pub maker: Maker,
    pub uplink: Uplink,
    /// The tunnel has IPv6.
    pub v6: bool,
    /// The device that new peers get.
    pub main: AtomicU32,
    pub devices: RwLock<BTreeMap<u32, Arc<Device>>>,
    /// Devices that an earlier run left and nobody added yet.
    pub left: Mutex<BTreeSet<u32>>,
    /// Changes take turns: the lock is held while one is made, and readers do not need it.
    pub state: Mutex<State>,
}

#[async_trait]
impl Plane for RootedPlane {
    fn listen_port(&self) -> u16 {
        self.device(self.main.load(Ordering::Relaxed)).map_or(0, |device| device.tunnel.listen_port())
    }

    async fn devices(&self) -> Vec<(u32, u16)> {
        let left = self.left.lock().await.clone();
        let there = self.all().into_iter().map(|(number, device)| (number, device.tunnel.listen_port()));
        there.chain(left.into_iter().map(|number| (number, 0))).collect()
    }

    async fn set_device(&self, device: &GatewayDevice, key: &SecretKey) -> Result<u16, PlaneError> {
        let mut state = self.state.lock().await;
        let set = self.set_device_in(&mut state, device, key).await;
        set.map_err(|error| in_instance(&self.maker.id, error))
    }

    async fn remove_device(&self, device: u32) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let removed = self.remove_device_in(&mut state, device).await;
        removed.map_err(|error| in_instance(&self.maker.id, error))
    }

    async fn configure(&self, instance: &GatewayInstance) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let configured = self.configure_in(&mut state, instance).await;
        configured.map_err(|error| in_instance(&self.maker.id, error))
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        let mut found = Vec::new();
        for device in self.all().into_values() {
            found.extend(device.tunnel.peers().await.map_err(|error| in_instance(&self.maker.id, error))?);
        }
        Ok(found)
    }

    async fn set_peer(&self, peer: &GatewayPeer, heard: Option<SocketAddr>) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        // The one that is sent by comes last: until then the other one is.
        let mut places: Vec<Leg> = legs(peer).collect();
        places.sort_by_key(|leg| leg.sends);
        for leg in places {
            let heard = heard.filter(|_| leg.sends);
            let set = self.set_leg(&mut state, peer, leg, heard).await;
            set.map_err(|error| in_instance(&self.maker.id, error))?;
        }
        Ok(())
    }

    async fn remove_peer(&self, device: u32, public_key: &PublicKey, _peer: Option<&PeerId>) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let removed = self.remove_leg(&mut state, (device, *public_key)).await;
        removed.map_err(|error| in_instance(&self.maker.id, error))
    }
}

impl RootedPlane {
    fn all(&self) -> BTreeMap<u32, Arc<Device>> {
        self.devices.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn device(&self, number: u32) -> Option<Arc<Device>> {
        self.devices.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn need(&self, number: u32) -> Result<Arc<Device>, PlaneError> {
        self.device(number).ok_or_else(|| PlaneError::new(format!("there is no device {number}")))
    }

    fn is_several(&self) -> bool {
        self.devices.read().unwrap_or_else(PoisonError::into_inner).len() > 1
    }

    /// Whether a device is there and can be read.
    pub async fn answers(&self, number: u32) -> bool {
        self.device(number).is_some() && self.peers().await.is_ok()
    }

    /// Ends what ends with the process.
    pub async fn stop(&self) {
        for device in self.all().into_values() {
            device.tunnel.stop().await;
        }
    }

    async fn set_device_in(
        &self,
        state: &mut State,
        wanted: &GatewayDevice,
        key: &SecretKey,
    ) -> Result<u16, PlaneError> {
        if let Some(device) = self.device(wanted.device) {
            device.tunnel.set_listen_port(wanted.listen_port).await?;
            return Ok(device.tunnel.listen_port());
        }
        let made = self.maker.make(state, wanted.device, key, wanted.listen_port).await?;
        let port = made.tunnel.listen_port();
        self.maker.links.set_addresses(made.link, &state.addresses.iter().copied().collect()).await?;
        self.left.lock().await.remove(&wanted.device);
        let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
        devices.insert(wanted.device, Arc::new(made));
        Ok(port)
    }

    async fn remove_device_in(&self, state: &mut State, number: u32) -> Result<(), PlaneError> {
        if number == self.main.load(Ordering::Relaxed) {
            return Err(PlaneError::new(format!("device {number} is the one that new peers get")));
        }
        if let Some(device) = self.device(number) {
            device.tunnel.stop().await;
        }
        self.maker.remove(number).await?;
        state.forget(number);
        self.left.lock().await.remove(&number);
        self.devices.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        Ok(())
    }

    async fn configure_in(&self, state: &mut State, instance: &GatewayInstance) -> Result<(), PlaneError> {
        let main = self.need(instance.device)?;
        if instance.listen_port != 0 {
            main.tunnel.set_listen_port(instance.listen_port).await?;
        }
        self.main.store(instance.device, Ordering::Relaxed);
        state.addresses.clone_from(&instance.addresses);
        for device in self.all().into_values() {
            self.maker.links.set_addresses(device.link, &instance.addresses.iter().copied().collect()).await?;
        }
        firewall::instance_script(instance).inside(&self.maker.namespace).await?;
        let pushed: Vec<IpNet> = instance.pushed_routes.iter().collect();
        if !pushed.is_empty() {
            host::forward(self.v6)?;
        }
        self.uplink.route(&self.maker.links, &pushed).await?;
        self.switch(state, !instance.suspended).await
    }

    async fn switch(&self, state: &mut State, running: bool) -> Result<(), PlaneError> {
        if running == state.running {
            return Ok(());
        }
        for device in self.all().into_values() {
            device.tunnel.set_running(running).await?;
        }
        if running {
            // A link that was off lost its routes.
            for (net, number) in state.all_routed(self.is_several()) {
                self.make_routes(&*self.need(number)?, [net]).await?;
            }
        }
        state.running = running;
        Ok(())
    }

    /// WireGuard first: afterwards nothing of the peer's passes any more on this device.
    async fn remove_leg(&self, state: &mut State, place: Place) -> Result<(), PlaneError> {
        let (number, public_key) = place;
        let Some(device) = self.device(number) else {
            state.peers.remove(&place);
            return Ok(());
        };
        device.tunnel.remove_peer(&public_key).await?;
        let Some(gone) = state.peers.remove(&place) else {
            return Ok(());
        };
        self.drop_routes(state, number, &device, gone.allowed).await?;
        let mine = state.still_of(&place, &gone.elements);
        firewall::removal_script(&mine).inside(&self.maker.namespace).await
    }

    /// Rules first, then WireGuard, then routes: a peer never passes before its rules stand.
    async fn set_leg(
        &self,
        state: &mut State,
        peer: &GatewayPeer,
        leg: Leg,
        heard: Option<SocketAddr>,
    ) -> Result<(), PlaneError> {
        let (place, on) = (leg.place(), self.need(leg.device)?);
        if let Some(old) = state.old_key(peer, leg) {
            self.remove_leg(state, (leg.device, old)).await?;
        }
        let elements = Elements::of(peer);
        if elements.any_full() {
            host::forward(self.v6)?;
        }
        let (endpoint, call) = endpoint(peer, state.peers.get(&place)).await;
        let old = state.peers.get(&place).map(|before| before.allowed.clone()).unwrap_or_default();
        let there = state.elements(peer, leg);
        let mine = state.still_of(&place, &there);
        firewall::peer_script(&elements, &mine).inside(&self.maker.namespace).await?;
        // Should the rest fail, the next attempt finds all that may be there.
        let mut pending = Applied::of(peer, leg.sends, None);
        pending.elements = elements.and(&there);
        pending.allowed.extend(old.iter().filter(|net| !pending.allowed.contains(net)).copied().collect::<Vec<_>>());
        state.peers.insert(place, pending);
        let nets = allowed(peer);
        let device = TunnelPeer {
            public_key: leg.public_key,
            preshared_key: tunnel::preshared_key(peer)?,
            allowed: nets.clone(),
            endpoint: call.or(heard),
            keepalive_secs: peer.keepalive_secs,
        };
        on.tunnel.set_peer(&device).await?;
        if state.running && leg.sends {
            self.make_routes(&on, state.routed(&nets, self.is_several())).await?;
        }
        state.peers.insert(place, Applied::of(peer, leg.sends, endpoint));
        let given_up: Vec<IpNet> = old.into_iter().filter(|net| !nets.contains(net)).collect();
        self.drop_routes(state, leg.device, &on, given_up).await
    }

    async fn make_routes(&self, device: &Device, nets: impl IntoIterator<Item = IpNet>) -> Result<(), PlaneError> {
        for net in nets {
            self.maker.links.set_route(Route { net, link: device.link, via: None, metric: PEER_METRIC }).await?;
        }
        Ok(())
    }

    /// Removes the routes among `nets` to a device that nobody on it has any more. One that leads to another device stays: it is
    /// another route by now.
    async fn drop_routes(
        &self,
        state: &State,
        number: u32,
        device: &Device,
        nets: Vec<IpNet>,
    ) -> Result<(), PlaneError> {
        let gone: BTreeSet<IpNet> = nets.into_iter().filter(|net| !state.has(number, net)).collect();
        for net in gone {
            self.maker.links.remove_route(Route { net, link: device.link, via: None, metric: PEER_METRIC }).await?;
        }
        Ok(())
    }
}

/// Where a peer is to be called, and whether WireGuard has to be told: only of a place that is wanted anew.
async fn endpoint(
    peer: &GatewayPeer,
    before: Option<&Applied>,
) -> (Option<(Endpoint, SocketAddr)>, Option<SocketAddr>) {
    let Some(wanted) = &peer.endpoint else {
        return (None, None);
    };
    match before {
        Some(Applied { endpoint: Some((name, address)), .. }) if name == wanted => {
            (Some((name.clone(), *address)), None)
        }
        Some(Applied { heard: Some(address), .. }) => (Some((wanted.clone(), *address)), None),
        _ => {
            let address = tunnel::resolve(wanted).await;
            (address.map(|address| (wanted.clone(), address)), address)
        }
    }
}
