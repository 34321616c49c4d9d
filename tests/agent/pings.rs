//! Pings through a router's tunnel for as long as something goes on, and how many of them were lost.

use std::sync::Arc;
use std::time::Duration;

use sitepeer::sim::plane::{PingRequest, PingStatus};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::world::{World, ip};

pub const HUB: &str = "10.99.0.1";
pub const LAN_HOST: &str = "192.168.88.10";
/// From one ping to the next: 20 a second.
const PING_EVERY: Duration = Duration::from_millis(50);

/// Pings to the hub from a host of the LAN and from the router itself, 20 a second each.
pub struct Pings {
    stop: CancellationToken,
    task: JoinHandle<(u32, u32)>,
}

impl Pings {
    pub fn start(world: &Arc<World>) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(ping_on(Arc::clone(world), stop.clone()));
        Self { stop, task }
    }

    /// Ends them; how many were sent, and how many were lost.
    pub async fn end(self) -> (u32, u32) {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

async fn ping_on(world: Arc<World>, stop: CancellationToken) -> (u32, u32) {
    let (mut ticks, mut pings) = (tokio::time::interval(PING_EVERY), JoinSet::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let (from_lan, from_router) = (Arc::clone(&world), Arc::clone(&world));
        pings.spawn(async move {
            let plane = from_lan.router.plane().unwrap();
            plane.lan_ping(ip(LAN_HOST), ip(HUB), 1).await.received == 1
        });
        pings.spawn(async move {
            let request = PingRequest { count: Some(1), ..PingRequest::new(ip(HUB)) };
            let mut replies = from_router.router.plane().unwrap().ping(request);
            replies.recv().await.is_some_and(|reply| matches!(reply.status, PingStatus::Reply { .. }))
        });
    }
    let came = pings.join_all().await;
    let count = |of: usize| u32::try_from(of).unwrap();
    (count(came.len()), count(came.iter().filter(|came| !**came).count()))
}
