//! The part of the RouterOS script language that a stored script of ours needs, executed for real.
//!
//! | module | holds |
//! |---|---|
//! | `parse` | text to statements; a text that is not understood is refused whole, as a device does |
//! | `run` | statements to commands: what fails stops the script there, and what was done stays |
//!
//! Known are commands with a menu's path, `[/menu/find where …]`, `:local`, `:if`, `:do … on-error`, `[:len …]`, `[:pick …]`,
//! `:error`, `:put` and `:log`. *Source*: manual, Scripting; what an error stops and what stays, as observed by `MikroDash` on 7.24.4.

mod parse;
mod run;

pub(crate) use run::{Host, Words, run};

#[cfg(test)]
mod tests;
