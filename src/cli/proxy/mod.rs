//! `sitepeer proxy`: a fleet of routers in one process, if this build has it.

#[cfg(not(feature = "proxy"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "proxy")]
#[path = "enabled.rs"]
mod implementation;

pub use implementation::run;
