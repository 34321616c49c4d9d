//! WireGuard interfaces of the simulated router: one gotatun device each, real UDP below, packets in memory above.

mod device;
mod wire;

use std::io;

use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use tokio::sync::{mpsc, watch};

pub(super) use device::Tunnel;
pub(super) use wire::Network;

/// Packets that may wait to be encrypted; more are dropped, as by a router's transmit queue.
const TUNNEL_QUEUE: usize = 1024;

/// Takes the packets that a tunnel decrypted.
pub(super) type Deliver = Box<dyn FnMut(&[u8]) + Send + Sync>;

/// The router's way into a tunnel.
#[derive(Debug, Clone)]
pub(super) struct TunnelInput {
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
}

/// gotatun's side of the queue: what it encrypts.
struct TunnelOutput {
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
struct Decrypted(Deliver);

impl IpSend for Decrypted {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        (self.0)(&packet.into_bytes());
        Ok(())
    }
}
