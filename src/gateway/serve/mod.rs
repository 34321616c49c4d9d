//! Instances being served: one worker task each, so that what happens to one never stops another.
//!
//! A worker is told *what* is wanted (an [`Order`]), reads what its device really has, changes the difference, and says what came of it
//! (an [`Outcome`]). It does the same again and again without being told: after a failure soon, else every few seconds, and the reading
//! feeds the traffic counters. Its tasks end when its handle is dropped.

mod diff;
mod order;
mod step;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::{GatewayPeer, PeerId};
use crate::gateway::desired::Held;
use crate::gateway::disk::StateDir;
use crate::gateway::plane::Planes;
use crate::gateway::talk::Backoff;
use crate::gateway::traffic::Traffic;

pub use diff::{Changes, diff};
pub use order::{Desk, Order, Outcome, Wanted};
use step::Hands;

/// Instances that are brought up at the same time: each costs processes and netlink calls.
const RAISE_AT_ONCE: usize = 8;
/// First pause after a failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const RETRY_MOST: Duration = Duration::from_mins(1);

/// What all workers share.
#[derive(Debug)]
pub struct Host {
    /// The data plane's backend.
    pub planes: Arc<dyn Planes>,
    /// Keys.
    pub disk: Arc<StateDir>,
    /// Counters.
    pub traffic: Arc<Traffic>,
    /// How often devices are read when nothing happens.
    pub look_every: watch::Receiver<Duration>,
    /// Rung after each outcome that differs from the last.
    pub news: Notify,
    /// The ports that instances are wanted on: none of them is taken instead of another one.
    wanted_ports: Mutex<BTreeSet<u16>>,
    raising: Semaphore,
}

impl Host {
    /// With nothing served yet.
    #[must_use]
    pub fn new(
        planes: Arc<dyn Planes>,
        disk: Arc<StateDir>,
        traffic: Arc<Traffic>,
        look_every: watch::Receiver<Duration>,
    ) -> Self {
        let (news, raising) = (Notify::new(), Semaphore::new(RAISE_AT_ONCE));
        Self { planes, disk, traffic, look_every, news, wanted_ports: Mutex::default(), raising }
    }

    /// Says which ports instances are wanted on.
    pub fn reserve(&self, ports: impl IntoIterator<Item = u16>) {
        *self.wanted_ports.lock().unwrap_or_else(PoisonError::into_inner) = ports.into_iter().collect();
    }

    /// The next port after one that no instance is wanted on.
    fn port_after(&self, port: u16) -> Option<u16> {
        let wanted = self.wanted_ports.lock().unwrap_or_else(PoisonError::into_inner);
        (port..=u16::MAX).skip(1).find(|port| !wanted.contains(port))
    }
}

/// A worker's handle; dropping it ends the worker, and leaves what a kernel does at work.
#[derive(Debug)]
pub struct Served {
    desk: Arc<Desk>,
    outcome: watch::Receiver<Outcome>,
    task: JoinSet<()>,
}

impl Served {
    /// Starts a worker with its first order. Peers up to the revision `settled` are known to be on the device.
    #[must_use]
    pub fn start(host: Arc<Host>, order: Order, settled: i64) -> Self {
        let id = order.held.instance.id.clone();
        let done = done_before(&order.held, settled);
        let desk = Arc::new(Desk::new(order));
        let (publish, outcome) = watch::channel(Outcome::default());
        let mut task = JoinSet::new();
        task.spawn(work(Hands::new(id, host, done), Arc::clone(&desk), publish));
        Self { desk, outcome, task }
    }

    /// Ends the worker and waits for that.
    pub async fn stop(mut self) {
        self.task.shutdown().await;
    }

    /// Leaves an order.
    pub fn put(&self, order: Order) {
        self.desk.put(order);
    }

    /// The number of the last order.
    #[must_use]
    pub fn ordered(&self) -> u64 {
        self.desk.ticket()
    }

    /// What the last order was about.
    #[must_use]
    pub fn held(&self) -> Held {
        self.desk.read().held
    }

    /// What came of the last order that was carried out.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome.borrow().clone()
    }

    /// Whether an order has been carried out, or has failed.
    #[must_use]
    pub fn is_through(&self, ticket: u64) -> bool {
        self.outcome.borrow().ticket >= ticket
    }

    /// Whether nothing of it is here and nothing else was ordered meanwhile.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let outcome = self.outcome.borrow();
        outcome.gone && outcome.ticket == self.desk.ticket()
    }

    /// Waits until an order has been carried out, or has failed.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken away.
    pub fn through(&self, ticket: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut outcome = self.outcome.clone();
        async move {
            // A worker that is gone will not do it any more.
            drop(outcome.wait_for(|outcome| outcome.ticket >= ticket).await);
        }
    }
}

fn done_before(held: &Held, settled: i64) -> HashMap<PeerId, Arc<GatewayPeer>> {
    // By which of two devices a peer is sent to, no device tells: such a one is set again.
    let is_done = |peer: &GatewayPeer| peer.revision <= settled && peer.moving.is_none();
    let done = held.peers.iter().filter(|(_, peer)| is_done(peer));
    done.map(|(id, peer)| (id.clone(), Arc::clone(peer))).collect()
}

async fn work(mut hands: Hands, desk: Arc<Desk>, publish: watch::Sender<Outcome>) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    loop {
        let order = desk.read();
        let outcome = hands.follow(&order).await;
        let (gone, failed) = (outcome.gone, outcome.error.is_some());
        let changed = publish.send_if_modified(|last| {
            let changed = *last != outcome;
            *last = outcome;
            changed
        });
        if changed {
            hands.host().news.notify_one();
        }
        let pause = if failed {
            backoff.pause()
        } else {
            backoff.reset();
            *hands.host().look_every.borrow()
        };
        tokio::select! {
            () = desk.after(order.ticket) => {}
            () = sleep(pause), if !gone => {}
        }
    }
}
