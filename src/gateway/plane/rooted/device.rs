//! One WireGuard device of an instance, of whichever backend.

use super::state::State;
use crate::api::{Backend, InstanceId};
use crate::gateway::plane::PlaneError;
use crate::gateway::plane::host::MTU;
use crate::gateway::plane::kernel::{self, Kernel};
use crate::gateway::plane::links::{Link, Links};
use crate::gateway::plane::namespace::Namespace;
use crate::gateway::plane::tunnel::{Tunnel, name};
use crate::gateway::plane::userspace::Userspace;
use crate::wireguard::keys::SecretKey;

/// A device at work.
#[derive(Debug)]
pub(super) struct Device {
    pub tunnel: Box<dyn Tunnel>,
    pub link: Link,
}

/// Makes an instance's devices.
#[derive(Debug)]
pub(super) struct Maker {
    pub backend: Backend,
    pub id: InstanceId,
    pub namespace: Namespace,
    pub links: Links,
}

impl Maker {
    /// Makes a device, or takes over the one that an earlier run left, and switches it on. An error leaves nothing of it.
    pub async fn make(&self, state: &mut State, number: u32, key: &SecretKey, port: u16) -> Result<Device, PlaneError> {
        let was_there = self.links.find(&name(number)).await?.is_some();
        match self.try_make(state, number, key, port).await {
            Err(error) => {
                if !was_there {
                    state.forget(number);
                    self.remove(number).await?;
                }
                Err(error)
            }
            made => made,
        }
    }

    async fn try_make(&self, state: &mut State, number: u32, key: &SecretKey, port: u16) -> Result<Device, PlaneError> {
        let tunnel: Box<dyn Tunnel> = if self.backend == Backend::Kernel {
            Box::new(Kernel::new(&self.id, &self.namespace, number, key, port).await?)
        } else {
            Box::new(Userspace::new(&self.namespace, number, key, port).await?)
        };
        let link = self.links.need(&name(number)).await?;
        self.links.set_mtu(link, MTU).await?;
        self.links.up(link).await?;
        state.found(tunnel.peers().await?);
        Ok(Device { tunnel, link })
    }

    /// Removes a device's link, with its routes; it may be gone already.
    pub async fn remove(&self, number: u32) -> Result<(), PlaneError> {
        if let Some(link) = self.links.find(&name(number)).await? {
            self.links.remove(link).await?;
        }
        if self.backend == Backend::Kernel { kernel::sweep(&self.id).await } else { Ok(()) }
    }
}
