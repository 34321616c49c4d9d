//! Ten thousand site peers through the API, and what is asked of a hub that has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hyper::Method;
use serde_json::{Value, json};
use sitepeer::domain::Secret;
use sitepeer::uplink::{Hub, SendOptions};

use crate::figures::{Figures, millis, say, times};
use crate::program::Program;

/// Who fills the hub at once.
const WORKERS: usize = 8;
/// Requests of each kind that are timed.
const LISTS: usize = 50;
const ADDS: usize = 200;
const LIST_BUDGET: Duration = Duration::from_millis(200);
const ADD_BUDGET: Duration = Duration::from_millis(10);
/// Peers in a report of a gateway.
const REPORTED_AT_ONCE: usize = 500;

/// A site peer with an enrolled agent.
#[derive(Debug, Clone)]
pub struct Agent {
    pub peer: String,
    pub credential: Secret,
}

/// A hub full of site peers.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub admin: Hub,
    gateway: Hub,
    account: String,
    pub instance: String,
    pub agents: Vec<Agent>,
}

impl Fleet {
    /// The same fleet at a hub that was started again.
    pub fn at(&self, program: &Program) -> Self {
        Self { admin: program.admin(), ..self.clone() }
    }
}

pub async fn post(hub: &Hub, path: &str, body: Value) -> Value {
    hub.post(path, &body).await.unwrap_or_else(|error| panic!("POST {path}: {error:?}"))
}

pub async fn get(hub: &Hub, path: &str) -> Value {
    hub.get(path).await.unwrap_or_else(|error| panic!("GET {path}: {error:?}"))
}

pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// Makes account, gateway, instance, and so many sites with peers whose agents are enrolled and whose routers have keys.
pub async fn fill(program: &Program, peers: usize) -> Fleet {
    let admin = program.admin();
    let account = text(&post(&admin, "/v1/accounts", json!({ "name": "bench", "max_instances": 0 })).await, "id");
    let token = post(&admin, "/v1/tokens", json!({ "name": "g", "role": "gateway", "region": "eu" })).await;
    let gateway = program.client(Some(Secret::new(text(&token, "secret"))));
    let hello = json!({ "name": "g", "region": "eu", "public_host": "192.0.2.1", "backend": "kernel", "version": "0",
        "install": "0123456789abcdef" });
    post(&gateway, "/v1/gateway/hello", hello).await;
    let new = json!({ "name": "big", "region": "eu", "account": account, "tunnel_subnet": "100.64.0.0/16" });
    let instance = text(&post(&admin, "/v1/instances", new).await, "id");
    serve(&gateway, &instance).await;
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (admin, stranger, next) = (program.admin(), program.client(None), Arc::clone(&next));
            let (account, instance) = (account.clone(), instance.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= peers {
                        return made;
                    }
                    made.push(site(&admin, &stranger, &account, &instance, number).await);
                }
            })
        })
        .collect();
    let mut agents = Vec::with_capacity(peers);
    for worker in workers {
        agents.extend(worker.await.unwrap());
    }
    let took = begun.elapsed();
    let each = took / u32::try_from(5 * peers).unwrap();
    say(
        "site, peer, token, enrolment, key of each",
        &format!("{:.1} s, {} a change, {WORKERS} at once", took.as_secs_f64(), millis(each)),
    );
    let fleet = Fleet { admin, gateway, account, instance, agents };
    report(&fleet).await;
    fleet
}

/// Answers for the instance as its gateway does once it has made the key.
async fn serve(gateway: &Hub, instance: &str) {
    let desired = get(gateway, "/v1/gateway/desired?revision=0&wait=10").await;
    let revision = &desired["instances"][0]["revision"];
    let done = json!({ "id": instance, "revision": revision, "public_key": key(usize::MAX), "listen_port": 51820 });
    let applied = json!({ "revision": desired["revision"], "instances": [done], "peers": [] });
    gateway.post::<_, ()>("/v1/gateway/applied", &applied).await.unwrap();
}

async fn site(admin: &Hub, stranger: &Hub, account: &str, instance: &str, number: usize) -> Agent {
    let name = format!("site-{number:05}");
    let site = text(&post(admin, "/v1/sites", json!({ "name": name, "account": account })).await, "id");
    let subnet = format!("10.{}.{}.0/24", number / 256, number % 256);
    let peer = json!({ "kind": "site", "site": site, "subnets": [subnet] });
    let peer = text(&post(admin, &format!("/v1/instances/{instance}/peers"), peer).await, "id");
    let token = text(&post(admin, "/v1/enrollments", json!({ "peer": peer })).await, "token");
    let request = json!({ "token": token, "device_nonce": format!("{number:032}") });
    let credential = Secret::new(text(&post(stranger, "/v1/enroll", request).await, "credential"));
    let device = json!({ "board": "RB5009UG+S+", "version": "7.20.4", "serial": format!("HG{number:08}") });
    let applied = json!({ "revision": 0, "public_key": key(number), "device": device });
    stranger.with_credential(credential.clone()).post::<_, ()>("/v1/agent/applied", &applied).await.unwrap();
    Agent { peer, credential }
}

/// A public key of its own for every number.
fn key(number: usize) -> String {
    use base64::Engine as _;
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The gateway's view of all of them, as it reports it.
async fn report(fleet: &Fleet) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut taken = Vec::new();
    for (number, part) in (1..).zip(fleet.agents.chunks(REPORTED_AT_ONCE)) {
        let seen = |agent: &Agent| {
            json!({ "peer": agent.peer, "revision": 1, "handshake_at": now - 30, "connected_since": now - 3600,
                "endpoint": "198.51.100.7:13231", "rx_bytes": 1_000_000, "tx_bytes": 2_000_000 })
        };
        let peers: Vec<Value> = part.iter().map(seen).collect();
        let begun = Instant::now();
        post(
            &fleet.gateway,
            "/v1/gateway/reports",
            json!({ "epoch": "e", "number": number, "at": now, "peers": peers }),
        )
        .await;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    say("report of 500 peers by the gateway", &format!("max {}", millis(taken[taken.len() - 1])));
}

/// Pages of the list, with health.
pub async fn lists(figures: &mut Figures, fleet: &Fleet) {
    let first = get(&fleet.admin, "/v1/peers?limit=100").await;
    let connected = first["items"].as_array().unwrap().iter().filter(|peer| peer["status"] == "connected").count();
    figures.holds("peers of the first page that are shown as connected", &connected.to_string(), connected == 100);
    let middle = &fleet.agents[fleet.agents.len() / 2].peer;
    let pages = [
        ("list, first page of 100 with health", "/v1/peers?limit=100".to_owned()),
        ("list, a page in the middle", format!("/v1/peers?limit=100&cursor={middle}")),
        ("list, a page of 1,000", "/v1/peers?limit=1000".to_owned()),
        ("list, of the instance", format!("/v1/instances/{}/peers?limit=100", fleet.instance)),
        ("list, only those offline (none)", "/v1/peers?limit=100&status=offline".to_owned()),
        ("list, search for one site", "/v1/peers?limit=100&search=site-00777".to_owned()),
        ("sites, first page", "/v1/sites?limit=100".to_owned()),
    ];
    for (what, path) in pages {
        let mut taken = Vec::new();
        for _ in 0..LISTS {
            let begun = Instant::now();
            get(&fleet.admin, &path).await;
            taken.push(begun.elapsed());
        }
        times(what, &mut taken, 99, LIST_BUDGET);
    }
}

/// One peer more, many times; the gateway is told of that one only.
pub async fn adds(figures: &mut Figures, fleet: &Fleet) {
    let site = json!({ "name": "one-more", "account": fleet.account });
    let site = text(&post(&fleet.admin, "/v1/sites", site).await, "id");
    let mut revision = everything(&fleet.gateway).await;
    let (mut taken, mut others) = (Vec::new(), 0);
    for number in 0..ADDS {
        let peer = json!({ "kind": "site", "site": site, "name": format!("more-{number}"),
            "subnets": [format!("172.16.{number}.0/24")] });
        let (begun, path) = (Instant::now(), format!("/v1/instances/{}/peers", fleet.instance));
        let made = post(&fleet.admin, &path, peer).await;
        taken.push(begun.elapsed());
        let told = get(&fleet.gateway, &format!("/v1/gateway/desired?revision={revision}&wait=10")).await;
        revision = told["revision"].as_i64().unwrap();
        let names = |list: &str, field: &str| -> Vec<String> {
            told[list].as_array().unwrap().iter().map(|item| text(item, field)).collect()
        };
        let mut rows = names("peers", "id");
        rows.extend(names("removed_peers", "peer"));
        others += rows.iter().filter(|id| **id != text(&made, "id")).count();
        others += told["instances"].as_array().unwrap().len();
    }
    times("add one site peer", &mut taken, 99, ADD_BUDGET);
    figures.holds("rows of others that the gateway was told of", &others.to_string(), others == 0);
}

/// Reads all that a gateway has to know; returns the revision it comes to.
async fn everything(gateway: &Hub) -> i64 {
    let mut revision = 0;
    loop {
        let told = get(gateway, &format!("/v1/gateway/desired?revision={revision}&wait=0")).await;
        revision = told["revision"].as_i64().unwrap();
        if told["more"] != true {
            return revision;
        }
    }
}

/// Changes something that the peer's agent has to hear of; returns the revision that this makes for it.
pub async fn edit(admin: &Hub, peer: &str, keepalive: usize) -> i64 {
    let body = json!({ "keepalive_secs": keepalive });
    let path = format!("/v1/peers/{peer}");
    let sent = admin.send(Method::PATCH, &path, Some(&body), &SendOptions::default()).await;
    let changed: Value = sent.and_then(|reply| reply.json()).unwrap_or_else(|error| panic!("PATCH {path}: {error:?}"));
    changed["link"]["revision"].as_i64().unwrap()
}
