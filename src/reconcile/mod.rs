//! Brings a router to what a site wants: desired, observe, plan, apply, observe again, prove.
//!
//! Reading the router, deciding, and writing to it are three steps. Deciding is pure. Only `apply` writes, and only rows
//! that carry our marker. `guard` sees to it that no plan cuts off the way to the router. `heal` says what a step of healing changes.

pub mod apply;
pub mod converge;
pub mod decide;
pub mod desired;
pub mod entry;
pub mod fence;
pub mod firewall;
pub mod generation;
pub mod guard;
pub mod heal;
pub mod names;
pub mod observe;
pub mod plan;
pub mod preflight;
pub mod prove;

/// Writes bytes in lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
