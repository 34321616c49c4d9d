//! `sitepeer gateway`: the data plane of a region's instances, if this build has it.

#[cfg(not(feature = "gateway"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "gateway")]
#[path = "enabled.rs"]
mod implementation;

pub use implementation::{run, serve};
