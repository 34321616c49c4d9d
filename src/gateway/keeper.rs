//! Who keeps what is wanted, hands it to the workers, and knows what the hub has to be told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::desired::{Delta, Desired, Effect, Effects, Held, Refused, Store};
use super::disk::DiskError;
use super::serve::{Host, Order, Outcome, Served, Wanted};
use crate::api::{GatewayApplied, GatewayInstanceApplied, GatewayPeerFailed, InstanceId};

/// How long others wait for instances that go, or give up their port.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long an instance may take before the hub is told that it is not done.
const APPLY_PATIENCE: Duration = Duration::from_mins(2);
/// Most failed peers that are told at once: a request stays small.
const MAX_FAILED: usize = 2000;

/// Keeps what is wanted.
#[derive(Debug)]
pub struct Keeper {
    host: Arc<Host>,
    store: Arc<Mutex<Store>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    desired: Desired,
    served: BTreeMap<InstanceId, Served>,
    last_ticket: u64,
    /// Revisions whose instances are still at work, oldest first.
    pending: VecDeque<Pending>,
    /// Up to here everything is done, or has failed.
    applied: i64,
    /// What the hub told that cannot be served.
    refused: Vec<Refused>,
    orphans: Vec<GatewayPeerFailed>,
    told: Told,
}

/// What the hub has heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Told {
    revision: Option<i64>,
    instances: BTreeMap<InstanceId, GatewayInstanceApplied>,
    peers: Vec<GatewayPeerFailed>,
}

#[derive(Debug)]
struct Pending {
    revision: i64,
    ticket: u64,
    since: Instant,
    instances: Vec<InstanceId>,
}

/// Something to tell the hub.
#[derive(Debug)]
pub struct Word {
    /// What is told.
    pub applied: GatewayApplied,
    then: Told,
}

impl Keeper {
    /// Begins with what was last known, and has it served.
    #[must_use]
    pub fn start(host: Arc<Host>, store: Store, desired: Desired) -> Self {
        let mut state = State { applied: desired.revision, ..State::default() };
        let all: Vec<InstanceId> = desired.instances.keys().cloned().collect();
        state.desired = desired;
        let keeper = Self { host, store: Arc::new(Mutex::new(store)), state: Mutex::new(State::default()) };
        keeper.host.reserve(state.ports().into_values().flatten());
        let (revision, ticket) = (state.desired.revision, state.take_ticket());
        for id in &all {
            state.order(&keeper.host, id, Wanted::Serve, ticket);
        }
        state.pending.push_back(Pending { revision, ticket, since: Instant::now(), instances: all });
        *keeper.state() = state;
        keeper
    }

    /// What all workers share.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The revision that was last heard.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.state().desired.revision
    }

    /// Whether there is anything to serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state().desired.instances.is_empty()
    }

    /// Whether an instance is wanted, or still going.
    #[must_use]
    pub fn knows(&self, id: &InstanceId) -> bool {
        let state = self.state();
        state.desired.instances.contains_key(id) || state.served.contains_key(id)
    }

    /// Takes a change in: writes it down, then hands it to the workers, those that go first.
    ///
    /// # Errors
    /// [`DiskError`] if it could not be written down: it is served all the same, but the hub is not told so.
    ///
    /// # Cancel safety
    /// A dropped call may leave the change half handed out; what is on disk is whole.
    pub async fn take(&self, delta: Delta, refused: Vec<Refused>) -> Result<(), DiskError> {
        let (delta, store) = (Arc::new(delta), Arc::clone(&self.store));
        let record = Arc::clone(&delta);
        let written = spawn_blocking(move || lock(&store).write(&record)).await;
        let written = written.unwrap_or_else(|_| Err(task_failed()));
        let (first, ticket) = self.hand_out_first(&delta, refused);
        drop(timeout(LEAVE_PATIENCE, join_all(first)).await);
        self.hand_out_rest(ticket, &delta, written.is_ok());
        self.delete_unknown_keys(&delta).await;
        written?;
        self.tidy().await
    }

    /// Hands out what others wait for: instances that go, are suspended, or give up their port.
    fn hand_out_first(
        &self,
        delta: &Delta,
        refused: Vec<Refused>,
    ) -> (Vec<impl Future<Output = ()> + Send + use<>>, u64) {
        let mut state = self.state();
        let ports = state.ports();
        let before = delta.full.then(|| state.desired.instances.clone());
        let Effects { instances, orphans } = state.desired.take(delta);
        self.host.reserve(state.ports().into_values().flatten());
        if delta.full {
            state.refused.clear();
            state.orphans.clear();
        }
        state.refused.extend(refused);
        state.orphans.extend(orphans);
        let ticket = state.take_ticket();
        let mut first = Vec::new();
        for (id, effect) in &instances {
            let wanted = match effect {
                Effect::Changed => Wanted::Serve,
                Effect::Deleted => Wanted::Delete,
                Effect::Unlisted => Wanted::SetAside,
            };
            let held = state.desired.instances.get(id);
            let frees = held.is_none_or(|held| {
                held.instance.suspended || ports.get(id).is_some_and(|before| !before.is_subset(&ports_of(held)))
            });
            if frees && state.served.contains_key(id) {
                let gone = before.as_ref().and_then(|before| before.get(id)).cloned();
                state.order_with(&self.host, id, wanted, ticket, gone);
                first.extend(state.served.get(id).map(|served| served.through(ticket)));
            }
        }
        let touched = instances.into_keys().collect();
        let revision = delta.revision;
        state.pending.push_back(Pending { revision, ticket, since: Instant::now(), instances: touched });
        (first, ticket)
    }

    fn hand_out_rest(&self, ticket: u64, delta: &Delta, written: bool) {
        let mut state = self.state();
        let touched = state.pending.iter().find(|pending| pending.ticket == ticket).map(|p| p.instances.clone());
        for id in touched.into_iter().flatten() {
            let ordered = state.served.get(&id).is_some_and(|served| served.ordered() >= ticket);
            if !ordered && state.desired.instances.contains_key(&id) {
                state.order(&self.host, &id, Wanted::Serve, ticket);
            }
        }
        if !written {
            // Not on disk, so not done: the hub is asked for it again.
            state.pending.retain(|pending| pending.ticket != ticket);
            tracing::error!(revision = delta.revision, "a change is served but not written down");
        }
        drop(state);
        self.host.news.notify_one();
    }

    /// Deletes keys of instances that were set aside earlier and are deleted now.
    async fn delete_unknown_keys(&self, delta: &Delta) {
        for id in delta.removed_instances.iter().filter(|id| !self.knows(id)) {
            let (disk, id) = (Arc::clone(&self.host.disk), id.clone());
            match spawn_blocking(move || disk.delete_key(&id)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a key is not deleted"),
                Err(error) => tracing::error!(%error, "a key is not deleted"),
            }
        }
    }

    async fn tidy(&self) -> Result<(), DiskError> {
        if !lock(&self.store).has_grown() {
            return Ok(());
        }
        let snapshot = self.state().desired.clone();
        let store = Arc::clone(&self.store);
        spawn_blocking(move || lock(&store).tidy(&snapshot)).await.unwrap_or_else(|_| Err(task_failed()))
    }

    /// What the hub has to be told now, if anything. Notes on the way what is settled.
    ///
    /// # Cancel safety
    /// Safe: the next call says the same.
    pub async fn word(&self) -> Option<Word> {
        let (word, settled) = self.state().word();
        if let Some(revision) = settled {
            let store = Arc::clone(&self.store);
            if let Ok(Err(error)) = spawn_blocking(move || lock(&store).settle(revision)).await {
                tracing::warn!(%error, "what is settled is not noted");
            }
        }
        word
    }

    /// The hub has heard it.
    pub fn was_told(&self, word: Word) {
        self.state().told = word.then;
    }

    /// Ends all workers and waits for them; what a kernel serves goes on.
    pub async fn stop(&self) {
        let served = std::mem::take(&mut self.state().served);
        join_all(served.into_values().map(Served::stop)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn ports(&self) -> BTreeMap<InstanceId, BTreeSet<u16>> {
        self.desired.instances.iter().map(|(id, held)| (id.clone(), ports_of(held))).collect()
    }

    fn order(&mut self, host: &Arc<Host>, id: &InstanceId, wanted: Wanted, ticket: u64) {
        self.order_with(host, id, wanted, ticket, None);
    }

    /// `gone` is what was known of an instance that is not wanted any more.
    fn order_with(&mut self, host: &Arc<Host>, id: &InstanceId, wanted: Wanted, ticket: u64, gone: Option<Held>) {
        let held = self.desired.instances.get(id).cloned().or(gone);
        match (self.served.get(id), held) {
            (Some(served), Some(held)) => served.put(Order { ticket, wanted, held }),
            (Some(served), None) => served.put(Order { ticket, wanted, held: served.held() }),
            (None, Some(held)) => {
                let order = Order { ticket, wanted, held };
                let served = Served::start(Arc::clone(host), order, self.desired.settled);
                self.served.insert(id.clone(), served);
            }
            (None, None) => {}
        }
    }

    fn word(&mut self) -> (Option<Word>, Option<i64>) {
        while let Some(pending) = self.pending.front() {
            let late = pending.since.elapsed() > APPLY_PATIENCE;
            let through = |id: &InstanceId| self.served.get(id).is_none_or(|served| served.is_through(pending.ticket));
            if !late && !pending.instances.iter().all(through) {
                break;
            }
            self.applied = pending.revision;
            self.pending.pop_front();
        }
        self.served.retain(|_, served| !served.is_over());
        let now = self.now();
        let (settled, clean) = (self.desired.settled, now.peers.is_empty() && self.pending.is_empty());
        let clean = clean && now.instances.values().all(|instance| instance.error.is_none());
        let settles = (clean && self.applied > settled).then_some(self.applied);
        if let Some(revision) = settles {
            self.desired.settled = revision;
        }
        let news = now.instances.iter().filter(|(id, told)| self.told.instances.get(*id) != Some(*told));
        let instances: Vec<GatewayInstanceApplied> = news.map(|(_, told)| told.clone()).collect();
        if self.told.revision == now.revision && self.told.peers == now.peers && instances.is_empty() {
            return (None, settles);
        }
        let applied = GatewayApplied { revision: self.applied, instances, peers: now.peers.clone() };
        (Some(Word { applied, then: now }), settles)
    }

    /// Everything that could be told now.
    fn now(&self) -> Told {
        let mut told = Told { revision: Some(self.applied), ..Told::default() };
        for (id, served) in &self.served {
            let outcome: Outcome = served.outcome();
            if outcome.ticket > 0 && !outcome.gone {
                told.instances.insert(id.clone(), outcome.applied(id));
                told.peers.extend(outcome.failed);
            }
        }
        for refused in &self.refused {
            let error = Some(format!("{} is refused: {}", refused.what, refused.why));
            if let Some((id, revision)) = &refused.instance {
                let (id, revision) = (id.clone(), *revision);
                let failed = GatewayInstanceApplied {
                    id,
                    revision,
                    device: 0,
                    public_key: None,
                    listen_port: None,
                    error,
                    devices: Vec::new(),
                };
                told.instances.entry(failed.id.clone()).or_insert(failed);
            } else if let (Some((id, revision)), Some(error)) = (&refused.peer, error) {
                told.peers.push(GatewayPeerFailed { id: id.clone(), revision: *revision, error });
            }
        }
        told.peers.extend(self.orphans.iter().cloned());
        told.peers.sort_by(|a, b| a.id.cmp(&b.id));
        told.peers.dedup_by(|a, b| a.id == b.id);
        told.peers.truncate(MAX_FAILED);
        told
    }
}

/// The ports of all devices of an instance.
fn ports_of(held: &Held) -> BTreeSet<u16> {
    let others = held.instance.devices.iter().map(|device| device.listen_port);
    std::iter::once(held.instance.listen_port).chain(others).collect()
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

fn task_failed() -> DiskError {
    DiskError::Io {
        what: "write",
        path: "desired.log".into(),
        source: std::io::Error::other("the task that writes it failed"),
    }
}
