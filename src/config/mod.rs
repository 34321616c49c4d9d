//! The site config: a TOML file read into a [`Site`], or refused with the place and the way out.
//!
//! The file is parsed into a tree that knows where everything stands, and every value is turned into a
//! word of [`crate::domain`] at once: no `String` travels inward. Nothing here talks to a router or prints.
//!
//! ```toml
//! version = 1
//! id = "k3f9q2"
//! instance = "acme"
//! [tunnel]
//! protocol = "wireguard"
//! addresses = ["10.99.0.2/24"]
//! probe = ["10.99.0.1"]
//! [hub]
//! public_key = "…"
//! endpoints = ["hub.example.net:51820"]
//! [subnets]
//! advertise = ["192.168.88.0/24"]
//! reach = ["10.99.0.0/24", "192.168.89.0/24"]
//! ```

use std::path::Path;

use crate::domain::Site;

pub(crate) mod document;
mod error;
mod file;
mod nearest;
mod put;
mod site;
#[cfg(test)]
mod tests;
mod value;

pub use error::{ConfigClass, ConfigError, Place};
pub use file::{FileError, FileReason, Privacy, read_secret, read_text};
#[cfg(feature = "hub")]
pub(crate) use nearest::nearest;
pub use put::{Over, put};
pub use site::{DEFAULT_KEEPALIVE_SECS, parse};

/// Largest site config in bytes: 2 × 1024 prefixes of the longest kind, with room for comments.
pub const MAX_SITE_BYTES: u64 = 256 * 1024;

/// Reads and checks a site config. Relative paths in it count from the file's own folder.
///
/// # Errors
/// [`ConfigError`], which names file, line, column, key, what is wrong and the way out.
/// [`ConfigError::class`] tells a malformed config from one that a safety rule refuses.
pub fn load(path: &Path) -> Result<Site, ConfigError> {
    let content = file::read(path, MAX_SITE_BYTES).map_err(ConfigError::File)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(content.text(), path, content.privacy(), |named| read_secret(&folder.join(named)))
}
