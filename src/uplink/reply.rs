//! What a hub answers, judged.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{self, HeaderName},
};
use serde::de::DeserializeOwned;

use super::{Refusal, UplinkError};
use crate::api::{PROBLEM_TYPE, Problem};
use crate::domain::shown;

/// The longest `Retry-After` that is believed: an agent looks in at least this often.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// An answer with a status of 2xx.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The version of the thing (`ETag`), as `If-Match` takes it.
    pub etag: Option<String>,
    /// Where the thing is that was made.
    pub location: Option<String>,
    /// The media type, with its parameters; empty if there was none.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// Reads the body. An empty one is `null`.
    ///
    /// # Errors
    /// [`UplinkError::Garbage`] if it is no JSON, or not the JSON that is meant.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, UplinkError> {
        if self.body.is_empty() {
            return serde_json::from_slice(b"null").map_err(|_| self.nonsense("it has no body"));
        }
        if media_type(&self.content_type) != "application/json" {
            return Err(self.garbage());
        }
        serde_json::from_slice(&self.body).map_err(|error| self.nonsense(&error.to_string()))
    }

    /// The error that this is no answer of a hub.
    pub(super) fn garbage(&self) -> UplinkError {
        UplinkError::Garbage { status: self.status, said: shown(&self.body), retry_after: None }
    }

    /// The error that this is JSON, but not what was asked for. The body is not shown: it may carry a secret.
    fn nonsense(&self, why: &str) -> UplinkError {
        UplinkError::Garbage { status: self.status, said: shown(why.as_bytes()), retry_after: None }
    }
}

/// Judges a whole answer: 2xx and 304 are replies, all else is an error.
pub(super) fn judge(status: u16, headers: &HeaderMap, body: Bytes) -> Result<Reply, UplinkError> {
    let header =
        |name: HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let content_type = header(header::CONTENT_TYPE).unwrap_or_default();
    let retry_after = header(header::RETRY_AFTER).as_deref().and_then(seconds);
    match status {
        200..=299 | 304 => {
            let (etag, location) = (header(header::ETAG), header(header::LOCATION));
            Ok(Reply { status, etag, location, content_type, body })
        }
        300..=399 => {
            let to = header(header::LOCATION).unwrap_or_default();
            Err(UplinkError::Moved { status, to: shown(to.as_bytes()) })
        }
        _ => Err(match problem(status, &content_type, &body) {
            Some(problem) => UplinkError::Refused(Box::new(Refusal { problem, retry_after })),
            None => UplinkError::Garbage { status, said: shown(&body), retry_after },
        }),
    }
}

/// The hub's own words of why not, made fit to be shown; its status is the one that came.
fn problem(status: u16, content_type: &str, body: &[u8]) -> Option<Problem> {
    if media_type(content_type) != PROBLEM_TYPE {
        return None;
    }
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let fit = |text: String| shown(text.as_bytes());
    Some(Problem {
        kind: fit(problem.kind),
        title: fit(problem.title),
        status,
        detail: fit(problem.detail),
        code: fit(problem.code),
        hint: problem.hint.map(fit),
        field: problem.field.map(fit),
    })
}

/// `application/json` of `Application/JSON; charset=utf-8`.
fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `Retry-After` in seconds; a date is not understood, and nothing is lost by that.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}
