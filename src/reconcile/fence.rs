//! The router's own word of who drives it, where several proxies may.
//!
//! A proxy whose hub is away goes on with the routers it has: last known good is kept up for as long as that takes. It cannot know
//! then whether the hub, which others may reach, gave its lease to somebody else. So the router tells it: the number of the lease
//! stands as a note behind the marker of our interface list ([`FENCE_NOTE`]). Whoever has a new lease writes its number there first,
//! with the groundwork, before anything that carries traffic; whoever drives without a lease takes the note off. A holder whose
//! lease has ended looks at the note under the lock on the router before it writes, and writes only where its very number stands.
//! Its lock has no number then, so that nobody takes it over in the midst of its work: the next holder waits for its end, or for the
//! lock's timeout. The lock is what the router itself hands out once; the note is read under it: never two writers.
//!
//! The price is one write on each router when its lease goes to another process, and none as long as it is renewed.

use super::decide::Refused;
use super::observe::Observed;
use super::plan::note;
use super::preflight::{Finding, Weight};
use crate::domain::{Role, Site};
use crate::routeros::menu;

/// The number of the lease under which the router is driven.
pub const FENCE_NOTE: &str = "lease=";

/// Returns the number that a router has; `None` if it has none, or none that anybody of us wrote.
#[must_use]
pub fn noted(observed: &Observed, site: &Site) -> Option<i64> {
    let is_ours = |marker: &crate::domain::Marker| marker.site == site.id && marker.role == Role::InterfaceList;
    let rows = observed.rows(&menu::INTERFACE_LIST).iter();
    let row = rows.into_iter().find(|row| row.marker().as_ref().is_some_and(is_ours))?;
    std::str::from_utf8(note(row.get("comment")?, FENCE_NOTE)?).ok()?.parse().ok()
}

/// The refusal of whoever finds that somebody else drives the router.
#[must_use]
pub fn fenced(why: String) -> Refused {
    let hint = "nothing is to be done: the other one keeps it";
    Refused::Preflight(vec![Finding { code: "driven-by-another", weight: Weight::Refuse, message: why, hint }])
}
