//! A hub with a SQLite store in a folder of its own, and those who use it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sitepeer::hub::store::{Settings, StoreConfig, first_admin, open_with};
use tempfile::TempDir;

use crate::client::{Answer, Client, PATIENCE};
use crate::running::Running;

/// Public keys of nobody in particular.
pub const KEYS: [&str; 4] = [
    "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
    "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=",
    "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
];

/// The hub.
pub struct Hub {
    _running: Running,
    pub admin: Client,
    _folder: TempDir,
}

/// An account with an operator.
pub struct Tenant {
    pub account: String,
    pub operator: Client,
}

impl Hub {
    pub async fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::Sqlite(folder.path().join("hub.sqlite"));
        let store = open_with(&config, &Settings::default()).await.unwrap();
        let file = folder.path().join("admin.token");
        assert!(first_admin(store.as_ref(), &file).await.unwrap());
        let token = std::fs::read_to_string(&file).unwrap();
        let running = Running::start(settings, Arc::clone(&store)).await;
        let admin = Client::new(running.address, token.trim());
        Self { _running: running, admin, _folder: folder }
    }

    /// A token of a role.
    pub async fn token(&self, role: &str, account: Option<&str>) -> Client {
        let region = (role == "gateway").then_some("eu");
        let new = json!({"name": role, "role": role, "account": account, "region": region});
        let made = self.admin.post("/v1/tokens", new).await.done(201).json();
        self.admin.with(made["secret"].as_str().unwrap())
    }

    pub async fn tenant(&self, name: &str) -> Tenant {
        let account = text(&self.admin.post("/v1/accounts", json!({"name": name})).await.done(201).json()["id"]);
        let operator = self.token("operator", Some(&account)).await;
        Tenant { account, operator }
    }

    /// A gateway that said hello, in the region of all instances here.
    pub async fn gateway(&self) -> Client {
        let gateway = self.token("gateway", None).await;
        let hello = json!({
            "name": "gw1", "region": "eu", "public_host": "192.0.2.1", "backend": "userspace", "version": "0.1.0",
            "install": "0123456789abcdef",
        });
        gateway.post("/v1/gateway/hello", hello).await.done(200);
        gateway
    }
}

impl Tenant {
    pub async fn instance(&self, name: &str) -> String {
        let made = self.operator.post("/v1/instances", json!({"name": name, "region": "eu"})).await.done(201);
        assert!(made.header("location").unwrap().starts_with("/v1/instances/") && made.header("etag").is_some());
        text(&made.json()["id"])
    }

    pub async fn site(&self, name: &str) -> String {
        text(&self.operator.post("/v1/sites", json!({"name": name})).await.done(201).json()["id"])
    }

    /// Makes a peer, or is refused.
    pub async fn peer(&self, instance: &str, new: Value) -> Answer {
        self.operator.post(&format!("/v1/instances/{instance}/peers"), new).await
    }

    pub async fn site_peer(&self, instance: &str, site: &str, subnets: &[&str]) -> String {
        let new = json!({"kind": "site", "site": site, "subnets": subnets});
        text(&self.peer(instance, new).await.done(201).json()["id"])
    }

    /// An enrolment token.
    pub async fn enrollment(&self, peer: &str) -> String {
        text(&self.operator.post("/v1/enrollments", json!({"peer": peer})).await.done(201).json()["token"])
    }
}

/// Serves an instance as a gateway would: takes what is wanted and says that it did it. Returns what was wanted.
pub async fn serve(gateway: &Client, since: i64, key: &str) -> Value {
    let wanted = gateway.get(&format!("/v1/gateway/desired?revision={since}&wait=20")).await.done(200).json();
    let done = |instance: &Value| json!({"id": instance["id"], "revision": instance["revision"], "public_key": key, "listen_port": instance["listen_port"]});
    let instances: Vec<Value> = wanted["instances"].as_array().unwrap().iter().map(done).collect();
    let applied = json!({"revision": wanted["revision"], "instances": instances});
    gateway.post("/v1/gateway/applied", applied).await.done(204);
    wanted
}

/// Enrols a device with a token.
pub async fn enroll(hub: &Hub, token: &str, nonce: &str) -> Answer {
    let device = Client { credential: None, ..hub.admin.clone() };
    let facts = json!({"identity": "branch", "board": "hAP", "serial": "HX1", "subnets": []});
    device.post("/v1/enroll", json!({"token": token, "device_nonce": nonce, "device": facts})).await
}

/// Asks until the answer is as it has to be.
pub async fn until(client: &Client, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = client.get(path).await.done(200).json();
        if wanted(&now) {
            return now;
        }
        assert!(Instant::now() < deadline, "never: {now:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
