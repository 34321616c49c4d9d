//! A store to test, and things in it.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sitepeer::api::*;
use sitepeer::domain::{PublicKey, Secret};
use sitepeer::hub::store::{Actor, Clock, Once, Paging, Scope, Settings, Store, StoreConfig, StoreError, open_with};
use sqlx::Connection as _;

use crate::postgres;

/// The databases that a story is told over.
pub struct Databases {
    folder: tempfile::TempDir,
    server: Option<postgres::Postgres>,
}

impl Databases {
    pub fn new() -> Self {
        let server = match postgres::start() {
            Ok(server) => Some(server),
            Err(why) => {
                println!("skipped: the half over PostgreSQL: {why}");
                None
            }
        };
        Self { folder: tempfile::tempdir().unwrap(), server }
    }

    pub fn configs(&self, name: &str) -> Vec<StoreConfig> {
        let mut configs = vec![StoreConfig::Sqlite(self.folder.path().join(name))];
        configs.extend(self.server.as_ref().map(|server| StoreConfig::Postgres(Secret::new(server.database(name)))));
        configs
    }
}

/// A change past the store, by hand: what another hub, or one of another version, does.
pub struct Raw(sqlx::AnyConnection);

impl Raw {
    /// Nobody else changes anything in a SQLite file from here on.
    pub async fn begin(config: &StoreConfig) -> Self {
        sqlx::any::install_default_drivers();
        let (url, begin) = match config {
            StoreConfig::Sqlite(file) => (format!("sqlite://{}?mode=rw", file.display()), "BEGIN IMMEDIATE"),
            StoreConfig::Postgres(url) => (url.expose().to_owned(), "BEGIN"),
        };
        let mut raw = Self(sqlx::AnyConnection::connect(&url).await.unwrap());
        raw.run(begin).await;
        raw
    }

    pub async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut self.0).await.unwrap();
    }

    pub async fn commit(mut self) {
        self.run("COMMIT").await;
        self.0.close().await.unwrap();
    }

    pub async fn all(config: &StoreConfig, changes: &[&str]) {
        let mut raw = Self::begin(config).await;
        for change in changes {
            raw.run(change).await;
        }
        raw.commit().await;
    }
}

/// A store with an administrator.
pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub admin: Actor,
}

impl World {
    pub async fn open(config: &StoreConfig) -> Self {
        Self::with_domain(config, None).await
    }

    pub async fn with_domain(config: &StoreConfig, domain: Option<&str>) -> Self {
        let clock = Clock::default();
        let settings = Settings { clock: clock.clone(), domain: domain.map(str::to_owned), ..Settings::default() };
        let store = open_with(config, &settings).await.unwrap();
        Self { store, clock, admin: Self::open_admin() }
    }

    pub fn open_admin() -> Actor {
        Actor { who: "test".to_owned(), token: None, role: Some(Role::Admin), scope: Scope::All }
    }

    pub async fn account(&self, name: &str) -> AccountId {
        let new = NewAccount { name: name.to_owned(), max_instances: Some(0) };
        self.store.create_account(&self.admin, None, new).await.unwrap().id
    }

    #[expect(clippy::unused_self, reason = "reads as what the world has")]
    pub fn member(&self, account: &AccountId) -> Actor {
        Actor { who: format!("member of {account}"), token: None, role: None, scope: Scope::Account(account.clone()) }
    }

    pub async fn site(&self, account: &AccountId, name: &str) -> SiteId {
        let new = NewSite { name: name.to_owned(), account: Some(account.clone()) };
        self.store.create_site(&self.admin, None, new).await.unwrap().id
    }

    pub async fn instance(&self, account: &AccountId, name: &str) -> Instance {
        self.store.create_instance(&self.admin, None, new_instance(account, name)).await.unwrap()
    }

    pub async fn peer(&self, instance: &InstanceId, new: NewPeer) -> Result<Peer, StoreError> {
        self.store.create_peer(&self.admin, None, instance, new).await
    }

    /// A gateway of a region, that said hello.
    pub async fn gateway(&self, name: &str, region: &str) -> GatewayId {
        let new = NewToken {
            name: name.to_owned(),
            role: Role::Gateway,
            account: None,
            region: Some(region.to_owned()),
            ttl_secs: None,
        };
        let made = self.store.create_token(&self.admin, None, new).await.unwrap();
        self.store.gateway_hello(&made.token.id, hello(name, region)).await.unwrap().id
    }

    /// What a gateway is told from a revision on, all parts.
    pub async fn told(&self, gateway: &GatewayId, since: i64) -> GatewayDesired {
        let mut all = self.store.gateway_desired(gateway, since).await.unwrap().expect("something new");
        while all.more {
            let next = self.store.gateway_desired(gateway, all.revision).await.unwrap().expect("there is more");
            all.revision = next.revision;
            all.more = next.more;
            all.instances.extend(next.instances);
            all.peers.extend(next.peers);
            all.removed_instances.extend(next.removed_instances);
            all.removed_peers.extend(next.removed_peers);
        }
        all
    }

    /// The gateway serves what it was told.
    pub async fn serve(&self, gateway: &GatewayId) -> i64 {
        let told = self.told(gateway, 0).await;
        // A device keeps its port, so its key is made of that.
        let made = |port: u16| Some(key(u64::from(port) + 1_000_000));
        let instances = told.instances.iter().map(|instance| GatewayInstanceApplied {
            id: instance.id.clone(),
            revision: instance.revision,
            device: instance.device,
            public_key: made(instance.listen_port),
            listen_port: Some(instance.listen_port),
            error: None,
            devices: instance
                .devices
                .iter()
                .map(|one| GatewayDeviceApplied {
                    device: one.device,
                    public_key: made(one.listen_port),
                    listen_port: Some(one.listen_port),
                    error: None,
                })
                .collect(),
        });
        let applied = GatewayApplied { revision: told.revision, instances: instances.collect(), peers: Vec::new() };
        self.store.gateway_applied(gateway, applied).await.unwrap();
        told.revision
    }

    /// What is to be on a router.
    pub async fn desired(&self, peer: &PeerId) -> AgentDesired {
        self.store.agent_desired(peer, None).await.unwrap().expect("there is always something")
    }

    /// Lets time pass, and does what is due then.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.store.tick().await.unwrap();
    }

    /// Lets time pass as a hub does that is there all the while.
    pub async fn watch(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(WATCH_STEP);
            self.pass(step).await;
            left -= step;
        }
    }
}

/// Longer than between two looks for silent agents, and shorter than an absence.
const WATCH_STEP: Duration = Duration::from_secs(20);

pub fn hello(name: &str, region: &str) -> GatewayHello {
    GatewayHello {
        name: name.to_owned(),
        region: region.to_owned(),
        public_host: "203.0.113.9".to_owned(),
        backend: Backend::Rootless,
        version: "0.1.0".to_owned(),
        install: format!("{name:0<16}"),
    }
}

pub fn new_instance(account: &AccountId, name: &str) -> NewInstance {
    NewInstance {
        name: name.parse().unwrap(),
        hostname: None,
        region: "eu".to_owned(),
        account: Some(account.clone()),
        tunnel_subnet: None,
        tunnel_subnet6: None,
        listen_port: None,
        dns: Vec::new(),
        search: Vec::new(),
        pushed_routes: Vec::new(),
        policy: Policy::default(),
        rotate_keys_days: None,
        allow_broad: false,
    }
}

pub fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A key that is nobody else's.
pub fn key(number: u64) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes).unwrap()
}

pub fn site_peer(site: &SiteId, name: &str, subnets: &[&str]) -> NewPeer {
    NewPeer::Site {
        site: site.clone(),
        name: Some(name.to_owned()),
        protocol: Protocol::Wireguard,
        subnets: nets(subnets),
        reach: None,
        address: None,
        keepalive_secs: None,
        allow_broad: false,
    }
}

pub fn client_peer(name: &str, key: Option<PublicKey>) -> NewPeer {
    NewPeer::Client {
        user: name.to_owned(),
        name: None,
        protocol: Protocol::Wireguard,
        route_all: false,
        public_key: key,
        dns: None,
        keepalive_secs: None,
        address: None,
    }
}

pub fn page(limit: usize) -> Paging {
    Paging { cursor: None, limit }
}

pub fn once(key: &str, digest: u8) -> Once {
    Once { key: key.to_owned(), digest: [digest; 32] }
}

/// The code of a refusal.
pub fn code_of<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    match result.expect_err("refused") {
        StoreError::Invalid { code, .. } | StoreError::Conflict { code, .. } | StoreError::Token { code, .. } => code,
        StoreError::NotFound { .. } => code::NOT_FOUND,
        StoreError::Changed { .. } => code::CHANGED,
        StoreError::KeyReused => code::KEY_REUSED,
        StoreError::State { .. } => code::STATE,
        StoreError::TooOften { .. } => code::RATE_LIMITED,
        other => panic!("another refusal: {other:?}"),
    }
}
