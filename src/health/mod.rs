//! How a tunnel is: measured on the router, judged here, and said in findings with a stable code and a state.
//!
//! | module | holds |
//! |---|---|
//! | [`monitor`] | the entry point: one cycle after the other, each says when the next is due |
//! | [`checkup`] | everything at once, for `doctor`: also before there is a tunnel |
//! | [`probe`] | what is asked of a router, and what it may cost |
//! | [`near`], [`rows`] | a closer look: the whole configuration, and what speaks against the tunnel in it |
//! | [`measured`] | what is known, with its moment |
//! | [`assess`] | from what is known to what is the matter; pure |
//! | [`finding`] | causes silence consequences; what must hold before it shows; pure |
//! | [`state`] | `up`, `degraded`, `down`, `stale`, `unknown`, `disabled`, without flaps; pure |
//! | [`codes`] | every finding there is |
//!
//! Nothing here writes to a router, and nothing here looks at a clock: the moment is an argument.

pub mod assess;
pub mod checkup;
pub mod codes;
pub mod finding;
pub mod measured;
pub mod monitor;
pub mod near;
pub mod probe;
pub mod rows;
pub mod state;

#[cfg(test)]
mod tests;

pub use assess::HubView;
pub use measured::Moment;
pub use monitor::{Missed, Monitor, Report, Settings};
pub use state::Transition;
