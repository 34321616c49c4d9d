//! Arguments of `fleet`, if this build has it.

#[cfg(not(feature = "proxy"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "proxy")]
#[path = "enabled.rs"]
mod implementation;

pub use implementation::*;
