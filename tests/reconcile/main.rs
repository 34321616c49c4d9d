//! What reconcile decides, without a router: rows in, plans out.

mod firewall;
mod laws;
mod model;
mod ownership;
mod preflight;
