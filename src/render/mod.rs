//! Text for a router or a client: console strings, scripts and profiles, from the files under `templates/`.
//!
//! Knows RouterOS' console syntax and nothing of plans, sites or connections. It must not decide what a
//! script does; it only makes sure that no name, comment or key can break out of its string.

mod quote;
mod script;
#[cfg(feature = "hub")]
pub mod wireguard;

pub use quote::{ConsoleString, quote};
pub use script::{PlaceBefore, RenderError, Script, ScriptCommand, Value, script};
