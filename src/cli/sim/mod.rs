//! `sitepeer sim`: a simulated RouterOS device, if this build has one.

#[cfg(not(feature = "sim"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "sim")]
#[path = "enabled.rs"]
mod implementation;

pub use implementation::run;
