//! The two backends that need root: what they share is here, the WireGuard device itself in `kernel` and `userspace`.
//!
//! ```text
//! host's namespace            instance's namespace `sitepeer-<id>`
//! UDP socket ───────────────▶ wg0 ─┬─ routes to site subnets
//! sp-<id> ◀── veth ─────────▶ uplink0 ── pushed routes, full tunnels
//! nft table `sitepeer`         nft table `sitepeer`
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::Mutex;

use super::firewall::{self, Known};
use super::host::{self, MTU, Uplink};
use super::kernel::{self, Kernel};
use super::links::{Link, Links, Route};
use super::namespace::{self, Namespace};
use super::trouble::Doing;
use super::tunnel::{self, NAME, Tunnel, TunnelPeer};
use super::userspace::Userspace;
use super::{DevicePeer, Plane, PlaneError, Planes};
use crate::api::{Backend, GatewayInstance, GatewayPeer, InstanceId, PeerId, PeerKind};
use crate::domain::{Endpoint, PublicKey};
use crate::wireguard::keys::SecretKey;

/// Routes to peers' subnets stand before pushed ones of the same prefix.
const PEER_METRIC: u32 = 10;
/// What our marks begin with.
const MARK: &str = "sitepeer gateway ";

/// Planes in network namespaces, on the kernel's WireGuard or on embedded ones.
#[derive(Debug)]
pub struct Rooted {
    backend: Backend,
    /// Stands on everything we make.
    owner: String,
    /// Raised planes. What concerns the host is done one after another.
    raised: Mutex<HashMap<InstanceId, Weak<RootedPlane>>>,
}

impl Rooted {
    /// Makes the backend; `gateway` tells this gateway's things from those of another one on the same host, and must stay the same
    /// through restarts.
    ///
    /// # Errors
    /// [`PlaneError`] if the backend is the rootless one.
    pub fn new(backend: Backend, gateway: &str) -> Result<Self, PlaneError> {
        if backend == Backend::Rootless {
            return Err(PlaneError::new("the rootless backend has no namespaces"));
        }
        // A link's alias has 256 bytes.
        let gateway: String = gateway.chars().filter(|c| !c.is_control()).take(48).collect();
        Ok(Self { backend, owner: format!("{MARK}{gateway}"), raised: Mutex::default() })
    }

    async fn is_ours(&self, namespace: &Namespace) -> Result<bool, PlaneError> {
        Ok(namespace.owner().await?.as_deref() == Some(self.owner.as_str()))
    }

    async fn set_up(
        &self,
        instance: &GatewayInstance,
        key: &SecretKey,
        namespace: &Namespace,
    ) -> Result<RootedPlane, PlaneError> {
        namespace.run(sysctls).await?;
        let links = namespace.links().await?;
        firewall::load(Some(namespace), firewall::INSTANCE.to_owned()).await?;
        let v6 = instance.addresses.iter().any(|net| net.addr().is_ipv6());
        let uplink = host::connect(&instance.id, namespace, &links, &self.owner, v6).await?;
        let tunnel: Box<dyn Tunnel> = if self.backend == Backend::Kernel {
            Box::new(Kernel::new(&instance.id, namespace, key, instance.listen_port).await?)
        } else {
            firewall::no_peers_script().inside(namespace).await?;
            Box::new(Userspace::new(namespace, key, instance.listen_port).await?)
        };
        let link = links.need(NAME).await?;
        links.set_mtu(link, MTU).await?;
        links.up(link).await?;
        let known = tunnel.peers().await?.into_iter().map(|peer| (peer.public_key, Applied::found(peer))).collect();
        let state = State { peers: known, networks: Vec::new(), running: true };
        let namespace = namespace.clone();
        let plane =
            RootedPlane { id: instance.id.clone(), namespace, links, link, uplink, v6, tunnel, state: state.into() };
        plane.configure(instance).await?;
        Ok(plane)
    }
}

/// Settings of a namespace, written by a thread inside.
fn sysctls() -> Result<(), PlaneError> {
    for (switch, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        // Two peers are on one link: they are not told to talk past us.
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        // WireGuard's allowed addresses say who may send from where; a site that is everybody's way out would fail this check.
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        // A tunnel has the addresses it is given and asks nobody for more.
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/default/accept_ra", "0"),
    ] {
        let path = format!("/proc/sys/net/{switch}");
        match fs::write(&path, value) {
            // A host without IPv6 has no such setting.
            Err(error) if error.kind() == ErrorKind::NotFound && switch.starts_with("ipv6/") => {}
            written => written.doing(|| format!("set {path}"))?,
        }
    }
    Ok(())
}

#[async_trait]
impl Planes for Rooted {
    fn backend(&self) -> Backend {
        self.backend
    }

    async fn raise(&self, instance: &GatewayInstance, key: &SecretKey) -> Result<Arc<dyn Plane>, PlaneError> {
        let mut raised = self.raised.lock().await;
        if let Some(plane) = raised.get(&instance.id).and_then(Weak::upgrade) {
            if plane.tunnel.peers().await.is_ok() {
                plane.configure(instance).await?;
                return Ok(plane);
            }
            plane.tunnel.stop().await;
        }
        let found = Namespace::open(&instance.id)?;
        let is_new = found.is_none();
        let namespace = match found {
            Some(namespace) if self.is_ours(&namespace).await? => namespace,
            Some(_) => {
                let what = format!("the namespace of instance {} belongs to another gateway on this host", instance.id);
                return Err(PlaneError::new(what));
            }
            None => Namespace::make(&instance.id, &self.owner).await?,
        };
        match self.set_up(instance, key, &namespace).await {
            Ok(plane) => {
                let plane = Arc::new(plane);
                raised.insert(instance.id.clone(), Arc::downgrade(&plane));
                Ok(plane)
            }
            Err(error) => {
                if is_new && let Err(left) = take_down(&instance.id, Some(namespace), &self.owner).await {
                    tracing::warn!(instance = %instance.id, error = %left, "something of an instance stays that was not raised");
                }
                Err(in_instance(&instance.id, error))
            }
        }
    }

    async fn found(&self) -> Result<Vec<InstanceId>, PlaneError> {
        let mut found = BTreeSet::new();
        for instance in namespace::named()? {
            if let Some(namespace) = Namespace::open(&instance)?
                && self.is_ours(&namespace).await?
            {
                found.insert(instance);
            }
        }
        found.extend(host::linked(&self.owner).await?);
        Ok(found.into_iter().collect())
    }

    async fn remove(&self, instance: &InstanceId) -> Result<(), PlaneError> {
        let mut raised = self.raised.lock().await;
        if let Some(plane) = raised.remove(instance).and_then(|plane| plane.upgrade()) {
            plane.tunnel.stop().await;
        }
        let namespace = match Namespace::open(instance)? {
            Some(namespace) if !self.is_ours(&namespace).await? => {
                let what = format!("the namespace of instance {instance} belongs to another gateway on this host");
                return Err(PlaneError::new(what));
            }
            namespace => namespace,
        };
        take_down(instance, namespace, &self.owner).await.map_err(|error| in_instance(instance, error))
    }
}

fn in_instance(instance: &InstanceId, error: PlaneError) -> PlaneError {
    PlaneError { what: format!("instance {instance}: {}", error.what), source: error.source }
}

async fn take_down(instance: &InstanceId, namespace: Option<Namespace>, owner: &str) -> Result<(), PlaneError> {
    if let Some(namespace) = namespace {
        // The namespace itself ends some time after its name: its port has to be free now.
        let links = namespace.links().await?;
        if let Some(link) = links.find(NAME).await? {
            links.remove(link).await?;
        }
        host::disconnect(instance, owner).await?;
        namespace.forget()?;
    } else {
        host::disconnect(instance, owner).await?;
    }
    kernel::sweep(instance).await
}

/// One instance's data plane in its namespace.
#[derive(Debug)]
struct RootedPlane {
    id: InstanceId,
    namespace: Namespace,
    links: Links,
    link: Link,
    uplink: Uplink,
    v6: bool,
    tunnel: Box<dyn Tunnel>,
    /// Changes take turns: the lock is held while one is made, and readers do not need it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    peers: HashMap<PublicKey, Applied>,
    /// The tunnel's own networks: the kernel routes them by the addresses.
    networks: Vec<IpNet>,
    running: bool,
}

impl State {
    /// What of a peer's prefixes needs a route.
    fn routed(&self, allowed: &[IpNet]) -> Vec<IpNet> {
        let covered = |net: &IpNet| self.networks.iter().any(|network| network.contains(net));
        allowed.iter().filter(|net| !covered(net)).copied().collect()
    }
}

/// What a peer was last told to be.
#[derive(Debug)]
struct Applied {
    allowed: Vec<IpNet>,
    /// It is a client, or may be one: the device does not say.
    client: bool,
    /// Where it is to be called, and what that name stood for.
    endpoint: Option<(Endpoint, SocketAddr)>,
    /// Whose key it is; `None` for one that an earlier run left.
    peer: Option<PeerId>,
}

impl Applied {
    fn found(peer: DevicePeer) -> Self {
        Self { allowed: peer.allowed, client: true, endpoint: None, peer: None }
    }
}

impl RootedPlane {
    async fn make_routes(&self, nets: impl IntoIterator<Item = IpNet>) -> Result<(), PlaneError> {
        for net in nets {
            self.links.set_route(Route { net, link: self.link, via: None, metric: PEER_METRIC }).await?;
        }
        Ok(())
    }

    /// Removes the routes among `nets` that no peer has any more.
    async fn drop_routes(&self, state: &State, nets: impl IntoIterator<Item = IpNet>) -> Result<(), PlaneError> {
        for net in nets {
            if !state.peers.values().any(|peer| peer.allowed.contains(&net)) {
                self.links.remove_route(Route { net, link: self.link, via: None, metric: PEER_METRIC }).await?;
            }
        }
        Ok(())
    }

    async fn switch(&self, state: &mut State, running: bool) -> Result<(), PlaneError> {
        if running == state.running {
            return Ok(());
        }
        self.tunnel.set_running(running).await?;
        if running {
            // A link that was off lost its routes.
            let nets: BTreeSet<IpNet> = state.peers.values().flat_map(|peer| state.routed(&peer.allowed)).collect();
            self.make_routes(nets).await?;
        }
        state.running = running;
        Ok(())
    }

    /// Where the peer is to be called, if that is news.
    async fn endpoint(&self, peer: &GatewayPeer, before: Option<&Applied>) -> Option<(Endpoint, SocketAddr)> {
        let endpoint = peer.endpoint.as_ref()?;
        if let Some((name, address)) = before.and_then(|before| before.endpoint.as_ref())
            && name == endpoint
        {
            return Some((name.clone(), *address));
        }
        Some((endpoint.clone(), tunnel::resolve(endpoint).await?))
    }
}

#[async_trait]
impl Plane for RootedPlane {
    fn listen_port(&self) -> u16 {
        self.tunnel.listen_port()
    }

    async fn configure(&self, instance: &GatewayInstance) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let work = async {
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
            self.switch(&mut state, !instance.suspended).await
        };
        work.await.map_err(|error| in_instance(&self.id, error))
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        self.tunnel.peers().await.map_err(|error| in_instance(&self.id, error))
    }

    async fn set_peer(&self, peer: &GatewayPeer) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let set = self.set_peer_in(&mut state, peer).await;
        set.map_err(|error| in_instance(&self.id, error))
    }

    async fn remove_peer(&self, public_key: &PublicKey, _peer: Option<&PeerId>) -> Result<(), PlaneError> {
        let mut state = self.state.lock().await;
        let removed = self.remove_peer_in(&mut state, public_key).await;
        removed.map_err(|error| in_instance(&self.id, error))
    }
}

impl RootedPlane {
    /// WireGuard first: afterwards nothing of the peer's passes any more.
    async fn remove_peer_in(&self, state: &mut State, public_key: &PublicKey) -> Result<(), PlaneError> {
        self.tunnel.remove_peer(public_key).await?;
        let Some(gone) = state.peers.remove(public_key) else {
            return Ok(());
        };
        self.drop_routes(state, state.routed(&gone.allowed)).await?;
        let addresses = firewall::host_addresses(&gone.allowed);
        let known = Known { addresses: &addresses, client: gone.client };
        firewall::removal_script(&known).inside(&self.namespace).await
    }

    /// Rules first, then WireGuard, then routes: a peer never passes before its rules stand.
    async fn set_peer_in(&self, state: &mut State, peer: &GatewayPeer) -> Result<(), PlaneError> {
        let is_old =
            |key: &&PublicKey, known: &Applied| **key != peer.public_key && known.peer.as_ref() == Some(&peer.id);
        let old_key = state.peers.iter().find(|(key, known)| is_old(key, known)).map(|(key, _)| *key);
        if let Some(key) = old_key {
            self.remove_peer_in(state, &key).await?;
        }
        if peer.kind == PeerKind::Client && peer.route_all {
            host::forward(self.v6)?;
        }
        let before = state.peers.get(&peer.public_key);
        let endpoint = self.endpoint(peer, before).await;
        let news = endpoint.as_ref().filter(|_| before.is_none_or(|before| before.endpoint != endpoint));
        let old = before.map(|before| before.allowed.clone()).unwrap_or_default();
        let known =
            Known { addresses: &firewall::host_addresses(&old), client: before.is_some_and(|before| before.client) };
        firewall::peer_script(peer, &known).inside(&self.namespace).await?;
        let allowed = tunnel::allowed(peer);
        let client = peer.kind == PeerKind::Client;
        let wanted = TunnelPeer {
            public_key: peer.public_key,
            preshared_key: tunnel::preshared_key(peer)?,
            allowed: allowed.clone(),
            endpoint: news.map(|(_, address)| *address),
            keepalive_secs: peer.keepalive_secs,
        };
        // Should the rest fail, the next attempt finds all that may be there.
        let either = Applied {
            allowed: old.iter().chain(&allowed).copied().collect::<BTreeSet<_>>().into_iter().collect(),
            client: client || known.client,
            endpoint: None,
            peer: Some(peer.id.clone()),
        };
        state.peers.insert(peer.public_key, either);
        self.tunnel.set_peer(&wanted).await?;
        if state.running {
            self.make_routes(state.routed(&allowed)).await?;
        }
        let applied = Applied { allowed: allowed.clone(), client, endpoint, peer: Some(peer.id.clone()) };
        state.peers.insert(peer.public_key, applied);
        let gone: Vec<IpNet> = old.into_iter().filter(|net| !allowed.contains(net)).collect();
        self.drop_routes(state, state.routed(&gone)).await
    }
}
