//! Health of site peers: what agents report becomes a state, its changes, and hours.
//!
//! All times are the hub's. What an agent's clock says is only compared with itself: how long before the batch was sent a report was
//! made. [`course`] decides what follows from a batch, [`mod@take`] writes it in the transaction of the batch, [`mod@tick`] marks the silent
//! and forgets what is old, [`read`] joins both ends, [`mod@events`] keeps what agents did
//! and found done.

mod course;
mod events;
mod read;
mod take;
mod tick;

pub(super) use events::events;
pub(super) use read::{hours, site, transitions};
pub(super) use take::take;
pub(super) use tick::{mark_silent, prune};

/// An agent that said nothing for this long, in seconds, is silent: it reports once a minute, so two in a row were lost, and a third
/// is late. So long, too, a state that it told is believed.
pub(super) const SILENT_AFTER: i64 = 180;
/// Seconds of an hour.
const HOUR: i64 = 3600;
/// Most points kept of one hour: a report a minute, as many again for changes. What is more is counted, not kept.
const MOST_POINTS: usize = 120;
/// Most transitions kept of one peer: a tunnel that flaps every minute still shows most of a day.
const MOST_TRANSITIONS: i64 = 1000;
/// How long raw points are kept, in seconds.
const KEEP_RAW: i64 = 24 * HOUR;
/// How long hours and transitions are kept, in seconds: 13 months, so that a month can be held against the same one a year ago.
const KEEP_HOURS: i64 = 400 * 24 * HOUR;
