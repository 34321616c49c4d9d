//! The gateway in the hub's own process: it talks to the hub as any other, over a stream in memory.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::store::failure;
use crate::api::{NewToken, Role};
use crate::cli::args::GatewayServe;
use crate::cli::args::hub::GatewayBeside;
use crate::cli::failure::Failure;
use crate::cli::gateway;
use crate::cli::hub::implementation::secret::write_new;
use crate::cli::report::{Reporter, ServingGateway};
use crate::config;
use crate::domain::{Host, Secret};
use crate::hub::config::HubConfig;
use crate::hub::server::{Connector, Server};
use crate::hub::store::{Actor, Principal, Scope, Store, StoreError};
use crate::uplink::{Connect, Hub, Stream, UplinkError};

/// Its token, in the hub's data folder.
const TOKEN: &str = "gateway.token";
/// Its keys and what it last knew, in the hub's data folder.
const STATE: &str = "gateway";

/// A gateway about to serve.
pub(super) struct Beside(GatewayServe);

/// Makes its token if it has none, and the way to the hub.
pub(super) async fn prepare(
    wanted: GatewayBeside,
    config: &HubConfig,
    store: &dyn Store,
    server: &Server,
) -> Result<Beside, Failure> {
    let token = token(store, &config.data_dir.join(TOKEN), &wanted.region).await?;
    let host = wanted.public_host.unwrap_or_else(|| host(server.local_addr().ip()));
    let bind = match &host {
        Host::Address(address) if address.is_loopback() => *address,
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    Ok(Beside(GatewayServe {
        hub: Hub::over(Arc::new(Inside(server.connector())), Some(token)),
        region: wanted.region,
        name: wanted.name,
        public_host: host.to_string(),
        state_dir: config.data_dir.join(STATE),
        backend: wanted.backend,
        bind,
        egress_allow: wanted.egress_allow,
        report_every: None,
    }))
}

/// What is said of it.
pub(super) fn told(beside: &Beside) -> ServingGateway {
    let serve = &beside.0;
    ServingGateway { region: serve.region.clone(), public_host: serve.public_host.clone(), backend: serve.backend }
}

impl Beside {
    /// Serves until `stop`.
    pub(super) async fn serve(self, stop: impl Future<Output = ()>, reporter: &Reporter) -> Result<(), Failure> {
        gateway::serve(self.0, stop, reporter).await.map_err(Failure::from)
    }
}

/// Where peers reach a gateway of which nothing was said: where the hub listens.
fn host(listens: IpAddr) -> Host {
    let local = if listens.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listens };
    Host::Address(local)
}

/// The token of the last start if the store still knows it, or a new one.
async fn token(store: &dyn Store, file: &Path, region: &str) -> Result<Secret, Failure> {
    if file.exists() {
        let kept = config::read_secret(file)?;
        match store.authenticate(&kept).await {
            Ok(Some(Principal::Gateway { .. })) => return Ok(kept),
            Ok(_) | Err(StoreError::Revoked) => {
                tracing::warn!(file = %file.display(), "the store does not know the gateway's token: a new one is made");
            }
            Err(error) => return Err(failure(&error)),
        }
    }
    let hub = Actor { who: "hub".to_owned(), token: None, scope: Scope::All, role: None };
    let new = NewToken {
        name: "gateway in the hub's process".to_owned(),
        role: Role::Gateway,
        account: None,
        region: Some(region.to_owned()),
        ttl_secs: None,
    };
    let made = store.create_token(&hub, None, new).await.map_err(|error| failure(&error))?;
    keep(file, &made.secret).map_err(|error| {
        Failure::usage("data-dir", format!("the gateway's token cannot be kept in {}: {error}", file.display()))
    })?;
    Ok(made.secret)
}

/// Replaces the file as a whole.
fn keep(file: &Path, token: &Secret) -> io::Result<()> {
    let draft = file.with_extension("token.new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&draft, token.expose()).map_err(io::Error::other)?;
    fs::rename(&draft, file)
}

/// The hub in this process.
struct Inside(Connector);

#[async_trait]
impl Connect for Inside {
    async fn connect(&self) -> Result<Box<dyn Stream>, UplinkError> {
        match self.0.connect() {
            Ok(stream) => Ok(Box::new(stream)),
            Err(stopped) => Err(UplinkError::Unreachable { place: self.place(), why: io::Error::other(stopped) }),
        }
    }

    fn place(&self) -> String {
        "this process".to_owned()
    }
}
