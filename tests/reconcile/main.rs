//! What reconcile decides, without a router: rows in, plans out.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails with the test")]

mod firewall;
mod generations;
mod laws;
mod model;
mod ownership;
mod preflight;
