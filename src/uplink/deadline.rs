//! How long each step of a request may take.

use std::{fmt, future::Future, time::Duration};

use crate::api::MAX_WAIT_SECS;

use super::UplinkError;

/// What a long-poll may take longer than the longest wait it may ask for: the way there and back over a bad line.
const POLL_SLACK: Duration = Duration::from_secs(15);

/// How long each step of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Name, TCP and TLS together; more than the default is not given.
    pub connect: Duration,
    /// From sending to the whole head of the reply.
    pub head: Duration,
    /// The whole body of the reply.
    pub body: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), head: Duration::from_secs(20), body: Duration::from_secs(30) }
    }
}

impl Deadlines {
    /// The same, for a request that the hub may leave waiting.
    pub(super) fn of_a_poll(self) -> Self {
        Self { head: Duration::from_secs(MAX_WAIT_SECS) + POLL_SLACK.min(self.head), ..self }
    }
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Resolving the name.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The head of the reply.
    Head,
    /// The body of the reply.
    Body,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "its name was not resolved",
            Self::Connect => "there was no connection",
            Self::Tls => "the TLS handshake did not end",
            Self::Head => "there was no answer",
            Self::Body => "the answer did not end",
        })
    }
}

/// Waits for `work` at most `after`.
pub(super) async fn within<T>(
    step: Step,
    after: Duration,
    work: impl Future<Output = Result<T, UplinkError>>,
) -> Result<T, UplinkError> {
    tokio::time::timeout(after, work).await.unwrap_or(Err(UplinkError::Timeout { step, after }))
}
