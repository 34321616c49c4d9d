//! How the rooted backends say what went wrong: what was tried, on what, and the system's reason.

use super::PlaneError;

impl PlaneError {
    /// Says what could not be done, where no deeper reason is known.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }
}

/// Adds to an error what was being done.
pub(super) trait Doing<T> {
    /// Turns the error into a [`PlaneError`] that says `what` was tried.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PlaneError>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PlaneError> {
        self.map_err(|source| PlaneError { what: what(), source: Some(source.into()) })
    }
}
