//! A WireGuard device that forwards between its own peers ("members"), in this process: no root, no TUN device, no way out.
//!
//! That a packet's source belongs to the member that sent it, WireGuard checks. That its destination belongs to *another* member,
//! and that the two may talk, is checked here: isolation is not WireGuard's business.
//!
//! # Tasks
//! One looks after handshakes; it ends with the [`Exchange`].

mod table;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::device::{DeviceSettings, Embedded, Error, PeerOnDevice, PeerSettings, networks};
use super::packet::IpPacket;
use super::wire::Network;
use table::Table;

pub(crate) use table::{Rules, Side};

/// How often handshakes are looked after; well under the 180 s after which gotatun forgets one.
const TICK: Duration = Duration::from_secs(5);

/// By how much two readings of one handshake's time differ at most: gotatun tells an age, which is a moment old when it arrives.
const SAME_HANDSHAKE: Duration = Duration::from_millis(500);

/// A peer that may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub settings: PeerSettings,
    pub side: Side,
}

/// What the exchange knows of a member.
#[derive(Debug, Clone)]
pub(crate) struct MemberState {
    pub on_device: PeerOnDevice,
    /// The last handshake, ever.
    pub handshake: Option<SystemTime>,
}

/// An exchange at work; it stops when dropped.
pub(crate) struct Exchange {
    inside: Arc<Inside>,
    /// The task that looks after handshakes.
    _task: JoinSet<()>,
}

struct Inside {
    table: Arc<RwLock<Table>>,
    /// Held while something is changed, so that table and device change together.
    device: Mutex<Members>,
}

struct Members {
    device: Embedded,
    port: u16,
    known: HashMap<[u8; 32], Known>,
}

struct Known {
    member: Member,
    handshake: Option<SystemTime>,
}

impl Exchange {
    /// Starts without members.
    pub async fn start(
        settings: &DeviceSettings,
        addresses: Vec<IpNet>,
        rules: Rules,
        network: Arc<Network>,
    ) -> Result<Self, Error> {
        let table = Arc::new(RwLock::new(Table::new(addresses, rules, settings.mtu)));
        let watched = Arc::clone(&table);
        let device = Embedded::new(settings, network, |input| {
            Box::new(move |bytes: &[u8]| {
                let Some(packet) = IpPacket::parse(bytes) else {
                    return tracing::debug!("a tunnel brought no IP packet");
                };
                let onward = watched.read().unwrap_or_else(PoisonError::into_inner).forward(packet);
                if let Some(bytes) = onward.and_then(|packet| packet.to_bytes()) {
                    input.send(&bytes);
                }
            })
        });
        let device = device.await?;
        device.resume(true).await?;
        let port = device.socket().map_or(settings.port, |socket| socket.port());
        let members = Members { device, port, known: HashMap::new() };
        let inside = Arc::new(Inside { table, device: Mutex::new(members) });
        let mut task = JoinSet::new();
        task.spawn(look_after(Arc::clone(&inside)));
        Ok(Self { inside, _task: task })
    }

    /// Where members reach it.
    pub async fn socket(&self) -> Option<SocketAddr> {
        self.inside.device.lock().await.device.socket()
    }

    /// Changes what the exchange itself is; no member is touched. An error leaves the port as it was before.
    pub async fn configure(&self, addresses: &[IpNet], rules: Rules, port: u16) -> Result<(), Error> {
        let mut members = self.inside.device.lock().await;
        if port != members.port {
            if let Err(error) = members.device.set_listen_port(port).await {
                members.device.set_listen_port(members.port).await?;
                return Err(error);
            }
            members.port = port;
        }
        let mut table = self.inside.table.write().unwrap_or_else(PoisonError::into_inner);
        table.addresses = addresses.to_vec();
        table.rules = rules;
        Ok(())
    }

    /// Adds a member, or changes the one with this key in place; its session stays. A new one without an endpoint is called where it
    /// was last heard.
    pub async fn set(&self, member: Member, heard: Option<SocketAddr>) -> Result<(), Error> {
        let mut members = self.inside.device.lock().await;
        let key = member.settings.public_key;
        let before = members.known.get(&key).map(|known| known.member.clone());
        match &before {
            None => members.add(&member.settings, heard).await?,
            Some(before) => members.modify(&before.settings, &member.settings).await?,
        }
        for robbed in self.inside.give(before.as_ref(), &member) {
            members.rob(&robbed, &member.settings.allowed).await?;
        }
        let handshake = members.known.get(&key).and_then(|known| known.handshake);
        members.known.insert(key, Known { member, handshake });
        Ok(())
    }

    /// Removes a member; returns whether there was one.
    pub async fn remove(&self, key: &[u8; 32]) -> Result<bool, Error> {
        let mut members = self.inside.device.lock().await;
        members.device.remove(key).await?;
        let Some(known) = members.known.remove(key) else {
            return Ok(false);
        };
        let mut table = self.inside.table.write().unwrap_or_else(PoisonError::into_inner);
        table.take(*key, &known.member.settings.allowed);
        Ok(true)
    }

    /// What the device knows of the members.
    pub async fn members(&self) -> Vec<MemberState> {
        let mut members = self.inside.device.lock().await;
        let found = members.remember_handshakes().await;
        let handshake = |key: &[u8; 32]| members.known.get(key).and_then(|known| known.handshake);
        found.into_iter().map(|on| MemberState { handshake: handshake(&on.public_key), on_device: on }).collect()
    }

    /// Stops and waits until the socket is closed.
    pub async fn stop(&self) {
        self.inside.device.lock().await.device.suspend().await;
    }
}

impl Inside {
    /// Writes a member's addresses into the table; returns who had some of them.
    fn give(&self, before: Option<&Member>, member: &Member) -> HashSet<[u8; 32]> {
        let key = member.settings.public_key;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = before {
            let gone: Vec<IpNet> = less(&before.settings.allowed, &member.settings.allowed);
            table.take(key, &gone);
        }
        table.give(key, member.side, &member.settings.allowed)
    }
}

impl Members {
    /// Adds a member, and calls it at once if it is to be kept alive, as the kernel's WireGuard does.
    async fn add(&self, settings: &PeerSettings, heard: Option<SocketAddr>) -> Result<(), Error> {
        let settings = PeerSettings { endpoint: settings.endpoint.or(heard), ..settings.clone() };
        self.device.add(&settings).await?;
        if settings.endpoint.is_some() && settings.keepalive_secs.is_some() {
            self.device.call(&settings.public_key).await;
        }
        Ok(())
    }

    /// Changes what differs and nothing else: an endpoint that is still wanted stays where the member was last heard.
    async fn modify(&self, before: &PeerSettings, after: &PeerSettings) -> Result<(), Error> {
        if before == after {
            return Ok(());
        }
        let change = |peer: &mut gotatun::device::configure::PeerMut| {
            if before.preshared_key != after.preshared_key {
                peer.set_preshared_key(after.preshared_key.as_ref().map(|key| *key.expose()));
            }
            if before.endpoint != after.endpoint {
                peer.set_endpoint(after.endpoint);
            }
            if before.keepalive_secs != after.keepalive_secs {
                peer.set_keepalive(after.keepalive_secs);
            }
            if before.allowed != after.allowed {
                peer.clear_allowed_ips();
                peer.add_allowed_ips(networks(&after.allowed));
            }
        };
        self.device.modify(&after.public_key, change).await
    }

    /// Takes addresses from a member that another one now has, so that the device says who really has them.
    async fn rob(&mut self, key: &[u8; 32], taken: &[IpNet]) -> Result<(), Error> {
        let Some(known) = self.known.get_mut(key) else { return Ok(()) };
        let allowed = &mut known.member.settings.allowed;
        *allowed = less(allowed, taken);
        let left = networks(allowed);
        let change = |peer: &mut gotatun::device::configure::PeerMut| {
            peer.clear_allowed_ips();
            peer.add_allowed_ips(left);
        };
        self.device.modify(key, change).await
    }

    async fn remember_handshakes(&mut self) -> Vec<PeerOnDevice> {
        let found = self.device.peers().await;
        let now = SystemTime::now();
        for peer in &found {
            let Some(known) = self.known.get_mut(&peer.public_key) else { continue };
            let Some(at) = peer.handshake_age.and_then(|age| now.checked_sub(age)) else { continue };
            let newer = known.handshake.is_none_or(|before| at > before + SAME_HANDSHAKE);
            if newer {
                known.handshake = Some(at);
            }
        }
        found
    }
}

/// Remembers handshakes before gotatun forgets them, and starts those it gave up.
async fn look_after(inside: Arc<Inside>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut members = inside.device.lock().await;
        let found = members.remember_handshakes().await;
        members.device.nudge(&found).await;
    }
}

/// What is in `all` and not in `other`.
fn less(all: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    all.iter().filter(|net| !other.contains(net)).copied().collect()
}
