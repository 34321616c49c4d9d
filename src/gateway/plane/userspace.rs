//! WireGuard in this process, on a TUN device inside the instance's namespace; its UDP socket is outside.
//!
//! The TUN ends with the process: after a restart the instance comes back from its configuration.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::FutureExt;
use gotatun::device::configure::{PeerMut, PeerStats};
use gotatun::device::{DefaultDeviceTransports, Device, DeviceBuilder, Peer};
use gotatun::tun::tun_async_device::TunDevice;
use gotatun::x25519;
use ipnet::IpNet;
use ipnetwork::IpNetwork;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::namespace::Namespace;
use super::trouble::Doing;
use super::tunnel::{Tunnel, TunnelPeer, ascending, canonical, name};
use super::{DevicePeer, PlaneError, preshared_digest};
use crate::domain::PublicKey;
use crate::wireguard::keys::SecretKey;

/// How often handshakes are remembered, and those begun that gotatun gave up: it forgets one with its session after 180 s.
const WATCH_PAUSE: Duration = Duration::from_secs(5);
/// How long a handshake that we begin may take to be *sent*; it goes at once, the answer is not waited for.
const NUDGE_DEADLINE: Duration = Duration::from_millis(20);
/// Bytes of the socket's buffers: a burst of 1,420-byte packets at 1 Gbit/s for about 30 ms.
const SOCKET_BUFFER: usize = 4 << 20;

type Wireguard = Device<DefaultDeviceTransports>;

/// A device in this process.
pub(super) struct Userspace {
    number: u32,
    shared: Arc<Shared>,
    listen_port: AtomicU16,
    watch: AbortHandle,
}

struct Shared {
    /// Changes take turns; `None` once it was stopped.
    device: tokio::sync::Mutex<Option<Wireguard>>,
    /// The last handshake of each peer.
    handshakes: Mutex<HashMap<PublicKey, SystemTime>>,
}

impl fmt::Debug for Userspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Userspace").field("listen_port", &self.listen_port).finish_non_exhaustive()
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Userspace {
    /// Makes the device, without peers.
    pub async fn new(namespace: &Namespace, number: u32, key: &SecretKey, port: u16) -> Result<Self, PlaneError> {
        let links = namespace.links().await?;
        let name = name(number);
        if let Some(left) = links.find(&name).await? {
            // Of a device that broke down, or of a process that is just ending: it would hold the name.
            links.remove(left).await?;
        }
        let tun = namespace.run(move || TunDevice::from_name(&name).doing(|| "open a TUN device".to_owned())).await?;
        let device = DeviceBuilder::new()
            .with_default_udp()
            .udp_recv_buffer_size(SOCKET_BUFFER)
            .udp_send_buffer_size(SOCKET_BUFFER)
            .with_ip(tun)
            .with_private_key(key.to_static())
            .with_listen_port(port)
            .build()
            .await
            .doing(|| "start a WireGuard device".to_owned())?;
        // gotatun opens its socket with the first peer, an instance with its interface. This opens it.
        device.clear_peers().await.doing(|| format!("listen on UDP port {port}"))?;
        let port = device.read(async |device| device.listen_port()).await;
        let shared = Arc::new(Shared { device: Some(device).into(), handshakes: Mutex::default() });
        let watch = tokio::spawn(watch(Arc::downgrade(&shared))).abort_handle();
        Ok(Self { number, shared, listen_port: port.into(), watch })
    }
}

impl Shared {
    /// Reads all peers, and remembers their handshakes.
    async fn stats(&self) -> Result<Vec<PeerStats>, PlaneError> {
        let mut device = self.device.lock().await;
        let device = device.as_mut().ok_or_else(stopped)?;
        if device.wait().now_or_never().is_some() {
            return Err(PlaneError::new("the WireGuard device in this process broke down"));
        }
        let stats = device.peers().await;
        let now = SystemTime::now();
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        for found in &stats {
            let at = found.stats.last_handshake.and_then(|age| now.checked_sub(age));
            if let (Some(at), Ok(key)) = (at, PublicKey::from_bytes(found.peer.public_key.to_bytes())) {
                let known = handshakes.entry(key).or_insert(at);
                *known = at.max(*known);
            }
        }
        Ok(stats)
    }

    /// Begins handshakes that gotatun gave up after 90 s: persistent keepalive is for ever in the kernel, but not there.
    async fn nudge(&self, stats: &[PeerStats]) {
        let device = self.device.lock().await;
        let Some(device) = device.as_ref() else { return };
        for found in stats {
            let calls = found.peer.keepalive.is_some() && found.peer.endpoint.is_some();
            if calls && found.stats.last_handshake.is_none() {
                call(device, &found.peer.public_key).await;
            }
        }
    }
}

/// Begins a handshake; an answer comes later, or never.
async fn call(device: &Wireguard, key: &x25519::PublicKey) {
    if let Ok(Err(error)) = timeout(NUDGE_DEADLINE, device.force_handshake(key)).await {
        tracing::debug!(%error, "a handshake could not be started");
    }
}

async fn watch(shared: Weak<Shared>) {
    let mut tick = interval(WATCH_PAUSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        match shared.stats().await {
            Ok(stats) => shared.nudge(&stats).await,
            // Whoever reads the peers next is told.
            Err(error) => return tracing::debug!(%error, "the device is no longer watched"),
        }
    }
}

#[async_trait]
impl Tunnel for Userspace {
    fn listen_port(&self) -> u16 {
        self.listen_port.load(Ordering::Relaxed)
    }

    async fn set_listen_port(&self, port: u16) -> Result<(), PlaneError> {
        let before = self.listen_port();
        if port == before {
            return Ok(());
        }
        // gotatun closes the old socket before it opens the new one: a port that is taken is better found out before.
        free(port).doing(|| format!("listen on UDP port {port}"))?;
        let device = self.shared.device.lock().await;
        let device = device.as_ref().ok_or_else(stopped)?;
        if let Err(error) = device.set_listen_port(port).await {
            device.set_listen_port(before).await.doing(|| format!("listen on UDP port {before} again"))?;
            return Err(error).doing(|| format!("listen on UDP port {port}"));
        }
        self.listen_port.store(port, Ordering::Relaxed);
        Ok(())
    }

    async fn set_running(&self, running: bool) -> Result<(), PlaneError> {
        let device = self.shared.device.lock().await;
        let device = device.as_ref().ok_or_else(stopped)?;
        if running {
            device.resume().await.doing(|| "switch a WireGuard device on".to_owned())
        } else {
            device.suspend().await;
            Ok(())
        }
    }

    async fn peers(&self) -> Result<Vec<DevicePeer>, PlaneError> {
        let stats = self.shared.stats().await?;
        let handshakes = self.shared.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        stats.into_iter().map(|found| device_peer(self.number, found, &handshakes)).collect()
    }

    async fn set_peer(&self, peer: &TunnelPeer) -> Result<(), PlaneError> {
        let what = || format!("set peer {}", peer.public_key);
        let key = x25519::PublicKey::from(*peer.public_key.as_bytes());
        let device = self.shared.device.lock().await;
        let device = device.as_ref().ok_or_else(stopped)?;
        let set = device.write(async |device| {
            let known = device.modify_peer(&key, |change| modify(change, peer)).await;
            if !known {
                device.add_peer(new_peer(key, peer));
            }
            known
        });
        let known = set.await.doing(what)?;
        if !known && peer.keepalive_secs != 0 && peer.endpoint.is_some() {
            call(device, &key).await;
        }
        Ok(())
    }

    async fn remove_peer(&self, public_key: &PublicKey) -> Result<(), PlaneError> {
        let device = self.shared.device.lock().await;
        let device = device.as_ref().ok_or_else(stopped)?;
        let key = x25519::PublicKey::from(*public_key.as_bytes());
        device.remove_peer(&key).await.doing(|| format!("remove peer {public_key}"))?;
        self.shared.handshakes.lock().unwrap_or_else(PoisonError::into_inner).remove(public_key);
        Ok(())
    }

    async fn stop(&self) {
        if let Some(device) = self.shared.device.lock().await.take() {
            device.stop().await;
        }
    }
}

/// Whether a port can be had, for both families where the host has both.
fn free(port: u16) -> io::Result<()> {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::AddrNotAvailable) => {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map(drop)
        }
        bound => bound.map(drop),
    }
}

fn stopped() -> PlaneError {
    PlaneError::new("the instance was taken down")
}

/// Changes a peer in place: session, counters and the place where it was heard stay.
fn modify(change: &mut PeerMut, peer: &TunnelPeer) {
    change.set_preshared_key(peer.preshared_key.as_deref().copied());
    change.set_keepalive(keepalive(peer));
    change.clear_allowed_ips();
    change.add_allowed_ips(networks(&peer.allowed));
    if let Some(endpoint) = peer.endpoint {
        change.set_endpoint(Some(endpoint));
    }
}

fn new_peer(key: x25519::PublicKey, peer: &TunnelPeer) -> Peer {
    let mut new = Peer::new(key).with_allowed_ips(networks(&peer.allowed));
    new.endpoint = peer.endpoint;
    new.keepalive = keepalive(peer);
    new.preshared_key = peer.preshared_key.as_deref().copied();
    new
}

fn keepalive(peer: &TunnelPeer) -> Option<u16> {
    (peer.keepalive_secs != 0).then_some(peer.keepalive_secs)
}

fn networks(allowed: &[IpNet]) -> Vec<IpNetwork> {
    // An `IpNet` has no length that `IpNetwork` refuses.
    allowed.iter().filter_map(|net| IpNetwork::new(net.network(), net.prefix_len()).ok()).collect()
}

fn device_peer(
    device: u32,
    found: PeerStats,
    handshakes: &HashMap<PublicKey, SystemTime>,
) -> Result<DevicePeer, PlaneError> {
    let public_key =
        PublicKey::from_bytes(found.peer.public_key.to_bytes()).doing(|| "read a peer's key".to_owned())?;
    let allowed = found.peer.allowed_ips.iter().map(|net| IpNet::new(net.network(), net.prefix()));
    let allowed: Vec<IpNet> = allowed.collect::<Result<_, _>>().doing(|| "read a peer's prefixes".to_owned())?;
    Ok(DevicePeer {
        device,
        public_key,
        allowed: ascending(allowed),
        keepalive_secs: found.peer.keepalive.unwrap_or_default(),
        endpoint: found.peer.endpoint.map(canonical),
        preshared_key: found.peer.preshared_key.as_ref().map(preshared_digest),
        handshake: handshakes.get(&public_key).copied(),
        rx_bytes: found.stats.rx_bytes as u64,
        tx_bytes: found.stats.tx_bytes as u64,
    })
}
