//! What the system's service manager is told, if this build knows how.

#[cfg(not(feature = "proxy"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "proxy")]
#[path = "enabled.rs"]
mod implementation;

pub use implementation::{ready, stopping, watchdog};
