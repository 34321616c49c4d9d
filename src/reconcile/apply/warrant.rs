//! The right to write to a router, where several hosts could: a lease, say, that only one of them has.

use std::fmt;
use std::sync::Arc;

/// A right that may end at any moment.
pub trait Warrant: fmt::Debug + Send + Sync {
    /// Returns its number, larger than that of every holder before: it stands in the lock on the router.
    fn number(&self) -> i64;

    /// Tells whether it still holds, by a clock that goes on while this process, or this machine, is stopped.
    fn holds(&self) -> bool;
}

/// The warrant of a run; `None` for whoever needs none.
pub type Warranted = Option<Arc<dyn Warrant>>;

/// Tells whether a run may write.
#[must_use]
pub fn may_write(warrant: &Warranted) -> bool {
    warrant.as_ref().is_none_or(|warrant| warrant.holds())
}
