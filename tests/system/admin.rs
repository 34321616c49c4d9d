//! An administrator at the hub's HTTP API.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use sitepeer::domain::Secret;
use sitepeer::uplink::{Hub, HubUrl, SendOptions, Trust, UplinkError};
use tokio::runtime::Runtime;

use crate::netns::{Net, until};

/// How long a gateway may take to do what it is told: it is asked again every few milliseconds.
const APPLY_DEADLINE: Duration = Duration::from_secs(20);

pub struct Admin {
    hub: Hub,
    /// Its threads are where the administrator sits.
    runtime: Option<Runtime>,
    /// The instances made here that a gateway serves.
    pub instances: Mutex<Vec<String>>,
}

impl Admin {
    /// Sits in a namespace, or here.
    pub fn new(net: Option<&Net>, url: &str, trust: &Trust, token: &Secret) -> Self {
        let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let runtime = net.map_or_else(build, |net| net.enter(build));
        let url: HubUrl = url.parse().unwrap();
        Self {
            hub: Hub::new(url, trust, Some(token.clone())).unwrap(),
            runtime: Some(runtime),
            instances: Mutex::default(),
        }
    }

    /// Waits for the hub to answer, and for the file of its first token before.
    pub fn arrive(net: Option<&Net>, url: &str, trust: &Trust, data: &Path) -> Self {
        let file = data.join("admin.token");
        until("the hub made its first token", || std::fs::read_to_string(&file).is_ok_and(|text| !text.is_empty()));
        let token = std::fs::read_to_string(&file).unwrap();
        let admin = Self::new(net, url, trust, &Secret::new(token.trim().to_owned()));
        admin.is_there();
        admin
    }

    /// Waits for the hub to answer.
    pub fn is_there(&self) {
        until("the hub answers", || self.ask(Method::GET, "/v1/whoami", None).is_ok());
    }

    /// The same place with another credential.
    pub fn as_somebody(&self, credential: &str) -> Hub {
        self.hub.with_credential(Secret::new(credential.to_owned()))
    }

    /// Runs a future where the administrator sits.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(runtime.spawn(future)).unwrap()
    }

    /// Asks, and returns the body (`null` if there is none).
    pub fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, UplinkError> {
        let (hub, path) = (self.hub.clone(), path.to_owned());
        self.run(async move { hub.send(method, &path, body.as_ref(), &SendOptions::default()).await?.json() })
    }

    pub fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, Some(body)).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Posts to a path that takes no body.
    pub fn tell(&self, path: &str) -> Value {
        self.ask(Method::POST, path, None).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    pub fn patch(&self, path: &str, body: Value) -> Value {
        self.ask(Method::PATCH, path, Some(body)).unwrap_or_else(|error| panic!("PATCH {path}: {error}"))
    }

    pub fn delete(&self, path: &str) {
        self.ask(Method::DELETE, path, None).unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
    }

    pub fn text(&self, path: &str) -> String {
        let (hub, path) = (self.hub.clone(), path.to_owned());
        let (_, bytes) = self.run(async move { hub.text(&path).await }).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Makes an instance, and waits until a gateway serves it.
    pub fn instance(&self, name: &str) -> String {
        let made = self.post("/v1/instances", json!({ "name": name, "region": "default", "account": self.account() }));
        let id = text(&made, "id");
        self.instances.lock().unwrap().push(id.clone());
        until(&format!("instance {name} is active"), || {
            text(&self.get(&format!("/v1/instances/{id}")), "status") == "active"
        });
        id
    }

    /// The account everything here belongs to, made when it is first asked for.
    pub fn account(&self) -> String {
        let accounts = self.get("/v1/accounts");
        match accounts["items"].as_array().and_then(|items| items.first()) {
            Some(account) => text(account, "id"),
            None => text(&self.post("/v1/accounts", json!({ "name": "tests", "max_instances": 0 })), "id"),
        }
    }

    /// Makes a peer and returns its id.
    pub fn peer(&self, instance: &str, new: Value) -> String {
        text(&self.post(&format!("/v1/instances/{instance}/peers"), new), "id")
    }

    /// All peers of an instance, page by page.
    pub fn peers(&self, instance: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/instances/{instance}/peers?limit=100{cursor}"));
            found.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Waits until the gateway has what is wanted of a peer.
    pub fn is_served(&self, peer: &str) {
        let begun = Instant::now();
        loop {
            let link = self.get(&format!("/v1/peers/{peer}"))["link"].clone();
            if link["gateway_revision"].as_i64() >= link["gateway_wanted"].as_i64() {
                assert_eq!(link["gateway_error"], Value::Null, "peer {peer}");
                return;
            }
            assert!(begun.elapsed() < APPLY_DEADLINE, "the gateway does not serve peer {peer}: {link}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A text field, which has to be there.
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}
