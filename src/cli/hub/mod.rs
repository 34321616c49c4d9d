//! `sitepeer hub`: the hub's server, and the daily work at a hub, if this build has them.

#[cfg(not(feature = "hub"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "hub")]
#[path = "enabled/mod.rs"]
mod implementation;

pub use implementation::run;
