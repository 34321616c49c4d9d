//! One instance's data plane in its namespace.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::Mutex;

use super::in_instance;
use super::state::{Applied, State};
use crate::api::{GatewayInstance, GatewayPeer, InstanceId, PeerId};
use crate::domain::{Endpoint, PublicKey};
use crate::gateway::plane::firewall::{self, Elements};
use crate::gateway::plane::host::{self, Uplink};
use crate::gateway::plane::links::{Link, Links, Route};
use crate::gateway::plane::namespace::Namespace;
use crate::gateway::plane::tunnel::{self, Tunnel, TunnelPeer};
use crate::gateway::plane::{DevicePeer, Plane, PlaneError, allowed};

/// Routes to peers' subnets stand before pushed ones of the same prefix.
const PEER_METRIC: u32 = 10;

/// A plane at work.
#[derive(Debug)]
pub(super) struct RootedPlane {
    pub id: InstanceId,
    pub namespace: Namespace,
    pub links: Links,
    pub link: Link,
    pub uplink: Uplink,
    /// The tunnel has IPv6.
    pub v6: bool,
    pub tunnel: Box<dyn Tunnel>,
    /// Changes take turns: the lock is held while one is made, and readers do not need it.
    pub state: Mutex<State>,
}

#[async_trait]
impl Plane for RootedPlane {
    fn listen_port(&self) -> u16 {
        self.tunnel.listen_port()
    }

    async fn configure(&self, instance: &GatewayInstance) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let configured = self.configure_in(&mut state, instance).await;
        configured.map_err(|error| in_instance(&self.id, error))
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        self.tunnel.peers().await.map_err(|error| in_instance(&self.id, error))
    }

    async fn set_peer(&self, peer: &GatewayPeer, heard: Option<SocketAddr>) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let set = self.set_peer_in(&mut state, peer, heard).await;
        set.map_err(|error| in_instance(&self.id, error))
    }

    async fn remove_peer(&self, public_key: &PublicKey, _peer: Option<&PeerId>) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let removed = self.remove_peer_in(&mut state, public_key).await;
        removed.map_err(|error| in_instance(&self.id, error))
    }
}

impl RootedPlane {
    async fn configure_in(&self, state: &mut State, instance: &GatewayInstance) -> Result<(), PlaneError> {
        if instance.listen_port != 0 {
            self.tunnel.set_listen_port(instance.listen_port).await?;
        }
        self.links.set_addresses(self.link, &instance.addresses.iter().copied().collect()).await?;
        state.networks = instance.addresses.iter().map(IpNet::trunc).collect();
        firewall::instance_script(instance).inside(&self.namespace).await?;
        let pushed: Vec<IpNet> = instance.pushed_routes.iter().collect();
        if !pushed.is_empty() {
            host::forward(self.v6)?;
        }
        self.uplink.route(&self.links, &pushed).await?;
        self.switch(state, !instance.suspended).await
    }

    async fn switch(&self, state: &mut State, running: bool) -> Result<(), PlaneError> {
        if running == state.running {
            return Ok(());
        }
        self.tunnel.set_running(running).await?;
        if running {
            // A link that was off lost its routes.
            self.make_routes(state.all_routed()).await?;
        }
        state.running = running;
        Ok(())
    }

    /// WireGuard first: afterwards nothing of the peer's passes any more.
    async fn remove_peer_in(&self, state: &mut State, public_key: &PublicKey) -> Result<(), PlaneError> {
        self.tunnel.remove_peer(public_key).await?;
        let Some(gone) = state.peers.remove(public_key) else {
            return Ok(());
        };
        self.drop_routes(state, state.routed(&gone.allowed)).await?;
        let mine = state.still_of(public_key, &gone.elements);
        firewall::removal_script(&mine).inside(&self.namespace).await
    }

    /// Rules first, then WireGuard, then routes: a peer never passes before its rules stand.
    async fn set_peer_in(
        &self,
        state: &mut State,
        peer: &GatewayPeer,
        heard: Option<SocketAddr>,
    ) -> Result<(), PlaneError> {
        let key = peer.public_key;
        if let Some(old) = state.old_key(peer) {
            self.remove_peer_in(state, &old).await?;
        }
        let elements = Elements::of(peer);
        if elements.any_full() {
            host::forward(self.v6)?;
        }
        let (endpoint, call) = endpoint(peer, state.peers.get(&key)).await;
        let old = state.peers.get(&key).map(|before| before.allowed.clone()).unwrap_or_default();
        let there = state.elements(peer);
        let mine = state.still_of(&key, &there);
        firewall::peer_script(&elements, &mine).inside(&self.namespace).await?;
        // Should the rest fail, the next attempt finds all that may be there.
        let mut pending = Applied::of(peer, None);
        pending.elements = elements.and(&there);
        pending.allowed.extend(old.iter().filter(|net| !pending.allowed.contains(net)).copied().collect::<Vec<_>>());
        state.peers.insert(key, pending);
        let nets = allowed(peer);
        let device = TunnelPeer {
            public_key: key,
            preshared_key: tunnel::preshared_key(peer)?,
            allowed: nets.clone(),
            endpoint: call.or(heard),
            keepalive_secs: peer.keepalive_secs,
        };
        self.tunnel.set_peer(&device).await?;
        if state.running {
            self.make_routes(state.routed(&nets)).await?;
        }
        state.peers.insert(key, Applied::of(peer, endpoint));
        let given_up: Vec<IpNet> = old.into_iter().filter(|net| !nets.contains(net)).collect();
        self.drop_routes(state, state.routed(&given_up)).await
    }

    async fn make_routes(&self, nets: impl IntoIterator<Item = IpNet>) -> Result<(), PlaneError> {
        for net in nets {
            self.links.set_route(Route { net, link: self.link, via: None, metric: PEER_METRIC }).await?;
        }
        Ok(())
    }

    /// Removes the routes among `nets` that no peer has any more.
    async fn drop_routes(&self, state: &State, nets: Vec<IpNet>) -> Result<(), PlaneError> {
        let gone: BTreeSet<IpNet> = nets.into_iter().filter(|net| !state.has(net)).collect();
        for net in gone {
            self.links.remove_route(Route { net, link: self.link, via: None, metric: PEER_METRIC }).await?;
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
