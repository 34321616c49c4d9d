//! The device's way to its data plane: rows become its configuration, its facts come back into the rows.
//!
//! Without a plane, tunnels never come up and only the device's own addresses answer pings.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::Shared;
use crate::sim::device::{Device, LivePeer, PingSpec, Refusal};
use crate::sim::faults::Fault;
use crate::sim::options::SimOptions;
use crate::sim::plane::{Lan, PingReply, PingRequest, PingStatus, Plane, PlaneConfig, PlaneError, PlaneOptions};

/// Pings whose row is not yet sent.
const PONGS_WAITING: usize = 8;
/// What the device's own address answers after: about what a recorded ping of 127.0.0.1 took.
const OWN_ADDRESS_TIME: Duration = Duration::from_micros(114);

/// What UDP and IPv4 add to a datagram, in bytes.
const UDP_AND_IP: u64 = 28;

/// One reply or timeout.
#[derive(Clone, Debug)]
pub(super) struct Pong {
    pub(super) host: String,
    pub(super) reply: Option<Echo>,
    /// Why there is no reply.
    pub(super) status: &'static str,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    pub(super) size: usize,
    pub(super) ttl: u8,
    pub(super) time: Duration,
}

/// The data plane, if there is one.
pub(super) struct Uplink {
    plane: Option<Plane>,
    /// Held while a configuration is made and handed over, so that the newest is the last.
    order: Mutex<()>,
}

impl Uplink {
    pub(super) async fn start(options: &SimOptions) -> Result<Self, PlaneError> {
        let plane = if options.plane {
            let (hosts, tun) = (options.lan_hosts.clone(), options.lan_tun.clone());
            let lans = vec![Lan { interface: "bridge".to_owned(), hosts, tun }];
            let names = options.names.iter().cloned().collect();
            Some(Plane::start(PlaneOptions { bind: options.bind, lans, names, ..PlaneOptions::default() }).await?)
        } else {
            None
        };
        Ok(Self { plane, order: Mutex::new(()) })
    }

    pub(super) fn plane(&self) -> Option<&Plane> {
        self.plane.as_ref()
    }

    /// Makes the network outside what the faults say; what a test set at the plane itself gives way to them.
    pub(super) fn follow(&self, faults: &[Fault]) {
        let Some(plane) = &self.plane else { return };
        plane.set_black_hole(faults.iter().any(|fault| matches!(fault, Fault::NoUdp | Fault::NoWan)));
        plane.set_stuck_ports(faults.contains(&Fault::StuckPort));
        plane.set_stuck_peer(faults.contains(&Fault::StuckPeer));
        plane.set_longest(faults.iter().find_map(|fault| match fault {
            Fault::DropAbove(bytes) => usize::try_from(*bytes).ok(),
            _ => None,
        }));
    }

    /// Hands the newest rows to the plane.
    pub(super) async fn apply(&self, shared: &Shared) {
        let Some(plane) = &self.plane else { return shared.look() };
        let _order = self.order.lock().await;
        let (config, resolve, skew) = {
            let mut device = shared.device();
            let resolve = std::mem::take(&mut device.resolve_again);
            let resolve: Vec<u64> = resolve.into_iter().map(|row| device.plane_peer_id(row)).collect();
            (device.plane_config(), resolve, device.clock.skew_secs())
        };
        plane.set_clock_skew(skew);
        self.hand_over(plane, shared, config).await;
        for peer in resolve {
            if let Err(error) = plane.resolve_again(peer).await {
                tracing::debug!(%error, peer, "endpoint not looked up again");
            }
        }
        shared.look();
    }

    async fn hand_over(&self, plane: &Plane, shared: &Shared, config: PlaneConfig) {
        match plane.apply(config).await {
            Ok(applied) => {
                let interfaces = applied.interfaces.iter();
                let running = interfaces.filter_map(|i| Some((u32::try_from(i.id).ok()?, i.running))).collect();
                let mut device = shared.device();
                device.live.running = running;
                device.settle();
            }
            Err(error) => tracing::error!(%error, "the data plane did not take the rows"),
        }
    }

    /// Fetches the newest facts for a print of `path`.
    pub(super) async fn refresh(&self, shared: &Shared, path: &str) {
        let Some(plane) = self.plane.as_ref().filter(|_| path.starts_with("/interface/wireguard/peers")) else {
            return;
        };
        match plane.peers().await {
            Ok(peers) => {
                let facts = peers.into_iter().map(|peer| {
                    let live = LivePeer {
                        rx: peer.rx,
                        tx: peer.tx,
                        handshake_age: peer.last_handshake,
                        endpoint: peer.endpoint,
                    };
                    (Device::row_of_plane_peer(peer.id), live)
                });
                shared.device().live.peers = facts.collect();
            }
            Err(error) => tracing::error!(%error, "the data plane does not answer"),
        }
    }

    /// Tunnels begin anew, as after a reboot.
    pub(super) async fn restart(&self, shared: &Shared) {
        if let Some(plane) = &self.plane {
            let _order = self.order.lock().await;
            self.hand_over(plane, shared, PlaneConfig::default()).await;
        }
        self.apply(shared).await;
    }

    /// Begins a ping.
    ///
    /// # Errors
    /// [`Refusal::ResolveFailed`] if the name has no address.
    pub(super) fn ping(&self, shared: &Shared, spec: &PingSpec) -> Result<mpsc::Receiver<Pong>, Refusal> {
        let target = resolve(&shared.device(), &spec.address).ok_or(Refusal::ResolveFailed)?;
        let (sender, pongs) = mpsc::channel(PONGS_WAITING);
        match &self.plane {
            Some(plane) if !is_outside(&shared.device(), target) => {
                let request = PingRequest {
                    count: spec.count,
                    interval: spec.interval,
                    size: spec.size,
                    source: spec.source,
                    ttl: spec.ttl,
                    ..PingRequest::new(target)
                };
                tokio::spawn(forward(plane.ping(request), sender));
            }
            _ => {
                let own = answers_outside(&shared.device(), target, spec.size);
                tokio::spawn(without_plane(target, own, spec.clone(), sender));
            }
        }
        Ok(pongs)
    }
}

async fn forward(mut replies: mpsc::Receiver<PingReply>, pongs: mpsc::Sender<Pong>) {
    while let Some(reply) = replies.recv().await {
        let echo = match (reply.status, reply.rtt) {
            (PingStatus::Reply { ttl, size }, Some(time)) => Some(Echo { size, ttl, time }),
            _ => None,
        };
        let status = reply.status.word().unwrap_or("timeout");
        if pongs.send(Pong { host: reply.host.to_string(), reply: echo, status }).await.is_err() {
            return;
        }
    }
}

async fn without_plane(target: IpAddr, own: bool, spec: PingSpec, pongs: mpsc::Sender<Pong>) {
    let mut sent = 0;
    while spec.count.is_none_or(|count| sent < count) {
        sent += 1;
        let echo = Echo { size: usize::from(spec.size), ttl: spec.ttl, time: OWN_ADDRESS_TIME };
        let pong = Pong { host: target.to_string(), reply: own.then_some(echo), status: "timeout" };
        // A timeout is known only after a while; an answer comes at once, and the next is asked for later.
        if !own {
            tokio::time::sleep(spec.interval).await;
        }
        if pongs.send(pong).await.is_err() {
            return;
        }
        if own && spec.count != Some(sent) {
            tokio::time::sleep(spec.interval).await;
        }
    }
}

fn resolve(device: &Device, name: &str) -> Option<IpAddr> {
    let known = device.options.names.iter().find(|(known, _)| known == name).map(|(_, address)| *address);
    name.parse().ok().or(known)
}

/// Whether an address is one of the network outside: the gateway, or on loopback, where hubs of tests are.
fn is_outside(device: &Device, address: IpAddr) -> bool {
    address.is_loopback() || address == IpAddr::V4(device.options.wan_gateway)
}

/// Whether an address answers that is no other router's and nothing in a tunnel.
///
/// A fault that swallows long UDP swallows pings as long.
fn answers_outside(device: &Device, address: IpAddr, size: u16) -> bool {
    let faults = &device.options.faults;
    let silent = |fault: &Fault| match fault {
        Fault::NoWan => is_outside(device, address),
        Fault::NoIcmp => address.is_loopback(),
        Fault::DropAbove(bytes) => is_outside(device, address) && u64::from(size) > bytes + UDP_AND_IP,
        _ => false,
    };
    (is_own(device, address) || is_outside(device, address)) && !faults.iter().any(silent)
}

fn is_own(device: &Device, address: IpAddr) -> bool {
    let has = |table: &str| {
        device.table(table).iter().filter(|item| item.is_enabled()).any(|item| {
            let own = item.fields.text("address").and_then(|a| a.split('/').next());
            own.and_then(|a| a.parse::<IpAddr>().ok()) == Some(address)
        })
    };
    address.is_loopback() || has("/ip/address") || has("/ipv6/address")
}
