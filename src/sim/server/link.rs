//! A bad link between a client and the device: slow, late, one byte at a time.
//!
//! It sits below TLS, so that handshakes suffer too. Without such a fault the socket is used as it is.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a pipe holds before its writer has to wait.
const PIPE_BYTES: usize = 64 << 10;
/// Pieces that are under way on a late link; with a piece per read this is some MiB at most.
const PIECES_UNDER_WAY: usize = 256;
/// A slow link sends so many pieces per second.
const PIECES_PER_SECOND: u64 = 50;

/// A byte stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How bad a link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkQuality {
    pub(super) bytes_per_second: Option<u64>,
    pub(super) one_byte_segments: bool,
    /// One way.
    pub(super) latency: Option<Duration>,
}

/// Puts the link's faults between a socket and what is returned; the tasks that do it are put into `tasks`.
pub(super) fn degrade(socket: TcpStream, quality: LinkQuality, tasks: &mut JoinSet<()>) -> Box<dyn Stream> {
    if quality == LinkQuality::default() {
        return Box::new(socket);
    }
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let (socket_in, socket_out) = socket.into_split();
    let (far_in, far_out) = tokio::io::split::<DuplexStream>(far);
    carry(socket_in, far_out, quality, tasks);
    carry(far_in, socket_out, quality, tasks);
    Box::new(near)
}

fn carry<R, W>(mut from: R, to: W, quality: LinkQuality, tasks: &mut JoinSet<()>)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES_UNDER_WAY);
    tasks.spawn(async move {
        loop {
            let mut piece = BytesMut::with_capacity(4096);
            match from.read_buf(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let due = Instant::now() + quality.latency.unwrap_or_default();
            if sender.send((due, piece.freeze())).await.is_err() {
                return;
            }
        }
    });
    tasks.spawn(async move {
        if let Err(error) = deliver(receiver, to, quality).await {
            tracing::debug!(%error, "link ended");
        }
    });
}

async fn deliver<W: AsyncWrite + Unpin>(
    mut pieces: mpsc::Receiver<(Instant, Bytes)>,
    mut to: W,
    quality: LinkQuality,
) -> io::Result<()> {
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        let share = quality.bytes_per_second.map_or(piece.len() as u64, |rate| rate.div_ceil(PIECES_PER_SECOND));
        let share = if quality.one_byte_segments { 1 } else { usize::try_from(share).unwrap_or(usize::MAX) };
        for part in piece.chunks(share.max(1)) {
            to.write_all(part).await?;
            to.flush().await?;
            match quality.bytes_per_second {
                Some(rate) => tokio::time::sleep(transmission(part.len(), rate)).await,
                None => tokio::task::yield_now().await,
            }
        }
    }
    to.shutdown().await
}

fn transmission(bytes: usize, rate: u64) -> Duration {
    let micros = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
    Duration::from_micros(micros)
}
