//! `sitepeer demo`: two sites and a hub on this machine, if this build has all of it: hub, gateway and simulator.

#[cfg(not(all(feature = "sim", feature = "hub", feature = "gateway")))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(all(feature = "sim", feature = "hub", feature = "gateway"))]
#[path = "enabled/mod.rs"]
mod implementation;

pub use implementation::run;
