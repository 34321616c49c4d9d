//! The UDP below WireGuard: one plain socket, and the switches that spoil it.
//!
//! Not gotatun's own socket: that one binds all addresses, keeps 26 MB of receive buffers for each device, and cannot be black-holed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gotatun::packet::{Packet, PacketBufPool};
use gotatun::udp::{UdpRecv, UdpSend, UdpTransportFactory, UdpTransportFactoryParams};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a new socket waits for the one before it to close: gotatun aborts the tasks that hold it, but does not await them.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A WireGuard handshake initiation: its type byte and its length.
///
/// *Source*: the WireGuard whitepaper, section 5.4.2.
const INITIATION: (u8, usize) = (1, 148);

/// The network as one device sees it, shared by all its interfaces.
#[derive(Debug, Default)]
pub(crate) struct Network {
    black_hole: AtomicBool,
    /// Ports that were ever bound, and those of them that nothing passes from or to.
    ports: Mutex<Ports>,
    /// Nothing passes until a peer goes.
    stuck: AtomicBool,
    /// Longest datagram that passes, in bytes; 0 is any.
    longest: AtomicUsize,
    clock_skew_secs: AtomicI64,
    /// The latest time stamp sent to each far end, in microseconds since 1970.
    stamps: Mutex<HashMap<SocketAddr, i128>>,
}

#[derive(Debug, Default)]
struct Ports {
    bound: HashSet<u16>,
    stuck: HashSet<u16>,
}

impl Network {
    /// Lets nothing pass that comes from or goes to a port that is bound by now, while on.
    pub fn set_stuck_ports(&self, on: bool) {
        let mut ports = self.ports();
        if !on {
            ports.stuck.clear();
        } else if ports.stuck.is_empty() {
            let Ports { bound, stuck } = &mut *ports;
            stuck.clone_from(bound);
        }
    }

    /// Lets nothing pass until [`Self::peer_went`].
    pub fn set_stuck(&self, on: bool) {
        self.stuck.store(on, Ordering::Relaxed);
    }

    /// A peer was removed or switched off: what was stuck begins anew.
    pub fn peer_went(&self) {
        self.set_stuck(false);
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_black_hole(&self, on: bool) {
        self.black_hole.store(on, Ordering::Relaxed);
    }

    /// Lets datagrams longer than so many bytes vanish; `None` lets all pass.
    pub fn set_longest(&self, bytes: Option<usize>) {
        self.longest.store(bytes.unwrap_or_default(), Ordering::Relaxed);
    }

    pub fn set_clock_skew(&self, secs: i64) {
        self.clock_skew_secs.store(secs, Ordering::Relaxed);
    }

    fn swallows(&self, bytes: usize, port: u16) -> bool {
        let longest = self.longest.load(Ordering::Relaxed);
        self.black_hole.load(Ordering::Relaxed)
            || self.stuck.load(Ordering::Relaxed)
            || (longest > 0 && bytes > longest)
            || self.ports().stuck.contains(&port)
    }

    /// Whether the far end would take an initiation stamped now for a replay.
    ///
    /// gotatun stamps handshakes by the system's clock and has no way to change that. So what a wrong clock does is done here:
    /// an initiation whose stamp would not be later than the last one is lost on the way, as the far end would ignore it.
    fn stamp_is_stale(&self, far_end: SocketAddr) -> bool {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let skew = i128::from(self.clock_skew_secs.load(Ordering::Relaxed)) * 1_000_000;
        let stamp = i128::try_from(since_1970.as_micros()).unwrap_or(i128::MAX).saturating_add(skew);
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let last = stamps.entry(far_end).or_insert(i128::MIN);
        let stale = stamp <= *last;
        *last = stamp.max(*last);
        stale
    }
}

/// What becomes of a port that somebody else on this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenPort {
    /// Another one stands in: as seen from outside, the device is behind NAT.
    StandIn,
    /// It is an error: peers were told this port.
    Refuse,
}

/// Opens the socket of one interface, again and again as its port changes.
pub(super) struct Wire {
    bind: IpAddr,
    taken: TakenPort,
    network: Arc<Network>,
    bound: watch::Sender<Option<SocketAddr>>,
    open: Option<watch::Receiver<()>>,
}

/// One end of an open socket; the socket closes with the last of them.
#[derive(Clone)]
pub(super) struct WireEnd {
    socket: Arc<UdpSocket>,
    port: u16,
    network: Arc<Network>,
    // After `socket`, for fields drop in order: its end says that the socket is closed.
    _open: watch::Sender<()>,
}

impl Wire {
    /// Returns the wire, and where to read the address it is bound to.
    pub fn new(bind: IpAddr, taken: TakenPort, network: Arc<Network>) -> (Self, watch::Receiver<Option<SocketAddr>>) {
        let (bound, address) = watch::channel(None);
        let wire = Self { bind, taken, network, bound, open: None };
        (wire, address)
    }

    async fn wait_for_close(&mut self) {
        if let Some(mut open) = self.open.take()
            && timeout(CLOSE_DEADLINE, open.changed()).await.is_err()
        {
            tracing::warn!("the socket before is still open");
        }
    }

    fn stands_in(&self, port: u16, error: &io::Error) -> bool {
        self.taken == TakenPort::StandIn && port != 0 && error.kind() == io::ErrorKind::AddrInUse
    }

    /// Binds the port, or another one if somebody on this machine has it and that will do.
    async fn open(&self, port: u16) -> io::Result<UdpSocket> {
        match UdpSocket::bind((self.bind, port)).await {
            Err(error) if self.stands_in(port, &error) => {
                tracing::info!(port, "the port is taken on this machine, another one stands in");
                UdpSocket::bind((self.bind, 0)).await
            }
            other => other,
        }
    }
}

impl UdpTransportFactory for Wire {
    type Send = WireEnd;
    type Recv = WireEnd;

    async fn bind(&mut self, params: &UdpTransportFactoryParams) -> io::Result<(WireEnd, WireEnd)> {
        self.wait_for_close().await;
        self.bound.send_replace(None);
        let socket = self.open(params.port).await?;
        let address = socket.local_addr()?;
        self.network.ports().bound.insert(address.port());
        self.bound.send_replace(Some(address));
        let (open, closed) = watch::channel(());
        self.open = Some(closed);
        let port = address.port();
        let end = WireEnd { socket: Arc::new(socket), port, network: Arc::clone(&self.network), _open: open };
        Ok((end.clone(), end))
    }
}

impl UdpSend for WireEnd {
    type SendManyBuf = ();

    async fn send_to(&self, packet: Packet, destination: SocketAddr) -> io::Result<()> {
        if self.network.swallows(packet.len(), self.port) {
            return Ok(());
        }
        let initiation = (packet.first().copied(), packet.len()) == (Some(INITIATION.0), INITIATION.1);
        if initiation && self.network.stamp_is_stale(destination) {
            tracing::debug!(%destination, "a handshake with a clock that went back is lost");
            return Ok(());
        }
        self.socket.send_to(&packet, destination).await.map(drop)
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        self.socket.local_addr().map(Some)
    }
}

impl UdpRecv for WireEnd {
    type RecvManyBuf = ();

    async fn recv_from(&mut self, pool: &mut PacketBufPool) -> io::Result<(Packet, SocketAddr)> {
        loop {
            let mut buffer = pool.get();
            let (length, source) = match self.socket.recv_from(&mut buffer).await {
                // Linux reports an ICMP error of an earlier send here; the socket is as good as before.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                other => other?,
            };
            buffer.truncate(length);
            if !self.network.swallows(length, self.port) {
                return Ok((buffer, source));
            }
        }
    }
}
