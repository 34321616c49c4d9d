//! WireGuard devices that forward between their peers ("members"), in this process: no root, no TUN device, no way out.
//!
//! Mostly it is one device. A second one has another key and port: a member that changes to it is on both for a while, with another
//! key on each, and is sent to by one of them.
//!
//! That a packet's source belongs to the member that sent it, WireGuard checks. That its destination belongs to *another* member,
//! and that the two may talk, is checked here: isolation is not WireGuard's business.
//!
//! # Tasks
//! One looks after handshakes; it ends with the [`Exchange`].

mod table;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::device::{DeviceSettings, Embedded, Error, PeerOnDevice, PeerSettings, networks};
use super::memory::TunnelInput;
use super::packet::IpPacket;
use super::wire::Network;
use table::{Leg, Table};

pub(crate) use table::{Rules, Side};

/// How often handshakes are looked after; well under the 180 s after which gotatun forgets one.
const TICK: Duration = Duration::from_secs(5);

/// By how much two readings of one handshake's time differ at most: gotatun tells an age, which is a moment old when it arrives.
const SAME_HANDSHAKE: Duration = Duration::from_millis(500);

/// A peer on one of the devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its device.
    pub device: u32,
    pub settings: PeerSettings,
    pub side: Side,
    /// It is sent to by this device; one that is on two devices is so by one of them.
    pub sends: bool,
}

/// What the exchange knows of a member.
#[derive(Debug, Clone)]
pub(crate) struct MemberState {
    /// Its device.
    pub device: u32,
    pub on_device: PeerOnDevice,
    /// The last handshake, ever.
    pub handshake: Option<SystemTime>,
}

/// An exchange at work; it stops when dropped.
pub(crate) struct Exchange {
    inside: Arc<Inside>,
    network: Arc<Network>,
    /// The task that looks after handshakes.
    _task: JoinSet<()>,
}

struct Inside {
    ways: Ways,
    /// Held while something is changed, so that table and devices change together.
    members: Mutex<Members>,
}

/// Where packets go, and the ways into the tunnels.
#[derive(Clone)]
struct Ways {
    table: Arc<RwLock<Table>>,
    inputs: Arc<RwLock<HashMap<u32, TunnelInput>>>,
}

#[derive(Default)]
struct Members {
    devices: BTreeMap<u32, One>,
    known: HashMap<Leg, Known>,
    /// Who has a prefix on a device, as WireGuard has it.
    owners: HashMap<(u32, IpNet), [u8; 32]>,
}

struct One {
    device: Embedded,
    port: u16,
}

struct Known {
    member: Member,
    handshake: Option<SystemTime>,
}

impl Exchange {
    /// Starts with one device, without members.
    pub async fn start(
        number: u32,
        settings: &DeviceSettings,
        addresses: Vec<IpNet>,
        rules: Rules,
        network: Arc<Network>,
    ) -> Result<Self, Error> {
        let table = Arc::new(RwLock::new(Table::new(addresses, rules, settings.mtu)));
        let ways = Ways { table, inputs: Arc::default() };
        let inside = Arc::new(Inside { ways, members: Mutex::default() });
        let mut task = JoinSet::new();
        task.spawn(look_after(Arc::clone(&inside)));
        let exchange = Self { inside, network, _task: task };
        exchange.add_device(number, settings).await?;
        Ok(exchange)
    }

    /// Adds a device; returns its port.
    pub async fn add_device(&self, number: u32, settings: &DeviceSettings) -> Result<u16, Error> {
        let mut members = self.inside.members.lock().await;
        let ways = self.inside.ways.clone();
        let device = Embedded::new(settings, Arc::clone(&self.network), |input| {
            ways.add(number, input.clone());
            Box::new(move |bytes: &[u8]| {
                if let Some(packet) = IpPacket::parse(bytes) {
                    ways.pass(packet, (number, &input));
                } else {
                    tracing::debug!("a tunnel brought no IP packet");
                }
            })
        });
        let started = async {
            let device = device.await?;
            device.resume(true).await?;
            Ok(device)
        };
        let device = started.await.inspect_err(|_: &Error| self.inside.ways.remove(number))?;
        let port = device.socket().map_or(settings.port, |socket| socket.port());
        members.devices.insert(number, One { device, port });
        Ok(port)
    }

    /// Takes a device away, and who is on it.
    pub async fn remove_device(&self, number: u32) {
        let mut members = self.inside.members.lock().await;
        let Some(one) = members.devices.remove(&number) else { return };
        one.device.suspend().await;
        self.inside.ways.remove(number);
        members.owners.retain(|(device, _), _| *device != number);
        let mut table = self.inside.ways.table.write().unwrap_or_else(PoisonError::into_inner);
        members.known.retain(|leg, known| {
            if leg.device == number {
                table.take(*leg, &known.member.settings.allowed);
            }
            leg.device != number
        });
    }

    /// The devices and their ports.
    pub async fn devices(&self) -> Vec<(u32, u16)> {
        let members = self.inside.members.lock().await;
        members.devices.iter().map(|(number, one)| (*number, one.port)).collect()
    }

    /// Where members reach a device.
    pub async fn socket(&self, number: u32) -> Option<SocketAddr> {
        self.inside.members.lock().await.devices.get(&number)?.device.socket()
    }

    /// Changes what the exchange itself is; no member is touched.
    pub fn configure(&self, addresses: &[IpNet], rules: Rules) {
        let mut table = self.inside.ways.table.write().unwrap_or_else(PoisonError::into_inner);
        table.addresses = addresses.to_vec();
        table.rules = rules;
    }

    /// Moves a device to another port; returns whether there is such a device. An error leaves the port as it was before.
    pub async fn listen(&self, number: u32, port: u16) -> Result<bool, Error> {
        let mut members = self.inside.members.lock().await;
        let Some(one) = members.devices.get_mut(&number) else { return Ok(false) };
        if port != one.port {
            if let Err(error) = one.device.set_listen_port(port).await {
                one.device.set_listen_port(one.port).await?;
                return Err(error);
            }
            one.port = port;
        }
        Ok(true)
    }

    /// Adds a member, or changes the one with this key in place; its session stays. A new one without an endpoint is called where it
    /// was last heard. Returns whether there is such a device.
    pub async fn set(&self, member: Member, heard: Option<SocketAddr>) -> Result<bool, Error> {
        let mut members = self.inside.members.lock().await;
        let members = &mut *members;
        let Some(one) = members.devices.get(&member.device) else { return Ok(false) };
        let leg = Leg { device: member.device, key: member.settings.public_key };
        let before = members.known.get(&leg).map(|known| known.member.clone());
        match &before {
            None => one.add(&member.settings, heard).await?,
            Some(before) => one.modify(&before.settings, &member.settings).await?,
        }
        self.inside.ways.give(leg, before.as_ref(), &member);
        for robbed in members.own(leg, before.as_ref(), &member) {
            members.rob(robbed, &member.settings.allowed).await?;
        }
        let handshake = members.known.get(&leg).and_then(|known| known.handshake);
        members.known.insert(leg, Known { member, handshake });
        Ok(true)
    }

    /// Removes a member from a device; returns whether there was one.
    pub async fn remove(&self, number: u32, key: &[u8; 32]) -> Result<bool, Error> {
        let mut members = self.inside.members.lock().await;
        let members = &mut *members;
        let Some(one) = members.devices.get(&number) else { return Ok(false) };
        one.device.remove(key).await?;
        let leg = Leg { device: number, key: *key };
        let Some(known) = members.known.remove(&leg) else {
            return Ok(false);
        };
        let allowed = known.member.settings.allowed;
        for net in &allowed {
            if members.owners.get(&(number, *net)) == Some(key) {
                members.owners.remove(&(number, *net));
            }
        }
        let mut table = self.inside.ways.table.write().unwrap_or_else(PoisonError::into_inner);
        table.take(leg, &allowed);
        Ok(true)
    }

    /// What the devices know of the members.
    pub async fn members(&self) -> Vec<MemberState> {
        let mut members = self.inside.members.lock().await;
        let found = members.remember_handshakes().await;
        let handshake = |leg: &Leg| members.known.get(leg).and_then(|known| known.handshake);
        let state =
            |(leg, on_device): (Leg, _)| MemberState { device: leg.device, handshake: handshake(&leg), on_device };
        found.into_iter().map(state).collect()
    }

    /// Stops and waits until the sockets are closed.
    pub async fn stop(&self) {
        for one in self.inside.members.lock().await.devices.values() {
            one.device.suspend().await;
        }
    }
}

impl Ways {
    fn add(&self, number: u32, input: TunnelInput) {
        self.inputs.write().unwrap_or_else(PoisonError::into_inner).insert(number, input);
    }

    fn remove(&self, number: u32) {
        self.inputs.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Passes a packet on that a device brought, by the device that leads to where it goes.
    fn pass(&self, packet: IpPacket, (from, back): (u32, &TunnelInput)) {
        let (onward, by) = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let Some(onward) = table.forward(packet) else { return };
            let by = table.device_to(onward.destination()).unwrap_or(from);
            (onward, by)
        };
        let Some(bytes) = onward.to_bytes() else { return };
        if by == from {
            return back.send(&bytes);
        }
        if let Some(input) = self.inputs.read().unwrap_or_else(PoisonError::into_inner).get(&by) {
            input.send(&bytes);
        }
    }

    /// Writes the addresses of a member into the table that is sent to by this device.
    fn give(&self, leg: Leg, before: Option<&Member>, member: &Member) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = before {
            let gone: Vec<IpNet> = less(&before.settings.allowed, &member.settings.allowed);
            table.take(leg, &gone);
        }
        if member.sends {
            table.give(leg, member.side, &member.settings.allowed);
        }
    }
}

impl One {
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
}

impl Members {
    /// Notes who has which prefix on a device; returns who lost some.
    fn own(&mut self, leg: Leg, before: Option<&Member>, member: &Member) -> HashSet<Leg> {
        let (device, key) = (leg.device, leg.key);
        for net in before.map(|before| less(&before.settings.allowed, &member.settings.allowed)).into_iter().flatten() {
            if self.owners.get(&(device, net)) == Some(&key) {
                self.owners.remove(&(device, net));
            }
        }
        let owners = &mut self.owners;
        let lost = member.settings.allowed.iter().filter_map(|net| owners.insert((device, *net), key));
        lost.filter(|before| *before != key).map(|key| Leg { device, key }).collect()
    }

    /// Takes addresses from a member that another one on its device now has, so that the device says who really has them.
    async fn rob(&mut self, leg: Leg, taken: &[IpNet]) -> Result<(), Error> {
        let (Some(known), Some(one)) = (self.known.get_mut(&leg), self.devices.get(&leg.device)) else { return Ok(()) };
        let allowed = &mut known.member.settings.allowed;
        *allowed = less(allowed, taken);
        let left = networks(allowed);
        let change = |peer: &mut gotatun::device::configure::PeerMut| {
            peer.clear_allowed_ips();
            peer.add_allowed_ips(left);
        };
        one.device.modify(&leg.key, change).await
    }

    async fn remember_handshakes(&mut self) -> Vec<(Leg, PeerOnDevice)> {
        let mut found = Vec::new();
        for (number, one) in &self.devices {
            let on = one.device.peers().await;
            found.extend(on.into_iter().map(|peer| (Leg { device: *number, key: peer.public_key }, peer)));
        }
        let now = SystemTime::now();
        for (leg, peer) in &found {
            let Some(known) = self.known.get_mut(leg) else { continue };
            let Some(at) = peer.handshake_age.and_then(|age| now.checked_sub(age)) else { continue };
            let newer = known.handshake.is_none_or(|before| at > before + SAME_HANDSHAKE);
            if newer {
                known.handshake = Some(at);
            }
        }
        found
    }

    /// Starts handshakes that should have been.
    async fn nudge(&self, found: Vec<(Leg, PeerOnDevice)>) {
        let mut by_device: BTreeMap<u32, Vec<PeerOnDevice>> = BTreeMap::new();
        for (leg, peer) in found {
            by_device.entry(leg.device).or_default().push(peer);
        }
        for (number, peers) in by_device {
            if let Some(one) = self.devices.get(&number) {
                one.device.nudge(&peers).await;
            }
        }
    }
}

/// Remembers handshakes before gotatun forgets them, and starts those it gave up.
async fn look_after(inside: Arc<Inside>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut members = inside.members.lock().await;
        let found = members.remember_handshakes().await;
        members.nudge(found).await;
    }
}

/// What is in `all` and not in `other`.
fn less(all: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    all.iter().filter(|net| !other.contains(net)).copied().collect()
}
