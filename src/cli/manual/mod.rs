//! `sitepeer completions` and `sitepeer man`, if this build has them.

#[cfg(not(feature = "manual"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "manual")]
#[path = "enabled.rs"]
mod implementation;

pub use implementation::{completions, man};
