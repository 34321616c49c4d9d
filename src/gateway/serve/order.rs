//! What a worker is to do, and what came of it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::api::{GatewayDeviceApplied, GatewayInstanceApplied, GatewayPeerFailed, InstanceId};
use crate::domain::PublicKey;
use crate::gateway::desired::Held;

/// What is to become of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Served, or kept down if it is suspended.
    Serve,
    /// Taken down for good, key and all.
    Delete,
    /// Taken down; the key is set aside.
    SetAside,
}

/// An order: always the whole of what is wanted, so that only the last one counts.
#[derive(Debug, Clone)]
pub struct Order {
    /// Grows with each order.
    pub ticket: u64,
    /// What is to become of the instance.
    pub wanted: Wanted,
    /// The instance and its peers.
    pub held: Held,
}

/// Where orders are left for a worker. One at a time: a new one replaces the last.
#[derive(Debug)]
pub struct Desk {
    order: Mutex<Order>,
    ticket: watch::Sender<u64>,
}

impl Desk {
    /// With a first order on it.
    #[must_use]
    pub fn new(order: Order) -> Self {
        let ticket = watch::Sender::new(order.ticket);
        Self { order: Mutex::new(order), ticket }
    }

    /// Leaves an order.
    pub fn put(&self, order: Order) {
        let ticket = order.ticket;
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
        self.ticket.send_replace(ticket);
    }

    /// The order as it is now.
    #[must_use]
    pub fn read(&self) -> Order {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the order that is there now.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        *self.ticket.borrow()
    }

    /// Waits for an order after this one.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken away.
    pub async fn after(&self, ticket: u64) {
        let mut tickets = self.ticket.subscribe();
        // The sender lives as long as the desk.
        if tickets.wait_for(|now| *now > ticket).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What came of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The order; 0 before the first.
    pub ticket: u64,
    /// The instance's revision that was tried.
    pub revision: i64,
    /// The device that new peers get.
    pub device: u32,
    /// The public half of that one's key.
    pub public_key: Option<PublicKey>,
    /// Its port outside.
    pub listen_port: Option<u16>,
    /// The devices beside it.
    pub devices: Vec<GatewayDeviceApplied>,
    /// Why it is not served, or not as it should be.
    pub error: Option<String>,
    /// Peers that are not served.
    pub failed: Vec<GatewayPeerFailed>,
    /// Nothing of it is here any more.
    pub gone: bool,
}

impl Outcome {
    /// In the hub's words.
    #[must_use]
    pub fn applied(&self, id: &InstanceId) -> GatewayInstanceApplied {
        GatewayInstanceApplied {
            id: id.clone(),
            revision: self.revision,
            device: self.device,
            public_key: self.public_key,
            listen_port: self.listen_port,
            error: self.error.clone(),
            devices: self.devices.clone(),
        }
    }
}
