//! Long-polls: answered at once if there is news, else when there is, or when the wait is over.
//!
//! Ten thousand of these wait at once. What is held meanwhile is the waiter, a timer and the handle of the hub; reading the
//! store is boxed, and gone again before the wait begins.

use std::future::Future;
use std::time::Duration;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{DEFAULT_WAIT_SECS, MAX_WAIT_SECS};
use crate::hub::problem::Refusal;
use crate::hub::state::State;
use crate::hub::wake::Waiter;

/// What a long-poll asks for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct PollParams {
    /// The revision that the caller has; 0 for none.
    #[serde(default)]
    #[param(minimum = 0)]
    pub(super) revision: i64,
    /// Seconds to wait for another one; 30 if it is missing.
    #[param(minimum = 0, maximum = 50)]
    pub(super) wait: Option<u64>,
}

impl PollParams {
    /// Checks the numbers.
    pub(super) fn checked(&self) -> Result<(i64, Duration), Refusal> {
        let wait = self.wait.unwrap_or(DEFAULT_WAIT_SECS);
        if wait > MAX_WAIT_SECS {
            return Err(Refusal::invalid("wait", format!("a poll waits for at most {MAX_WAIT_SECS} s")));
        }
        if self.revision < 0 {
            return Err(Refusal::invalid("revision", "a revision is not negative"));
        }
        Ok((self.revision, Duration::from_secs(wait)))
    }
}

/// Reads until there is something, at most for `wait`. The waiter was taken before, so that no change is missed.
///
/// # Cancel safety
/// Nothing is lost.
pub(super) async fn until<T, F>(
    state: &State,
    mut waiter: Waiter,
    wait: Duration,
    mut read: impl FnMut() -> F,
) -> Result<Option<T>, Refusal>
where
    F: Future<Output = Result<Option<T>, Refusal>>,
{
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        if let Some(news) = Box::pin(read()).await? {
            return Ok(Some(news));
        }
        tokio::select! {
            () = waiter.woken() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(None),
            () = state.stopping.cancelled() => return Ok(None),
        }
    }
}
