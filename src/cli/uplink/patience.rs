//! Asking a hub again where that helps.

use std::time::{Duration, Instant};

use crate::cli::report::{Event, Reporter};
use crate::uplink::{Retry, UplinkError};

/// Before the second try; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that the hub did not ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Asks until there is an answer, an error that waiting does not mend, or the time is over.
///
/// A hub that answered and was cut off, is busy or starting is asked again. One that is not there at all is not waited for: a
/// wrong address looks the same.
pub(super) async fn patiently<T>(
    end: Instant,
    reporter: &Reporter,
    mut ask: impl AsyncFnMut() -> Result<T, UplinkError>,
) -> Result<T, UplinkError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let wait = error.retry_after().unwrap_or(pause);
        if !mends(&error) || Instant::now() + wait > end {
            return Err(error);
        }
        let message = format!("{error}; asking again in {} s", wait.as_secs_f32());
        reporter.event(&Event::Warning { code: "hub-again", message, hint: None });
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the hub was there.
fn mends(error: &UplinkError) -> bool {
    let was_there = matches!(error, UplinkError::Lost { .. } | UplinkError::Refused(_) | UplinkError::Garbage { .. });
    was_there && error.retry() != Retry::Never
}
