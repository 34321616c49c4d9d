//! The gateway: its planes without root, and its control part against a scripted hub.

mod rootless;
mod world;
