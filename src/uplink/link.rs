//! Connections to one hub, kept for the next request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{task::AbortHandle, time::Instant};

use super::{Connect, UplinkError};

/// Connections that are kept: one for a long-poll, one for what is sent meanwhile.
const MAX_KEPT: usize = 2;
/// Longest time that an unused connection is thought to be still there: below what servers and NAT boxes give it.
const MAX_IDLE: Duration = Duration::from_secs(45);
/// Largest head of a reply, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// A hub's connector, and the connections that nobody uses just now.
pub(super) struct Link {
    connect: Arc<dyn Connect>,
    kept: Mutex<Vec<(Wire, Instant)>>,
}

/// One connection and the task that drives it, which ends with it.
pub(super) struct Wire {
    pub(super) sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub(super) fn new(connect: Arc<dyn Connect>) -> Self {
        Self { connect, kept: Mutex::default() }
    }

    pub(super) fn place(&self) -> String {
        self.connect.place()
    }

    pub(super) fn authority(&self) -> String {
        self.connect.authority()
    }

    /// Takes a connection that was kept, if one still stands.
    pub(super) fn take(&self) -> Option<Wire> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(wire, since)| !wire.sender.is_closed() && since.elapsed() < MAX_IDLE);
        kept.pop().map(|(wire, _)| wire)
    }

    /// Keeps a connection whose reply was read to its end.
    pub(super) fn keep(&self, wire: Wire) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(wire, _)| !wire.sender.is_closed());
        if kept.len() < MAX_KEPT && !wire.sender.is_closed() {
            kept.push((wire, Instant::now()));
        }
    }

    /// Opens a connection.
    pub(super) async fn open(&self) -> Result<Wire, UplinkError> {
        let stream = TokioIo::new(self.connect.connect().await?);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(stream)
            .await
            .map_err(|error| UplinkError::Lost { why: Box::new(error) })?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the hub ended");
            }
        });
        Ok(Wire { sender, task: task.abort_handle() })
    }
}
