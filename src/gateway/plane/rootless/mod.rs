//! The data plane without root: embedded WireGuard on a plain UDP socket, and forwarding between an instance's peers in this
//! process. No TUN device, no namespace, no way out: pushed routes and full tunnels lead nowhere and are refused by ICMP.
//!
//! For demos, tests, and hosts that give no capability. The rules are those of the other backends: a peer reaches other peers of
//! its instance as the policy allows, and the gateway's tunnel addresses by ping.

mod instance;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::instance::RootlessPlane;
use super::{Plane, PlaneError, Planes};
use crate::api::{Backend, GatewayInstance, InstanceId};
use crate::wireguard::keys::SecretKey;

/// Makes planes in this process.
#[derive(Debug)]
pub struct Rootless {
    bind: IpAddr,
    /// What is up. A plane that its user dropped is gone.
    up: Mutex<HashMap<InstanceId, Weak<RootlessPlane>>>,
}

impl Rootless {
    /// Binds all UDP sockets on an address of this machine: loopback for a demo, `0.0.0.0` or `::` to serve others.
    #[must_use]
    pub fn new(bind: IpAddr) -> Self {
        Self { bind, up: Mutex::new(HashMap::new()) }
    }
}

#[async_trait]
impl Planes for Rootless {
    fn backend(&self) -> Backend {
        Backend::Rootless
    }

    async fn raise(&self, instance: &GatewayInstance, key: &SecretKey) -> Result<Arc<dyn Plane>, PlaneError> {
        let mut up = self.up.lock().await;
        if let Some(plane) = up.get(&instance.id).and_then(Weak::upgrade) {
            if plane.has_key(instance.device, key).await {
                plane.configure(instance).await?;
                return Ok(plane);
            }
            plane.stop().await;
        }
        let plane = Arc::new(RootlessPlane::start(self.bind, instance, key).await?);
        up.insert(instance.id.clone(), Arc::downgrade(&plane));
        Ok(plane)
    }

    async fn found(&self) -> Result<Vec<InstanceId>, PlaneError> {
        let mut up = self.up.lock().await;
        up.retain(|_, plane| plane.strong_count() > 0);
        Ok(up.keys().cloned().collect())
    }

    async fn remove(&self, instance: &InstanceId) -> Result<(), PlaneError> {
        if let Some(plane) = self.up.lock().await.remove(instance).and_then(|plane| plane.upgrade()) {
            plane.stop().await;
        }
        Ok(())
    }
}
