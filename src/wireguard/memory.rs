//! What is above an embedded device: packets in memory, both ways.

use std::io;

use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use tokio::sync::{mpsc, watch};

/// Packets that may wait to be encrypted; more are dropped, as by a router's transmit queue.
const TUNNEL_QUEUE: usize = 1024;

/// Takes the packets that a tunnel decrypted.
pub(crate) type Deliver = Box<dyn FnMut(&[u8]) + Send + Sync>;

/// The way into a tunnel.
#[derive(Debug, Clone)]
pub(crate) struct TunnelInput {
    pub mtu: u16,
    queue: mpsc::Sender<Packet<Ip>>,
}

impl TunnelInput {
    /// Puts a packet into the tunnel's queue; a full queue drops it.
    pub fn send(&self, bytes: &[u8]) {
        let Ok(packet) = Packet::from_bytes(bytes.into()).try_into_ip() else {
            return;
        };
        if let Err(error) = self.queue.try_send(packet) {
            tracing::debug!(%error, "a tunnel takes no packet");
        }
    }

    /// The same way in, for packets of another length.
    pub fn with_mtu(&self, mtu: u16) -> Self {
        Self { mtu, queue: self.queue.clone() }
    }
}

/// Makes the way into a tunnel, gotatun's side of it, and where the tunnel's MTU is changed.
pub(super) fn channel(mtu: u16) -> (TunnelInput, TunnelOutput, watch::Sender<u16>) {
    let (input, queue) = mpsc::channel(TUNNEL_QUEUE);
    let (set_mtu, watched) = watch::channel(mtu);
    (TunnelInput { mtu, queue: input }, TunnelOutput { queue, mtu: watched }, set_mtu)
}

/// gotatun's side of the queue: what it encrypts.
pub(super) struct TunnelOutput {
    queue: mpsc::Receiver<Packet<Ip>>,
    mtu: watch::Receiver<u16>,
}

impl IpRecv for TunnelOutput {
    async fn recv<'a>(
        &'a mut self,
        _pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        match self.queue.recv().await {
            Some(packet) => Ok(std::iter::once(packet)),
            // gotatun would ask again at once, for ever; the device is about to be stopped.
            None => std::future::pending().await,
        }
    }

    fn mtu(&self) -> MtuWatcher {
        self.mtu.clone().into()
    }
}

/// gotatun's other side: what it decrypted.
pub(super) struct Decrypted(pub Deliver);

impl IpSend for Decrypted {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        (self.0)(&packet.into_bytes());
        Ok(())
    }
}
