//! Many routers, named in a file: who they are, how to get in, what is wanted of each.
//!
//! ```toml
//! version = 1
//! [defaults]
//! hub = "https://hub.example.net"
//! credential_command = ["pass", "show", "routers/sitepeer"]
//! [[router]]
//! name = "oslo-1"
//! url = "apis://sitepeer@10.1.1.1"
//! pin = "sha256:…"
//! hub_credential = "oslo-1.credential"
//! tags = ["retail", "north"]
//! [[router]]
//! name = "bergen-1"
//! url = "apis://sitepeer@10.1.2.1"
//! ca_file = "routers.pem"
//! password_file = "bergen-1.password"
//! site = "bergen-1.toml"
//! ```

mod credentials;
mod file;
mod lease;
mod password;

use std::path::PathBuf;

pub use credentials::{Credentials, MAX_RULES, NoRule};
pub use file::{MAX_FLEET_BYTES, MAX_ROUTERS, load, parse};
pub use lease::{Lease, Leases, boot_time};
pub use password::{Password, PasswordError};

use crate::domain::Site;
use crate::routeros::target::{Plaintext, RouterUrl};
use crate::routeros::tls::Trust;

/// A fleet as its file says.
#[derive(Debug)]
pub struct Fleet {
    /// The routers, in the file's order; names and sites are unique.
    pub routers: Vec<FleetRouter>,
}

/// One router of a fleet.
#[derive(Debug)]
pub struct FleetRouter {
    /// What people call it.
    pub name: String,
    /// Which router, and as whom.
    pub url: RouterUrl,
    /// How its certificate is known.
    pub trust: Trust,
    /// Whether the clear is fine everywhere.
    pub plaintext: Plaintext,
    /// Where its password comes from.
    pub password: Password,
    /// What is wanted of it.
    pub site: FleetSite,
    /// What it is chosen by.
    pub tags: Vec<String>,
}

/// Where a router's site config comes from.
#[derive(Debug)]
pub enum FleetSite {
    /// A file.
    File(Box<Site>),
    /// A hub at which the site is enrolled.
    Hub {
        /// The hub's URL.
        url: crate::uplink::HubUrl,
        /// A PEM file that its certificate is known by.
        ca_file: Option<PathBuf>,
        /// The file that says who the site is there.
        credential: PathBuf,
    },
}
