//! The two backends that need root: what they share is here, the WireGuard device itself in `kernel` and `userspace`.
//!
//! ```text
//! host's namespace            instance's namespace `sitepeer-<id>`
//! UDP socket ───────────────▶ wg0 ─┬─ routes to site subnets
//! sp-<id> ◀── veth ─────────▶ uplink0 ── pushed routes, full tunnels
//! nft table `sitepeer`         nft table `sitepeer`
//! ```
//!
//! Beside wg0 there may be wg1 and so on, each with a key and a UDP port of its own, the same addresses and the same rules. WireGuard
//! takes a peer's packets on every device that it is on; its routes say by which one it is sent to, and one `replace` changes that.

mod device;
mod plane;
mod state;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::sync::{Arc, RwLock, Weak};

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::device::Maker;
use self::plane::RootedPlane;
use self::state::State;
use super::firewall;
use super::host;
use super::kernel;
use super::namespace::{self, Namespace};
use super::trouble::Doing;
use super::tunnel::{PREFIX, number};
use super::{Plane, PlaneError, Planes};
use crate::api::{Backend, GatewayInstance, InstanceId};
use crate::domain::SubnetSet;
use crate::wireguard::keys::SecretKey;

/// What our marks begin with.
const MARK: &str = "sitepeer gateway ";

/// Planes in network namespaces, on the kernel's WireGuard or on embedded ones.
#[derive(Debug)]
pub struct Rooted {
    backend: Backend,
    /// Stands on everything we make.
    owner: String,
    /// What peers may reach beyond the host, beside the public internet.
    beyond: SubnetSet,
    /// Raised planes. What concerns the host is done one after another.
    raised: Mutex<HashMap<InstanceId, Weak<RootedPlane>>>,
}

impl Rooted {
    /// Makes the backend; `gateway` tells this gateway's things from those of another one on the same host, and must stay the same
    /// through restarts. `beyond` are the prefixes that pushed routes and full tunnels may lead to beside the public internet:
    /// private networks are denied otherwise, whatever the hub says, and so is every address of the host.
    ///
    /// # Errors
    /// [`PlaneError`] if the backend is the rootless one.
    pub fn new(backend: Backend, gateway: &str, beyond: SubnetSet) -> Result<Self, PlaneError> {
        if backend == Backend::Rootless {
            return Err(PlaneError::new("the rootless backend has no namespaces"));
        }
        // A link's alias has 256 bytes.
        let gateway: String = gateway.chars().filter(|c| !c.is_control()).take(48).collect();
        Ok(Self { backend, owner: format!("{MARK}{gateway}"), beyond, raised: Mutex::default() })
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
        let left: BTreeSet<u32> = links.names(PREFIX).await?.iter().filter_map(|name| number(name)).collect();
        let swept = self.backend != Backend::Kernel || left.is_empty();
        if swept {
            firewall::no_peers_script().inside(namespace).await?;
        }
        firewall::beyond_script(&self.beyond).inside(namespace).await?;
        let mut state = State::new(swept);
        let maker = Maker { backend: self.backend, id: instance.id.clone(), namespace: namespace.clone(), links };
        let first = maker.make(&mut state, instance.device, key, instance.listen_port).await?;
        let plane = RootedPlane {
            maker,
            uplink,
            v6,
            main: instance.device.into(),
            devices: RwLock::new([(instance.device, Arc::new(first))].into()),
            left: Mutex::new(left.into_iter().filter(|device| *device != instance.device).collect()),
            state: state.into(),
        };
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
            if plane.answers(instance.device).await {
                plane.configure(instance).await?;
                return Ok(plane);
            }
            plane.stop().await;
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
            plane.stop().await;
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
        for name in links.names(PREFIX).await? {
            if let Some(link) = links.find(&name).await? {
                links.remove(link).await?;
            }
        }
        host::disconnect(instance, owner).await?;
        namespace.forget()?;
    } else {
        host::disconnect(instance, owner).await?;
    }
    kernel::sweep(instance).await
}
