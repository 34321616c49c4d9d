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
        let text = format!("listen = \"127.0.0.1:0\"\n{settings}");
        let config = HubConfig::parse(&text, Path::new("test.toml")).unwrap();
        let server = Server::bind(config, store).await.unwrap();
        let (address, connector) = (server.local_addr(), server.connector());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async {
            let _told = stopped.await;
        }));
        Self { address, connector, task, stop: Some(stop) }
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
