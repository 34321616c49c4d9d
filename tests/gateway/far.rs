//! The far side in this process: a real hub with its store on SQLite, and a real gateway without root.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitepeer::api::*;
use sitepeer::domain::{PublicKey, Secret};
use sitepeer::gateway::plane::rootless::Rootless;
use sitepeer::gateway::{self, GatewayOptions};
use sitepeer::hub::config::HubConfig;
use sitepeer::hub::server::Server;
use sitepeer::hub::store::{Actor, Scope, Settings, Store, StoreConfig, open_with};
use sitepeer::uplink::{Hub, Trust};
use tokio::task::JoinHandle;

/// How long a condition may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// In place of minutes: a ping on loopback is under way for less than a millisecond.
const GRACE: Duration = Duration::from_secs(1);

/// A hub with its store, and a gateway without root, as tasks of this process.
pub struct Far {
    pub store: Arc<dyn Store>,
    pub admin: Actor,
    pub url: String,
    token: Secret,
    pub folder: tempfile::TempDir,
    /// Where the gateway listens, and by what name peers find it there.
    pub place: (IpAddr, String),
    gateway: JoinHandle<()>,
    server: JoinHandle<()>,
}

impl Drop for Far {
    fn drop(&mut self) {
        self.gateway.abort();
        self.server.abort();
    }
}

impl Far {
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), "127.0.0.1").await
    }

    pub async fn start_at(address: IpAddr, name: &str) -> Self {
        let place = (address, name.to_owned());
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { rotate_grace: GRACE, report_secs: 1, ..Settings::default() };
        let store = open_with(&StoreConfig::Sqlite(folder.path().join("hub.db")), &settings).await.unwrap();
        let config = HubConfig::parse("listen = \"127.0.0.1:0\"", Path::new("test.toml")).unwrap();
        let server = Server::bind(config, Arc::clone(&store)).await.unwrap();
        let url = format!("http://{}", server.local_addr());
        let server = tokio::spawn(async move { server.run(std::future::pending()).await });
        let admin = Actor { who: "test".into(), token: None, role: Some(Role::Admin), scope: Scope::All };
        let new = NewToken {
            name: "gw".into(),
            role: Role::Gateway,
            account: None,
            region: Some("eu".into()),
            ttl_secs: None,
        };
        let token = store.create_token(&admin, None, new).await.unwrap().secret;
        let gateway = Self::gateway(&url, &token, folder.path(), &place);
        Self { store, admin, url, token, folder, place, gateway, server }
    }

    fn gateway(url: &str, token: &Secret, folder: &Path, (address, name): &(IpAddr, String)) -> JoinHandle<()> {
        let options = GatewayOptions {
            hub: Hub::new(url.parse().unwrap(), &Trust::Public, Some(token.clone())).unwrap(),
            planes: Arc::new(Rootless::new(*address)),
            state_dir: folder.join("gateway"),
            name: "gw".into(),
            region: "eu".into(),
            public_host: name.clone(),
            report_every: Some(Duration::from_secs(1)),
        };
        tokio::spawn(async move { drop(gateway::run(options, std::future::pending()).await) })
    }

    /// As `kill -9` and another start.
    pub async fn restart_gateway(&mut self) {
        self.gateway.abort();
        drop((&mut self.gateway).await);
        let lock = std::fs::File::open(self.folder.path().join("gateway/lock")).unwrap();
        while lock.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(lock);
        self.gateway = Self::gateway(&self.url, &self.token, self.folder.path(), &self.place);
    }

    pub async fn instance(&self) -> InstanceId {
        let account = NewAccount { name: "a".into(), max_instances: None };
        let account = self.store.create_account(&self.admin, None, account).await.unwrap().id;
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let new = serde_json::json!({"name": "main", "region": "eu", "account": account, "listen_port": port});
        let new = serde_json::from_value(new).unwrap();
        self.store.create_instance(&self.admin, None, new).await.unwrap().id
    }

    /// Makes a site peer at `10.99.0.2` with a subnet.
    pub async fn peer(&self, instance: &InstanceId, subnet: &str) -> PeerId {
        let account = self.store.instance(&self.admin, instance).await.unwrap().account;
        let site = NewSite { name: "branch".into(), account: Some(account) };
        let site = self.store.create_site(&self.admin, None, site).await.unwrap().id;
        let new = serde_json::json!({"kind": "site", "site": site, "subnets": [subnet], "address": "10.99.0.2"});
        let new = serde_json::from_value(new).unwrap();
        self.store.create_peer(&self.admin, None, instance, new).await.unwrap().id
    }

    pub async fn say(&self, peer: &PeerId, public_key: PublicKey, next: Option<AppliedNext>) {
        let revision = self.store.agent_desired(peer, None).await.unwrap().unwrap().revision;
        let applied = AgentApplied { revision, public_key, device: DeviceFacts::default(), next };
        self.store.agent_applied(peer, applied).await.unwrap();
    }

    pub async fn shown(&self, peer: &PeerId) -> Peer {
        self.store.peer(&self.admin, peer).await.unwrap()
    }

    /// Waits for a site config that is as it has to be.
    pub async fn config(&self, peer: &PeerId, what: &str, is_so: impl Fn(&SiteConfig) -> bool) -> SiteConfig {
        let begun = Instant::now();
        loop {
            let desired = self.store.agent_desired(peer, None).await.unwrap().unwrap();
            if let Some(config) = desired.config.filter(|config| is_so(config)) {
                return config;
            }
            assert!(begun.elapsed() < DEADLINE, "{what}: {:?}", self.shown(peer).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the gateway has done all that it was told of a peer.
    pub async fn is_done(&self, peer: &PeerId) {
        let begun = Instant::now();
        loop {
            let link = self.shown(peer).await.link;
            if link.gateway_revision >= Some(link.gateway_wanted) && link.gateway_error.is_none() {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "the gateway does not follow: {link:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
