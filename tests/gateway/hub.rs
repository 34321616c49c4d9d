//! A scripted hub: it keeps what is wanted, answers long-polls as a hub does, and can be away, forgetful or hostile.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sitepeer::api::{GatewayApplied, GatewayHello, GatewayInstance, GatewayPeer, GatewayReport};
use sitepeer::uplink::{Connect, Hub, Stream, UplinkError};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::world::DEADLINE;

#[derive(Debug, Default)]
pub struct State {
    pub away: bool,
    /// Polls are answered at once, whether or not there is something.
    pub hasty: bool,
    /// Answers of `/desired` that go out before anything else.
    pub script: VecDeque<Value>,
    /// Status and code that refuse everything.
    pub refuse: Option<(u16, &'static str)>,
    counter: i64,
    instances: BTreeMap<String, (i64, Option<GatewayInstance>)>,
    peers: BTreeMap<(String, String), (i64, Option<GatewayPeer>)>,
    /// Most things in one reply; the rest follow.
    pub page: Option<usize>,
    /// What is asked for below this, is answered with "begin again".
    pub floor: i64,
    pub hellos: Vec<GatewayHello>,
    pub applied: Vec<GatewayApplied>,
    pub reports: Vec<GatewayReport>,
    /// Replies to reports that get lost after the report was taken.
    pub lose_replies: usize,
    pub asked: Vec<i64>,
}

/// Called whenever the gateway says something: what is on its disk by then must be enough.
type Boundary = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub struct FakeHub {
    state: Mutex<State>,
    changed: Notify,
    pub boundary: Mutex<Option<Boundary>>,
}

impl FakeHub {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn handle(self: &Arc<Self>) -> Hub {
        Hub::over(Arc::new(Line(Arc::clone(self))), None)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn set_away(&self, away: bool) {
        self.state().away = away;
        self.changed.notify_waiters();
    }

    pub fn set_instance(&self, mut instance: GatewayInstance) -> i64 {
        let mut state = self.state();
        state.counter += 1;
        let counter = state.counter;
        instance.revision = counter;
        state.instances.insert(instance.id.to_string(), (counter, Some(instance)));
        drop(state);
        self.changed.notify_waiters();
        counter
    }

    pub fn remove_instance(&self, id: &str) -> i64 {
        let mut state = self.state();
        state.counter += 1;
        let counter = state.counter;
        state.instances.insert(id.to_owned(), (counter, None));
        state.peers.retain(|(instance, _), _| instance != id);
        drop(state);
        self.changed.notify_waiters();
        counter
    }

    /// As if it had been restored from a backup that does not know the instance.
    pub fn forget_instance(&self, id: &str) {
        let mut state = self.state();
        state.instances.remove(id);
        state.peers.retain(|(instance, _), _| instance != id);
        state.counter += 1;
        state.floor = state.counter;
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn set_peer(&self, mut peer: GatewayPeer) -> i64 {
        let mut state = self.state();
        state.counter += 1;
        let counter = state.counter;
        peer.revision = counter;
        state.peers.insert((peer.instance.to_string(), peer.id.to_string()), (counter, Some(peer)));
        drop(state);
        self.changed.notify_waiters();
        counter
    }

    pub fn remove_peer(&self, instance: &str, peer: &str) -> i64 {
        let mut state = self.state();
        state.counter += 1;
        let counter = state.counter;
        state.peers.insert((instance.to_owned(), peer.to_owned()), (counter, None));
        drop(state);
        self.changed.notify_waiters();
        counter
    }

    /// Queues a raw answer to the next question.
    pub fn say(&self, value: Value) {
        self.state().script.push_back(value);
        self.changed.notify_waiters();
    }

    pub async fn until<T>(&self, what: &str, condition: impl Fn(&State) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = condition(&self.state()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        match timeout(DEADLINE, wait).await {
            Ok(found) => found,
            Err(late) => panic!("{what}: not within {DEADLINE:?} ({late}): {:?}", self.state().applied),
        }
    }

    /// Waits until the gateway acknowledged a revision, and returns that acknowledgement.
    pub async fn applied(&self, revision: i64) -> GatewayApplied {
        let found = |state: &State| state.applied.iter().rev().find(|applied| applied.revision >= revision).cloned();
        self.until(&format!("revision {revision} applied"), found).await
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or("").to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if let Some(boundary) = &*self.boundary.lock().unwrap() {
            boundary();
        }
        if let Some((status, code)) = self.state().refuse {
            let problem = json!({"type": "about:blank", "title": "no", "status": status, "code": code, "detail": "no"});
            return reply(status, Some(&problem), "application/problem+json");
        }
        match path.as_str() {
            "/v1/gateway/hello" => {
                self.state().hellos.push(serde_json::from_slice(&body).unwrap());
                reply(200, Some(&json!({"id": "gate0001", "report_secs": 1})), "application/json")
            }
            "/v1/gateway/applied" => {
                self.state().applied.push(serde_json::from_slice(&body).unwrap());
                reply(204, None, "")
            }
            "/v1/gateway/reports" => {
                let report: GatewayReport = serde_json::from_slice(&body).unwrap();
                let number = report.number;
                let mut state = self.state();
                state.reports.push(report);
                if state.lose_replies > 0 {
                    state.lose_replies -= 1;
                    return reply(503, Some(&json!({"code": "busy"})), "application/json");
                }
                reply(200, Some(&json!({"number": number})), "application/json")
            }
            _ => self.desired(&query).await,
        }
    }

    async fn desired(&self, query: &str) -> Response<Full<Bytes>> {
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(key, _)| *key == name).map_or(0, |(_, value)| value.parse::<i64>().unwrap())
        };
        let (since, wait) = (number("revision"), number("wait"));
        self.state().asked.push(since);
        let news = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(value) = self.state().offer(since) {
                    return value;
                }
                changed.await;
            }
        };
        let wait = Duration::from_secs(u64::try_from(wait).unwrap()).max(Duration::from_millis(20));
        let wait = if self.state().hasty { Duration::ZERO } else { wait };
        match timeout(wait, news).await {
            Ok(value) => reply(200, Some(&value), "application/json"),
            Err(_late) => reply(304, None, ""),
        }
    }
}

impl State {
    fn offer(&mut self, since: i64) -> Option<Value> {
        if let Some(value) = self.script.pop_front() {
            self.counter = self.counter.max(value["revision"].as_i64().unwrap_or(0));
            return Some(value);
        }
        if since > self.counter || (since > 0 && since < self.floor) {
            return Some(json!({"revision": self.counter, "restart": true}));
        }
        if since == self.counter {
            return None;
        }
        let mut things: Vec<(i64, &str, Value)> = Vec::new();
        for (id, (revision, instance)) in &self.instances {
            match instance {
                Some(instance) => things.push((*revision, "instances", json!(instance))),
                None if since > 0 => things.push((*revision, "removed_instances", json!(id))),
                None => {}
            }
        }
        for ((instance, id), (revision, peer)) in &self.peers {
            match peer {
                Some(peer) => things.push((*revision, "peers", json!(peer))),
                None => things.push((*revision, "removed_peers", json!({"instance": instance, "peer": id}))),
            }
        }
        things.retain(|(revision, ..)| *revision > since);
        things.sort_by_key(|(revision, ..)| *revision);
        let more = self.page.is_some_and(|page| things.len() > page);
        things.truncate(self.page.unwrap_or(usize::MAX));
        let revision = if more { things.last().unwrap().0 } else { self.counter };
        let mut value = json!({"revision": revision, "more": more, "instances": [], "peers": [],
            "removed_instances": [], "removed_peers": []});
        for (_, list, thing) in things {
            value[list].as_array_mut().unwrap().push(thing);
        }
        Some(value)
    }
}

fn reply(status: u16, value: Option<&Value>, kind: &str) -> Response<Full<Bytes>> {
    let body = value.map_or_else(Vec::new, |value| serde_json::to_vec(value).unwrap());
    let reply = Response::builder().status(status);
    let reply = if kind.is_empty() { reply } else { reply.header("content-type", kind) };
    reply.body(Full::new(Bytes::from(body))).unwrap()
}

/// A line to the hub in this process.
struct Line(Arc<FakeHub>);

#[async_trait::async_trait]
impl Connect for Line {
    async fn connect(&self) -> Result<Box<dyn Stream>, UplinkError> {
        if self.0.state().away {
            let why = io::Error::from(io::ErrorKind::ConnectionRefused);
            return Err(UplinkError::Unreachable { place: self.place(), why });
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let hub = Arc::clone(&self.0);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let hub = Arc::clone(&hub);
                async move { Ok::<_, Infallible>(hub.answer(request).await) }
            });
            let serve = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
            tokio::pin!(serve);
            loop {
                tokio::select! {
                    ended = &mut serve => { drop(ended); return; }
                    () = tokio::time::sleep(Duration::from_millis(10)) => if hub.state().away { return },
                }
            }
        });
        Ok(Box::new(near))
    }

    fn place(&self) -> String {
        "the scripted hub".to_owned()
    }
}
