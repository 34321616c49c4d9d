//! Arguments of `hub`, if this build has it.

#[cfg(not(feature = "hub"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "hub")]
#[path = "enabled/mod.rs"]
mod implementation;

pub use implementation::*;
