//! sitepeer: the managed VPN for MikroTik sites.
//!
//! # The map of the house
//!
//! | module | what it is for | may use |
//! |---|---|---|
//! | [`domain`] | the words of the field, pure | – |
//! | [`config`] | a site config from a TOML file | `domain` |
//! | [`render`] | quoting and templates of files that others read | `domain` |
//! | [`routeros`] | the RouterOS API: bytes, sentences, calls, menus' tables | `domain` |
//! | [`reconcile`] | desired, observe, plan, guard, apply, prove | `domain`, `render`, `routeros` |
//! | [`api`] | what hub, gateway, agent and command line say to each other: JSON shapes, problem codes | `domain` |
//! | [`health`] | how a tunnel is: probe, assess, findings, states; reads only | `domain`, `api`, `routeros`, `reconcile` |
//! | [`uplink`] | the client of the hub's HTTP API | `domain`, `api` |
//! | [`agent`] | the supervisor: keeps routers as they are wanted, and tells the hub how they are | `domain`, `config`, `api`, `uplink`, `routeros`, `reconcile`, `health` |
//! | `wireguard` (feature `wireguard`) | WireGuard in this process, and its keys | `domain` |
//! | `sim` (feature `sim`) | a simulated RouterOS device with a real tunnel | `domain`, `routeros`, `wireguard` |
//! | `hub` (feature `hub`) | control plane: HTTP API, store, enrolment | `domain`, `config`, `api`, `render` |
//! | `gateway` (feature `gateway`) | data plane of the instances in a region | `domain`, `api`, `uplink`, `wireguard` |
//! | [`cli`] | the commands; the only one that prints | all |
//!
//! A site config travels `config::load` → [`domain::Site`] → `reconcile::desired` → rows → `reconcile::plan` against the
//! rows that `reconcile::observe` read → `reconcile::apply` → the same reading again, which must leave the plan empty →
//! `reconcile::prove`. A plan that could cut off the way to the router goes by `reconcile::guard`. Only `reconcile::apply` and `routeros::login` change anything on a router.
//!
//! A health report travels `health::probe` → `health::measured` → `health::assess` → what `health::finding` shows and
//! `health::state` says → [`api::AgentReport`] → the hub. Every moment in it is an argument; nothing of it writes.
//!
//! With a hub, the site config is an [`api::AgentDesired`] that [`uplink`] fetched; the router's public key goes back the same way.
//! The hub tells gateways what to serve ([`api::GatewayDesired`]), gateways tell it what they did and what they see; the hub never
//! uses `routeros`, and no private key ever travels.

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod domain;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod health;
#[cfg(feature = "hub")]
pub mod hub;
pub mod reconcile;
pub mod render;
pub mod routeros;
#[cfg(feature = "sim")]
pub mod sim;
pub mod uplink;
#[cfg(feature = "wireguard")]
pub mod wireguard;
