//! A server that runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use sitepeer::hub::config::HubConfig;
use sitepeer::hub::server::{Connector, Server};
use sitepeer::hub::store::Store;
use tokio::sync::oneshot;

/// A server that runs; dropping it ends it at once.
pub struct Running {
    pub address: SocketAddr,
    pub connector: Connector,
    pub task: tokio::task::JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    /// Starts a server on a free loopback port; `settings` is TOML.
    pub async fn start(settings: &str, store: Arc<dyn Store>) -> Self {
        Self::start_at("127.0.0.1:0", settings, store).await
    }

    /// Starts a server where it is told.
    pub async fn start_at(listen: &str, settings: &str, store: Arc<dyn Store>) -> Self {
        let text = format!("listen = \"{listen}\"\n{settings}");
        let config = HubConfig::parse(&text, Path::new("test.toml")).unwrap();
        let server = Server::bind(config, store).await.unwrap();
        let (address, connector) = (server.local_addr(), server.connector());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async {
            let _told = stopped.await;
        }));
        Self { address, connector, task, stop: Some(stop) }
    }

    /// Where it is reached at an address of this machine.
    pub fn at(&self, address: std::net::IpAddr) -> SocketAddr {
        SocketAddr::new(address, self.address.port())
    }

    /// Says that it has to stop.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
