//! A stream that loses patience: with a client that sends its request's head too slowly, is idle too long, or does not take what
//! it asked for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// For a request's head to arrive, and for a new connection to begin one.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests: longer than a gateway or agent is silent, so that it need not connect anew for each report.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Without a byte taken by the client, while there is something for it.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

const HEAD: u8 = 0;
const BUSY: u8 = 1;
const IDLE: u8 = 2;

/// What a connection does: known to the stream, told by the service.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage(Arc<AtomicU8>);

impl Stage {
    /// A request came in: its body and its answer have deadlines of their own.
    pub(super) fn busy(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// A request was answered.
    pub(super) fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }

    /// Whether a request is worked on.
    pub(super) fn is_busy(&self) -> bool {
        self.now() == BUSY
    }

    fn now(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The stream. One timer serves both directions: reading waits while nothing is to be written.
#[derive(Debug)]
pub(super) struct Patience<S> {
    inner: S,
    stage: Stage,
    /// The stage that the timer was set for.
    reading: Option<u8>,
    read_timer: Pin<Box<Sleep>>,
    /// There only while the client does not take what there is.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(super) fn new(inner: S, stage: Stage) -> Self {
        let read_timer = Box::pin(tokio::time::sleep(HEAD_TIMEOUT));
        Self { inner, stage, reading: Some(HEAD), read_timer, write_timer: None }
    }

    fn expect(&mut self, stage: u8) {
        self.reading = Some(stage);
        let patience = if stage == HEAD { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
        self.read_timer.as_mut().reset(Instant::now() + patience);
    }

    /// Called when there is nothing to read.
    fn wait_to_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stage = self.stage.now();
        if stage == BUSY {
            self.reading = Some(BUSY);
            return Poll::Pending;
        }
        if self.reading != Some(stage) {
            self.expect(stage);
        }
        match self.read_timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Called with what writing gave.
    fn wait_to_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Pending => self.wait_to_read(cx),
            ready @ Poll::Ready(_) => {
                if buffer.filled().len() > before && self.stage.now() == IDLE {
                    // The first bytes of another request: from now on its head has to come.
                    self.stage.0.store(HEAD, Ordering::Relaxed);
                    self.expect(HEAD);
                }
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wait_to_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wait_to_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.wait_to_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.wait_to_write(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_in_ends_the_connection_and_a_long_answer_does_not() {
        let (mut client, server) = tokio::io::duplex(64);
        let stage = Stage::default();
        let mut server = Patience::new(server, stage.clone());
        let mut byte = [0];
        let began = Instant::now();
        let error = loop {
            client.write_all(b"G").await.unwrap();
            server.read_exact(&mut byte).await.unwrap();
            tokio::select! {
                read = server.read_exact(&mut byte) => break read.unwrap_err(),
                () = tokio::time::sleep(Duration::from_secs(3)) => {}
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());

        let (_client, server) = tokio::io::duplex(64);
        let mut server = Patience::new(server, stage.clone());
        stage.busy();
        let waited = tokio::time::timeout(Duration::from_mins(10), server.read(&mut byte)).await;
        assert!(waited.is_err(), "a request that is worked on has no deadline here");
        stage.idle();
        let began = Instant::now();
        let error = server.read(&mut byte).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, IDLE_TIMEOUT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_ends_the_connection() {
        let (_client, server) = tokio::io::duplex(8);
        let mut server = Patience::new(server, Stage::default());
        let began = Instant::now();
        let error = server.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, WRITE_TIMEOUT.as_secs()));
    }
}
