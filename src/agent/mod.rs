//! The supervisor: one router or a fleet, kept as it is wanted, for months.
//!
//! | module | holds |
//! |---|---|
//! | `source` | what is wanted of a router: from a file, or from its hub as it changes |
//! | `kept` | the last thing a hub wanted, on disk for when the hub is away |
//! | `driver` | the task of one router: connect, converge, watch, again |
//! | `course` | the move from one tunnel to the next |
//! | `round` | one look at a router, and what was done about it |
//! | `watch` | changes on the router that concern our rows, as they happen |
//! | `pulse` | the health of the tunnel: when it is looked at, what is told of it |
//! | `healer` | whether a step of healing is due |
//! | `culprit` | who changed rows of ours |
//! | `pace` | when a router that failed is tried again |
//! | `hold` | why hands are held off a router, and for how long |
//! | [`freeze`] | a freeze asked for on this host |
//! | `gates` | how many routers are connected to, and written to, at once |
//! | `spool`, `teller` | reports that wait for the hub, and who brings them |
//! | `journal` (feature `proxy`) | the spools on disk: what waited survives the process |
//! | [`standing`] | how each router stands, for people and metrics |
//! | `fleet` (feature `proxy`) | many routers, named in a file |
//! | [`web`] | `/healthz` and `/metrics` |
//! | [`device`] | what a router is, in the hub's words |
//!
//! # Tasks
//!
//! For each router a driver; where there is a hub, a follower of what it wants and a teller. They talk through watch channels (the
//! newest counts) and a bounded spool. All belong to [`Supervisor::run`], which ends them: a write that is under way may end
//! first, for at most [`DRAIN_DEADLINE`]. A router that is dead holds no permit while it waits, so it costs the others nothing.
//!
//! The agent writes to a router only through [`crate::reconcile::converge`], and to its own disk only when the hub wants
//! something else than before.

mod course;
mod culprit;
pub mod device;
mod driver;
#[cfg(feature = "proxy")]
pub mod fleet;
pub mod freeze;
mod gates;
mod healer;
mod hold;
#[cfg(feature = "proxy")]
mod journal;
mod kept;
mod pace;
mod pulse;
mod round;
mod source;
mod spool;
pub mod standing;
mod supervisor;
mod teller;
mod watch;
pub mod web;

pub use gates::Gates;
pub use healer::HealTiming;
#[cfg(feature = "proxy")]
pub use journal::Journals;
pub use kept::{Kept, KeptError};
pub use round::RoundError;
pub use source::{Follow, Source, Wanted};
pub use spool::{Happened, Held, MAX_WAITING, Record, Shelf, Waiting};
pub use supervisor::{DRAIN_DEADLINE, Member, Passwords, Settings, Supervisor};

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 by this host's clock.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
