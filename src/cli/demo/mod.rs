//! `sitepeer demo`: two sites and a hub on this machine, if this build has the simulator.

#[cfg(not(feature = "sim"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "sim")]
#[path = "enabled/mod.rs"]
mod implementation;

pub use implementation::run;
