//! The right to write to a router, where several hosts could: a lease, say, that only one of them has.

use std::fmt;
use std::sync::Arc;

/// A right that may end at any moment.
pub trait Warrant: fmt::Debug + Send + Sync {
    /// Returns its number, larger than that of every holder before: it stands in the lock on the router.
    fn number(&self) -> i64;

    /// Tells whether it still holds, by a clock that goes on while this process, or this machine, is stopped.
    fn holds(&self) -> bool;

    /// Returns what one run that begins now writes by: a run stays with the right that it began with.
    fn of_run(self: Arc<Self>) -> Arc<dyn Warrant>;

    /// Tells whether whoever has a larger number takes the lock over at once, as a right that ended cannot be used any more.
    /// Else the lock has no number, and everybody waits for its end.
    fn yields(&self) -> bool {
        true
    }

    /// Returns why the number that the router itself has speaks against writing: see [`crate::reconcile::fence`].
    fn refuses(&self, noted: Option<i64>) -> Option<String> {
        let larger = noted.filter(|noted| *noted > self.number())?;
        Some(format!("the router is driven under lease {larger} by now, and this is lease {}", self.number()))
    }
}

/// The warrant of a run; `None` for whoever needs none.
pub type Warranted = Option<Arc<dyn Warrant>>;

/// Tells whether a run may write.
#[must_use]
pub fn may_write(warrant: &Warranted) -> bool {
    warrant.as_ref().is_none_or(|warrant| warrant.holds())
}
