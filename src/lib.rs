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
//! | [`reconcile`] | desired, observe, plan, apply, prove | `domain`, `render`, `routeros` |
//! | `sim` (feature `sim`) | a simulated RouterOS device with a real tunnel | `domain`, `routeros` |
//! | [`cli`] | the commands; the only one that prints | all |
//!
//! A site config travels `config::load` → [`domain::Site`] → `reconcile::desired` → rows → `reconcile::plan` against the
//! rows that `reconcile::observe` read → `reconcile::apply` → the same reading again, which must leave the plan empty →
//! `reconcile::prove`. Only `reconcile::apply` and `routeros::login` change anything on a router.

pub mod cli;
pub mod config;
pub mod domain;
pub mod reconcile;
pub mod render;
pub mod routeros;
#[cfg(feature = "sim")]
pub mod sim;
