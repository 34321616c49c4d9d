//! The scripted hub, with a real WireGuard end behind it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sitepeer::cli::args::{self, HubSource, Source};
use sitepeer::cli::uplink::credential::{CredentialFile, Kept};
use sitepeer::domain::Secret;
use sitepeer::sim::plane::HubPeer;
use sitepeer::uplink::{Hub, HubUrl, Trust};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::fake::{self, Heard, Line};
use crate::run::{self, Run};
use crate::world::{LONG_PROOF, World};

pub const PEER: &str = "k3f9q2x7";
pub const TOKEN: &str = "sp_enr_e1e1e1e1_dG9rZW4tdG9rZW4tdG9rZW4tdG9rZW4tdG9rZW4tdG9r";
pub const CREDENTIAL: &str = "sp_agt_k3f9q2x7_Y3JlZGVudGlhbC1jcmVkZW50aWFsLWNyZWRlbnRpYWw";

/// What becomes of a request.
pub enum Said {
    /// As a good hub would.
    AsUsual,
    /// These bytes.
    Instead(String),
    /// It is done, and the connection ends before the answer.
    DoneAndCut,
}

/// Decides about each request; the second value counts earlier ones of the same path.
pub type Script = Box<dyn FnMut(&Heard, usize) -> Said + Send>;

/// A router, a hub, and the files of whoever provisions.
pub struct Scene {
    pub world: Arc<World>,
    pub folder: TempDir,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    script: Script,
    heard: Vec<(String, Value)>,
    counts: HashMap<String, usize>,
    pub desired: Value,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scene {
    pub async fn start() -> Self {
        Self::scripted(|_, _| Said::AsUsual).await
    }

    pub async fn scripted(script: impl FnMut(&Heard, usize) -> Said + Send + 'static) -> Self {
        Self::around(World::start().await, script).await
    }

    /// With a router of its own kind.
    pub async fn around(world: World, script: impl FnMut(&Heard, usize) -> Said + Send + 'static) -> Self {
        let world = Arc::new(world);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desired = desired(&world);
        let state = State { script: Box::new(script), heard: Vec::new(), counts: HashMap::new(), desired };
        let state = Arc::new(Mutex::new(state));
        let (world_too, state_too) = (Arc::clone(&world), Arc::clone(&state));
        let task = tokio::spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (world, state) = (Arc::clone(&world_too), Arc::clone(&state_too));
                lines.spawn(async move {
                    let mut line = Line::new(stream);
                    while let Some(heard) = line.hear().await {
                        let Some(answer) = answer(&world, &state, &heard).await else { return };
                        line.say(answer).await;
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        Self { world, folder, address, state, task }
    }

    /// Changes what is to be on the router.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state.desired);
        let revision = state.desired["revision"].as_i64().unwrap() + 1;
        state.desired["revision"] = json!(revision);
    }

    /// Bodies of all requests to a path.
    pub fn heard(&self, path: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.heard.iter().filter(|(heard, _)| heard == path).map(|(_, body)| body.clone()).collect()
    }

    pub fn hub(&self) -> Hub {
        Hub::new(self.url(), &Trust::Public, None).unwrap()
    }

    pub fn url(&self) -> HubUrl {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub fn credential_file(&self) -> CredentialFile {
        CredentialFile { path: self.path("token.credential"), hub: self.url().to_string() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn source(&self, timeout: Duration) -> HubSource {
        let file = self.credential_file();
        let token = match file.read().unwrap() {
            Kept::Enrolled(_) => None,
            _ => Some(Secret::new(TOKEN.to_owned())),
        };
        HubSource { hub: self.hub(), file, token, timeout }
    }

    pub async fn provision(&self) -> Run {
        self.provision_as(|_| {}).await
    }

    pub async fn provision_as(&self, change: impl FnOnce(&mut args::Provision)) -> Run {
        let mut command = args::Provision {
            access: self.world.access(),
            source: Source::Hub(Box::new(self.source(Duration::from_secs(3)))),
            write: args::Write::Apply(sitepeer::cli::report::Confirm::Given),
            proof_timeout: LONG_PROOF,
            max_removals: 10,
            guard: sitepeer::reconcile::guard::When::default(),
        };
        change(&mut command);
        run::provision(command, async |_| {}).await
    }
}

/// What is to be on the router of site A.
pub fn desired(world: &World) -> Value {
    json!({
        "revision": 7,
        "peer": PEER,
        "enabled": true,
        "config": {
            "id": PEER,
            "instance": "acme",
            "tunnel": { "addresses": ["10.99.0.2/24"], "probe": ["10.99.0.1"] },
            "hub": {
                "public_key": STANDARD.encode(world.hub.public_key()),
                "endpoints": [world.hub.endpoint().to_string()],
                "keepalive_secs": 25,
            },
            "advertise": ["192.168.88.0/24"],
            "reach": ["10.99.0.0/24", "192.168.89.0/24"],
        },
    })
}

/// `None` ends the connection.
async fn answer(world: &World, state: &Mutex<State>, heard: &Heard) -> Option<String> {
    let path = heard.path.split('?').next().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    let said = {
        let mut state = state.lock().unwrap();
        state.heard.push((path.clone(), body.clone()));
        let count = state.counts.entry(path.clone()).or_default();
        *count += 1;
        let earlier = *count - 1;
        (state.script)(heard, earlier)
    };
    if let Said::Instead(text) = said {
        return Some(text);
    }
    if path.starts_with("/v1/agent/") {
        assert_eq!(heard.headers.get("authorization"), Some(&format!("Bearer {CREDENTIAL}")), "{path}");
    }
    let usual = match path.as_str() {
        "/v1/enroll" => {
            assert!(!heard.headers.contains_key("authorization"));
            assert_eq!(body["token"], TOKEN);
            fake::json(&enrolled().to_string())
        }
        "/v1/agent/desired" => {
            let desired = state.lock().unwrap().desired.clone();
            let asked = heard.path.split_once("revision=").map(|(_, rest)| rest.split('&').next().unwrap().to_owned());
            if asked == Some(desired["revision"].to_string()) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned()
            } else {
                fake::json(&desired.to_string())
            }
        }
        "/v1/agent/applied" => {
            let desired = {
                let mut state = state.lock().unwrap();
                state.desired["public_key"] = body["public_key"].clone();
                state.desired.clone()
            };
            let public_key = STANDARD.decode(body["public_key"].as_str().unwrap()).unwrap().try_into().unwrap();
            if desired["enabled"] == true {
                let allowed = vec!["10.99.0.2/32".parse().unwrap(), "192.168.88.0/24".parse().unwrap()];
                world.hub.set_peer(HubPeer { public_key, preshared_key: None, allowed }).await.unwrap();
            }
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
        }
        "/v1/agent/rotate" => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "/v1/agent/reports" => fake::json(r#"{"number":1}"#),
        _ => fake::problem(404, "not-found", ""),
    };
    if matches!(said, Said::DoneAndCut) { None } else { Some(usual) }
}

pub fn enrolled() -> Value {
    json!({
        "kind": "site",
        "peer": PEER,
        "instance": "i1i1i1i1",
        "instance_name": "acme",
        "interface": "sitepeer-acme",
        "credential": CREDENTIAL,
    })
}

/// Long enough for an answer that comes at once.
pub const SOON: Duration = Duration::from_secs(3);
