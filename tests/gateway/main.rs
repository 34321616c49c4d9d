//! The gateway: its planes without root, and its control part against a scripted hub.

mod control;
mod hostile;
mod hub;
mod laws;
mod planes;
mod restart;
mod rootless;
mod world;
