//! The kernel's WireGuard: made outside, so that its UDP socket stays there, then moved into the instance's namespace and
//! controlled there. It outlives this process, with its sessions.

mod known;
mod netlink;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ipnet::IpNet;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardPeer,
    WireguardPeerAttribute, WireguardPeerFlags, WireguardTimeSpec,
};

use self::known::Known;
use self::netlink::Reply;
use super::links::{Link, Links};
use super::namespace::Namespace;
use super::trouble::Doing;
use super::tunnel::{Tunnel, TunnelPeer, canonical, name};
use super::{DevicePeer, PlaneError, preshared_digest};
use crate::api::InstanceId;
use crate::domain::PublicKey;
use crate::wireguard::keys::{SecretKey, generate_private};

/// What the link is called outside, in the moment before it is moved.
const OUTSIDE: &str = "spw";
/// How often a list of peers is read that changed meanwhile.
const READINGS: u32 = 5;

/// A device of the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    number: u32,
    namespace: Namespace,
    links: Links,
    link: Link,
    listen_port: AtomicU16,
    /// What the device has, as far as it was set or read here.
    known: Mutex<Known>,
}

fn outside_name(instance: &InstanceId) -> String {
    format!("{OUTSIDE}{instance}")
}

/// Removes what a run that was stopped half way left outside.
pub(super) async fn sweep(instance: &InstanceId) -> Result<(), PlaneError> {
    let outside = Links::here()?;
    match outside.find(&outside_name(instance)).await? {
        Some(link) => outside.remove(link).await,
        None => Ok(()),
    }
}

impl Kernel {
    /// Makes the device, or takes over the one that is there with its peers and sessions.
    pub async fn new(
        instance: &InstanceId,
        namespace: &Namespace,
        number: u32,
        key: &SecretKey,
        port: u16,
    ) -> Result<Self, PlaneError> {
        let links = namespace.links().await?;
        let found = links.find(&name(number)).await?;
        let link = match found {
            Some(link) => link,
            None => Self::make(instance, namespace, number, &links).await?,
        };
        let (namespace, known) = (namespace.clone(), Mutex::default());
        let device = Self { number, namespace, links, link, listen_port: 0.into(), known };
        let before = device.read().await?;
        device.known().read(before.peers.values());
        if before.public_key != Some(key.public()) {
            device.change(vec![WireguardAttribute::PrivateKey(*key.expose())], || "set the key".to_owned()).await?;
        }
        device.set_listen_port(if port == 0 { before.listen_port } else { port }).await?;
        // The socket is opened now: a port that is taken is found out here.
        let up = device.links.up(link).await;
        up.map_err(|error| PlaneError { what: format!("listen on UDP port {port}"), source: Some(Box::new(error)) })?;
        let port = device.read().await?.listen_port;
        device.listen_port.store(port, Ordering::Relaxed);
        Ok(device)
    }

    async fn make(
        instance: &InstanceId,
        namespace: &Namespace,
        number: u32,
        inside: &Links,
    ) -> Result<Link, PlaneError> {
        sweep(instance).await?;
        let outside = Links::here()?;
        let link = outside.add_wireguard(&outside_name(instance)).await?;
        outside.move_to(link, namespace, &name(number)).await?;
        inside.need(&name(number)).await
    }

    async fn change(
        &self,
        mut attributes: Vec<WireguardAttribute>,
        what: impl Fn() -> String + Send + 'static,
    ) -> Result<(), PlaneError> {
        attributes.insert(0, WireguardAttribute::IfName(name(self.number)));
        self.namespace.run(move || netlink::change(attributes).doing(what)).await
    }

    /// Reads the device; again while it changes under the reading.
    async fn read(&self) -> Result<Reading, PlaneError> {
        let what = || "read the WireGuard device".to_owned();
        for _ in 0..READINGS {
            let name = name(self.number);
            let reply = self.namespace.run(move || netlink::read(&name).doing(what)).await?;
            if let Reply::Complete(parts) = reply {
                return Reading::from(self.number, parts);
            }
        }
        Err(PlaneError::new(format!("the WireGuard device changed during each of {READINGS} readings")))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tunnel for Kernel {
    fn listen_port(&self) -> u16 {
        self.listen_port.load(Ordering::Relaxed)
    }

    async fn set_listen_port(&self, port: u16) -> Result<(), PlaneError> {
        if port != self.listen_port() {
            let what = move || format!("listen on UDP port {port}");
            self.change(vec![WireguardAttribute::ListenPort(port)], what).await?;
            self.listen_port.store(port, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn set_running(&self, running: bool) -> Result<(), PlaneError> {
        if running { self.links.up(self.link).await } else { self.links.down(self.link).await }
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        let lacks = |reading: &Reading| self.known().missing(|key| reading.peers.contains_key(key));
        let changes = self.known().changes();
        let mut reading = self.read().await?;
        let missing = lacks(&reading);
        if missing > 0 {
            // Somebody else removed them, or the reading was cut short: two that agree are the truth.
            let again = self.read().await?;
            if again.peers.len() != reading.peers.len() {
                return Err(PlaneError::new(format!(
                    "two readings of the peers gave {} and {}: one was cut short",
                    reading.peers.len(),
                    again.peers.len()
                )));
            }
            tracing::warn!(missing, "peers that were set are not in the device");
            reading = again;
        }
        let mut known = self.known();
        if known.changes() == changes {
            known.read(reading.peers.values());
        }
        drop(known);
        Ok(reading.peers.into_values().collect())
    }

    async fn set_peer(&self, peer: &TunnelPeer) -> Result<(), PlaneError> {
        let key = peer.public_key;
        let given_up = self.known().given_up(&key, &peer.allowed);
        let mut peers = vec![WireguardPeer(attributes(peer, given_up.is_none()))];
        if let Some(given_up) = given_up.filter(|given_up| !given_up.is_empty()) {
            peers.extend(take_away(&given_up)?);
        }
        let set = self.change(vec![WireguardAttribute::Peers(peers)], move || format!("set peer {key}")).await;
        match &set {
            Ok(()) => self.known().set(key, &peer.allowed),
            // Some of it may be done: next time all that it has is replaced.
            Err(_) => self.known().forget(&key),
        }
        set
    }

    async fn remove_peer(&self, public_key: &PublicKey) -> Result<(), PlaneError> {
        let key = *public_key;
        let peer = WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(*key.as_bytes()),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
        ]);
        self.change(vec![WireguardAttribute::Peers(vec![peer])], move || format!("remove peer {key}")).await?;
        self.known().forget(&key);
        Ok(())
    }

    async fn stop(&self) {
        // It ends with its namespace, and only when that is removed.
    }
}

/// Takes prefixes away from whoever has them: the kernel (before 6.16) knows no such thing, but a peer that is made with them gets them,
/// and they end with it.
fn take_away(nets: &[IpNet]) -> Result<[WireguardPeer; 2], PlaneError> {
    let nobody = generate_private().doing(|| "make a key".to_owned())?.public();
    let key = || WireguardPeerAttribute::PublicKey(nobody);
    Ok([
        WireguardPeer(vec![key(), WireguardPeerAttribute::AllowedIps(nets.iter().map(allowed_ip).collect())]),
        WireguardPeer(vec![key(), WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe)]),
    ])
}

/// What a peer is to be. Replacing all its prefixes makes a moment without any, in which its packets are lost: only for a peer of which
/// it is not known what it has.
fn attributes(peer: &TunnelPeer, replace: bool) -> Vec<WireguardPeerAttribute> {
    // A key of zeros takes the preshared key away.
    let preshared_key = peer.preshared_key.as_deref().copied().unwrap_or_default();
    let mut attributes = vec![
        WireguardPeerAttribute::PublicKey(*peer.public_key.as_bytes()),
        WireguardPeerAttribute::PresharedKey(preshared_key),
        WireguardPeerAttribute::PersistentKeepalive(peer.keepalive_secs),
    ];
    if replace {
        attributes.push(WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps));
    }
    attributes.extend(peer.endpoint.map(WireguardPeerAttribute::Endpoint));
    attributes.push(WireguardPeerAttribute::AllowedIps(peer.allowed.iter().map(allowed_ip).collect()));
    attributes
}

fn allowed_ip(net: &IpNet) -> WireguardAllowedIp {
    let family = match net.addr() {
        IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
        IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(net.network()),
        WireguardAllowedIpAttr::Cidr(net.prefix_len()),
    ])
}

/// A device as it was read.
#[derive(Default)]
struct Reading {
    device: u32,
    listen_port: u16,
    public_key: Option<[u8; 32]>,
    peers: BTreeMap<PublicKey, DevicePeer>,
}

impl Reading {
    fn from(device: u32, parts: Vec<Vec<WireguardAttribute>>) -> Result<Self, PlaneError> {
        let mut reading = Self { device, ..Self::default() };
        for attribute in parts.into_iter().flatten() {
            match attribute {
                WireguardAttribute::ListenPort(port) => reading.listen_port = port,
                WireguardAttribute::PublicKey(key) => reading.public_key = Some(key),
                WireguardAttribute::Peers(peers) => {
                    peers.into_iter().try_for_each(|peer| reading.take(&peer))?;
                }
                _ => {}
            }
        }
        reading.peers.values_mut().for_each(|peer| peer.allowed.sort_unstable());
        Ok(reading)
    }

    /// Takes a peer in. One with many prefixes goes on in the next part, by its key and prefixes alone.
    fn take(&mut self, attributes: &[WireguardPeerAttribute]) -> Result<(), PlaneError> {
        let key = attributes.iter().find_map(|attribute| match attribute {
            WireguardPeerAttribute::PublicKey(key) => Some(*key),
            _ => None,
        });
        let key = key.ok_or_else(|| PlaneError::new("the kernel named a peer without a key"))?;
        let public_key = PublicKey::from_bytes(key).doing(|| "read a peer's key".to_owned())?;
        let peer = self.peers.entry(public_key).or_insert_with(|| new_peer(self.device, public_key));
        for attribute in attributes {
            match attribute {
                WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(canonical(*endpoint)),
                WireguardPeerAttribute::PersistentKeepalive(seconds) => peer.keepalive_secs = *seconds,
                WireguardPeerAttribute::LastHandshake(at) => peer.handshake = handshake(*at),
                // The kernel says zeros where there is none.
                WireguardPeerAttribute::PresharedKey(key) if *key != [0; 32] => {
                    peer.preshared_key = Some(preshared_digest(key));
                }
                WireguardPeerAttribute::RxBytes(bytes) => peer.rx_bytes = *bytes,
                WireguardPeerAttribute::TxBytes(bytes) => peer.tx_bytes = *bytes,
                WireguardPeerAttribute::AllowedIps(allowed) => {
                    for net in allowed.iter().map(prefix) {
                        peer.allowed.push(net?);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn new_peer(device: u32, public_key: PublicKey) -> DevicePeer {
    DevicePeer {
        device,
        public_key,
        allowed: Vec::new(),
        keepalive_secs: 0,
        endpoint: None,
        handshake: None,
        preshared_key: None,
        rx_bytes: 0,
        tx_bytes: 0,
    }
}

fn prefix(allowed: &WireguardAllowedIp) -> Result<IpNet, PlaneError> {
    let (mut address, mut length) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(value) => address = Some(*value),
            WireguardAllowedIpAttr::Cidr(value) => length = Some(*value),
            _ => {}
        }
    }
    let net = address.zip(length).and_then(|(address, length)| IpNet::new(address, length).ok());
    net.ok_or_else(|| PlaneError::new("the kernel named a prefix that is none"))
}

/// The kernel says 1970 where there was no handshake.
fn handshake(at: WireguardTimeSpec) -> Option<SystemTime> {
    let seconds = u64::try_from(at.seconds).ok()?;
    let nanos = u32::try_from(at.nano_seconds).ok()?;
    let since = Duration::new(seconds, nanos);
    (!since.is_zero()).then(|| SystemTime::UNIX_EPOCH + since)
}
