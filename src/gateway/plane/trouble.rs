//! How the rooted backends say what went wrong: what was tried, on what, and the system's reason.

use std::error::Error;
use std::io::{self, ErrorKind};

use super::PlaneError;

impl PlaneError {
    /// Says what could not be done, where no deeper reason is known.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }
}

/// The kind of an error of the system, however it was told.
pub(super) fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(error.kind());
    }
    match error.downcast_ref::<rtnetlink::Error>() {
        Some(rtnetlink::Error::NetlinkError(message)) => Some(message.to_io().kind()),
        _ => None,
    }
}

/// Adds to an error what was being done.
pub(super) trait Doing<T> {
    /// Turns the error into a [`PlaneError`] that says `what` was tried.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PlaneError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PlaneError> {
        self.map_err(|source| PlaneError { what: what(), source: Some(source.into()) })
    }
}
