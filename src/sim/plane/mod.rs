//! The data plane of a simulated router: real WireGuard over UDP on loopback, and a small router above it, all in this process.
//!
//! Needs neither root nor a TUN device; with both, real programs are hosts of its LAN ([`LanTun`]). A [`Plane`] follows a device's rows ([`PlaneConfig`]): each `/interface/wireguard` row is
//! a gotatun device; addresses, routes and firewall rules decide what becomes of packets; hosts behind the router answer pings. So a
//! handshake's age, the counters and a ping's round trip are true, and a rule that drops, drops.
//!
//! It knows nothing of RouterOS's menus or API: rows come in as [`PlaneConfig`], and [`Rule::from_row`] alone reads RouterOS's words.
//!
//! # What it leaves out
//! Simulated hosts answer pings only; source NAT keeps ports (of two hosts with the same one, the later wins); no destination NAT,
//! mangle or raw table, no fragmentation (a packet longer than the tunnel's MTU is refused by ICMP), no VRF. WireGuard's own UDP does
//! not pass the filter.
//!
//! # Tasks
//! One owner task holds the tunnels and takes requests over a bounded channel; each TUN device has a task; each ping has one of its
//! own, which ends with its receiver. Dropping the [`Plane`] aborts them all and closes the sockets.

mod config;
mod firewall;
mod hub;
mod lan;
mod owner;
mod ping;
mod reach;
mod router;
mod routing;
mod tun;
mod tunnel;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use config::{
    Applied, AppliedInterface, Lan, PeerState, PlaneConfig, PlaneOptions, PlaneRoute, WgInterface, WgPeer,
};
pub use firewall::{Action, Lists, Matcher, Rule};
pub use hub::{HubEnd, HubOptions, HubPeer, HubPeerState};
pub use lan::SeenEcho;
pub use ping::{PingReply, PingRequest, PingStatus, PingSummary};
pub use tun::{InvalidLanTun, LanTun};

pub(crate) use reach::Incoming;

use owner::{Owner, Request};
use router::SharedRouter;

use crate::wireguard::packet::IpPacket;
use crate::wireguard::wire::Network;

/// Requests that may wait for the owner task; each asker waits for his answer, so few do.
const REQUEST_QUEUE: usize = 16;

/// How long the owner may take for a request: everything it does is local, a rebound socket takes longest.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Why the data plane did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// The address for the UDP sockets is not one of this machine.
    #[error("cannot bind UDP on {bind}")]
    Bind {
        /// The address asked for.
        bind: IpAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The TUN device of a LAN cannot be opened.
    #[error("cannot open the TUN device {tun}")]
    Tun {
        /// The device asked for.
        tun: LanTun,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The owner task has ended.
    #[error("the data plane has stopped")]
    Stopped,
    /// The owner task did not answer in time.
    #[error("the data plane did not answer within {} s", REQUEST_DEADLINE.as_secs())]
    Deadline,
}

/// One virtual router's data plane.
#[derive(Debug)]
pub struct Plane {
    requests: mpsc::Sender<Request>,
    router: SharedRouter,
    network: Arc<Network>,
    /// The owner task, the TUN devices and the pings.
    tasks: Mutex<JoinSet<()>>,
}

impl Plane {
    /// Starts a data plane without interfaces.
    ///
    /// # Errors
    /// [`PlaneError::Bind`] if `options.bind` is no address of this machine; [`PlaneError::Tun`] if a LAN's device cannot be opened.
    pub async fn start(options: PlaneOptions) -> Result<Self, PlaneError> {
        let bind = options.bind;
        let probe = tokio::net::UdpSocket::bind((bind, 0)).await;
        probe.map_err(|source| PlaneError::Bind { bind, source })?;
        let (requests, inbox) = mpsc::channel(REQUEST_QUEUE);
        let router = SharedRouter::new(options.lans.clone());
        let network = Arc::new(Network::default());
        let mut tasks = JoinSet::new();
        for (index, lan) in options.lans.iter().enumerate() {
            if let Some(tun) = &lan.tun {
                let device = tun::open(tun).await?;
                let (wire, queue) = mpsc::channel(tun::WIRE_QUEUE);
                router.lock().plug_in(index, wire);
                tasks.spawn(tun::carry(device, queue, from_wire(router.clone(), lan.interface.clone())));
            }
        }
        let owner = Owner::new(options, router.clone(), Arc::clone(&network));
        tasks.spawn(owner.run(inbox));
        Ok(Self { requests, router, network, tasks: Mutex::new(tasks) })
    }

    /// Makes the data plane what the rows say, changing only what differs: a peer that did not change, or of which only allowed
    /// addresses, endpoint or keepalive did, keeps its counters, its session and its handshake.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::Deadline`] if the owner task is gone or stuck. An interface that could not be
    /// brought up is no error: see [`AppliedInterface::problem`].
    ///
    /// # Cancel safety
    /// Once begun, the change is carried out even if this future is dropped.
    pub async fn apply(&self, config: PlaneConfig) -> Result<Applied, PlaneError> {
        self.ask(|answer| Request::Apply(Box::new(config), answer)).await
    }

    /// What WireGuard knows of the peers. Peers that are disabled, or on a disabled interface since it was made, are left out.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::Deadline`] if the owner task is gone or stuck.
    ///
    /// # Cancel safety
    /// Nothing changes.
    pub async fn peers(&self) -> Result<Vec<PeerState>, PlaneError> {
        self.ask(Request::Peers).await
    }

    /// Looks up a peer's endpoint name again and sends there from now on, as a router does when the endpoint is set or the peer is
    /// enabled anew. Returns whether it resolved.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::Deadline`] if the owner task is gone or stuck.
    ///
    /// # Cancel safety
    /// Once begun, it is carried out even if this future is dropped.
    pub async fn resolve_again(&self, peer: u64) -> Result<bool, PlaneError> {
        self.ask(|answer| Request::ResolveAgain(peer, answer)).await
    }

    /// Changes what a name resolves to (`None`: nothing). Peers notice when their endpoint is next looked up.
    ///
    /// # Errors
    /// [`PlaneError::Stopped`] or [`PlaneError::Deadline`] if the owner task is gone or stuck.
    ///
    /// # Cancel safety
    /// Once begun, it is carried out even if this future is dropped.
    pub async fn set_name(&self, name: &str, address: Option<IpAddr>) -> Result<(), PlaneError> {
        let name = name.to_owned();
        self.ask(|answer| Request::SetName(name, address, answer)).await
    }

    /// Pings from the router itself. Dropping the receiver ends the ping.
    #[must_use]
    pub fn ping(&self, request: PingRequest) -> mpsc::Receiver<PingReply> {
        let (replies, receiver) = mpsc::channel(ping::REPLY_QUEUE);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Pings that have ended are forgotten here, so that their number stays small.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(ping::from_router(self.router.clone(), request, replies));
        receiver
    }

    /// Pings from a host behind the router, each request as soon as the one before has ended.
    ///
    /// # Cancel safety
    /// Dropping the future ends the ping.
    pub async fn lan_ping(&self, from_host: IpAddr, to: IpAddr, count: u32) -> PingSummary {
        ping::from_host(&self.router, from_host, to, count).await
    }

    /// The last echo requests that hosts behind the router received, oldest first: who asks, seen from there.
    #[must_use]
    pub fn seen(&self) -> Vec<SeenEcho> {
        self.router.lock().seen()
    }

    /// Drops all of WireGuard's UDP, both ways, while on.
    pub fn set_black_hole(&self, on: bool) {
        self.network.set_black_hole(on);
    }

    /// Lets nothing pass of the UDP ports that are open now, both ways, while on: a NAT on the way that is stuck.
    pub fn set_stuck_ports(&self, on: bool) {
        self.network.set_stuck_ports(on);
    }

    /// Lets nothing pass until a peer is switched off or removed.
    pub fn set_stuck_peer(&self, on: bool) {
        self.network.set_stuck(on);
    }

    /// Lets WireGuard's UDP longer than so many bytes vanish, both ways; `None` lets all pass.
    pub fn set_longest(&self, bytes: Option<usize>) {
        self.network.set_longest(bytes);
    }

    /// Sets the device's clock off by so many seconds, for WireGuard's time stamps.
    ///
    /// gotatun's clock cannot be changed, so the effect is made on the wire: after a step back, handshakes of ours are lost until
    /// the clock has caught up, as the far end would ignore them.
    pub fn set_clock_skew(&self, secs: i64) {
        self.network.set_clock_skew(secs);
    }

    /// Stops all devices and waits until their sockets are closed; merely dropping the plane closes them a moment later.
    ///
    /// # Cancel safety
    /// Dropping the future drops the plane.
    pub async fn stop(self) {
        if let Err(error) = self.ask(Request::Stop).await {
            tracing::debug!(%error, "the data plane was not stopped in order");
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, PlaneError> {
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            let sent = self.requests.send(request(answer)).await;
            sent.map_err(|_| PlaneError::Stopped)?;
            answered.await.map_err(|_| PlaneError::Stopped)
        };
        timeout(REQUEST_DEADLINE, exchange).await.unwrap_or(Err(PlaneError::Deadline))
    }
}

/// What becomes of a packet that a real host of a LAN sent.
fn from_wire(router: SharedRouter, interface: String) -> impl Fn(&[u8]) {
    move |bytes| match IpPacket::parse(bytes) {
        Some(packet) if !tun::is_for_all(packet.destination()) => router.lock().arrived_from_wire(&interface, packet),
        Some(_) => {}
        None => tracing::debug!(%interface, "a host of the LAN sent no IP packet"),
    }
}
