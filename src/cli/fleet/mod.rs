//! `sitepeer fleet`: one command on many routers, if this build has it.

#[cfg(not(feature = "proxy"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "proxy")]
#[path = "enabled/mod.rs"]
mod implementation;

pub use implementation::run;
