//! The gateway: data plane of the instances in a region. It keeps its keys on its own disk and gives the hub public keys only.
//!
//! | module | what it is for |
//! |---|---|
//! | [`run()`] | a gateway's life: up from disk, then follow the hub |
//! | `talk` | hello, long-polls, acknowledgements, reports |
//! | [`desired`] | what the hub wants, put together from parts, checked, kept on disk |
//! | `keeper` | hands it to the workers, and knows what the hub has to be told |
//! | [`serve`] | one worker an instance: compare with the device, change the difference |
//! | [`plane`] | the devices: kernel, userspace, rootless |
//! | [`traffic`] | totals that never fall |
//! | [`disk`] | keys, and files that survive a crash |
//!
//! What the hub wants travels `talk` → `desired` (and to disk) → `keeper` → `serve` → `plane`; what came of it goes back from
//! `serve` by way of `keeper` to `talk`.

pub mod desired;
pub mod disk;
mod error;
mod keeper;
pub mod plane;
mod run;
pub mod serve;
mod talk;
pub mod traffic;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::uplink::Hub;

pub use error::GatewayError;
pub use run::run;

/// How a gateway is set up.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Its hub, with the gateway's token.
    pub hub: Hub,
    /// Its backend.
    pub planes: Arc<dyn plane::Planes>,
    /// Its own disk.
    pub state_dir: PathBuf,
    /// For people; unique at the hub.
    pub name: String,
    /// The region it serves.
    pub region: String,
    /// Where peers reach it: an address or a DNS name.
    pub public_host: String,
    /// How often it reports; `None` leaves that to the hub.
    pub report_every: Option<Duration>,
}
