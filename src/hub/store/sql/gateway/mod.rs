//! Gateways: what they are told, and what they say.

mod applied;
mod desired;
mod forget;
mod hello;
mod report;

pub(super) use applied::applied;
pub(super) use desired::desired;
pub(super) use forget::delete;
pub(super) use hello::{hello, list};
pub(super) use report::report;

/// A gateway that was heard this lately, in seconds, is there.
pub(super) const HEARD_WITHIN: i64 = 60;
