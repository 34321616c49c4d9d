//! Agents that wait for what is new: how many a hub holds, and how soon they are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sitepeer::uplink::{Deadlines, Hub};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::figures::{Figures, say, times};
use crate::fill::{Agent, Fleet, edit, post, text};
use crate::program::Program;

/// What the hub may take while it holds all polls, in KiB.
const HELD_BUDGET_KIB: u64 = 256 * 1024;
const TOLD_BUDGET: Duration = Duration::from_secs(1);
/// Connections that are opened at once: the machine's queue of new ones is short.
const OPENING: usize = 100;
/// Between two changes that are timed.
const CHANGE_EVERY: Duration = Duration::from_millis(10);
/// How long it may take until all polls wait.
const PATIENCE: Duration = Duration::from_mins(2);
/// Answers of each agent that may be waiting to be looked at.
const ANSWERS: usize = 8;
/// Longest poll of agents that are told something: so long does the hub hold them when they are gone.
const TOLD_WAIT_SECS: u64 = 20;
/// Longest poll of agents that only wait: all have come before the first of them comes again.
const HELD_WAIT_SECS: u64 = 50;
/// Of so many, one may be between two polls at the moment.
const ONE_BETWEEN: usize = 100;

/// Who was told, what revision, and when.
type Told = (usize, i64, Instant);

/// Agents that poll until they are dropped.
struct Waiting {
    _tasks: JoinSet<()>,
    told: mpsc::Receiver<Told>,
}

impl Waiting {
    /// Every agent fetches what there is, and then waits for what is newer.
    async fn begin(program: &Program, agents: &[Agent], wait_secs: u64) -> Self {
        wait_until(program, 0).await;
        let (tell, told) = mpsc::channel(ANSWERS * agents.len().max(1));
        let opening = Arc::new(Semaphore::new(OPENING));
        let patient = Deadlines { head: PATIENCE, ..Deadlines::default() };
        let hub = program.client(None).with_deadlines(patient);
        let mut tasks = JoinSet::new();
        for (number, agent) in agents.iter().enumerate() {
            let hub = hub.with_credential(agent.credential.clone());
            let (tell, opening) = (tell.clone(), Arc::clone(&opening));
            tasks.spawn(async move { poll(&hub, number, wait_secs, &tell, &opening).await });
        }
        wait_until(program, agents.len()).await;
        Self { _tasks: tasks, told }
    }
}

async fn poll(hub: &Hub, number: usize, wait_secs: u64, tell: &mpsc::Sender<Told>, opening: &Semaphore) {
    let permit = opening.acquire().await.unwrap();
    let mut revision = desired(hub, "/v1/agent/desired").await.unwrap();
    drop(permit);
    loop {
        let Some(news) = desired(hub, &format!("/v1/agent/desired?revision={revision}&wait={wait_secs}")).await else {
            continue;
        };
        revision = news;
        if tell.send((number, revision, Instant::now())).await.is_err() {
            return;
        }
    }
}

/// The revision that an answer has, if it is not "nothing new". The rest is not looked at: what this side does is not to be measured.
async fn desired(hub: &Hub, path: &str) -> Option<i64> {
    let (_, body) = hub.text(path).await.unwrap_or_else(|error| panic!("GET {path}: {error:?}"));
    let text = std::str::from_utf8(&body).unwrap();
    let (_, rest) = text.split_once("\"revision\":")?;
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some(digits.parse().unwrap())
}

/// Returns once so many polls wait; for none, once there is none.
async fn wait_until(program: &Program, polls: usize) {
    let (begun, admin) = (Instant::now(), program.admin());
    loop {
        let now = waiting(&admin).await;
        let is_there = if polls == 0 { now == 0 } else { now + polls / ONE_BETWEEN >= polls };
        if is_there {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{now} polls wait, and not {polls}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many polls of agents wait, as the hub counts them.
async fn waiting(admin: &Hub) -> usize {
    let (_, text) = admin.text("/metrics").await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("sitepeer_hub_waiting_polls{").filter(|line| line.contains("agent")));
    line.and_then(|line| line.rsplit_once(' ')).map_or(0, |(_, number)| number.parse().unwrap())
}

/// From the request that changes a peer to the answer of its agent's poll; then one change that concerns all of them.
pub async fn told(figures: &mut Figures, program: &Program, fleet: &Fleet, agents: usize) {
    let agents = &fleet.agents[..agents];
    let mut waiting = Waiting::begin(program, agents, TOLD_WAIT_SECS).await;
    let mut every = tokio::time::interval(CHANGE_EVERY);
    let mut changes = JoinSet::new();
    for (number, agent) in agents.iter().enumerate() {
        every.tick().await;
        let (admin, peer) = (fleet.admin.clone(), agent.peer.clone());
        changes.spawn(async move {
            let begun = Instant::now();
            (number, begun, edit(&admin, &peer, 30 + number % 5).await)
        });
    }
    // What an agent is told may be of another change: its own counts from the revision that this one made.
    let mut open: HashMap<usize, (Instant, i64)> =
        changes.join_all().await.into_iter().map(|(number, begun, revision)| (number, (begun, revision))).collect();
    let mut taken = Vec::new();
    while !open.is_empty() {
        let Ok(Some((number, revision, at))) = tokio::time::timeout(PATIENCE, waiting.told.recv()).await else { break };
        if open.get(&number).is_some_and(|(_, wanted)| revision >= *wanted)
            && let Some((begun, _)) = open.remove(&number)
        {
            taken.push(at - begun);
        }
    }
    times(&format!("change → its agent told, {} agents wait", agents.len()), &mut taken, 99, TOLD_BUDGET);
    figures.holds("agents that were told of their change", &taken.len().to_string(), open.is_empty());
    reach(figures, fleet, &mut waiting, agents.len()).await;
}

/// A new subnet that all sites may reach: debounced, and told at a bounded rate.
async fn reach(figures: &mut Figures, fleet: &Fleet, waiting: &mut Waiting, agents: usize) {
    while waiting.told.try_recv().is_ok() {}
    let begun = Instant::now();
    let client = json!({ "kind": "remote", "name": "far", "public_key": "/////////////////////////////////////////w8=",
        "allowed_ips": ["203.0.113.0/24"] });
    let made = post(&fleet.admin, &format!("/v1/instances/{}/peers", fleet.instance), client).await;
    assert!(!text(&made, "id").is_empty());
    let mut first: HashMap<usize, Duration> = HashMap::new();
    while first.len() < agents {
        let Ok(Some((number, _, at))) = tokio::time::timeout(PATIENCE, waiting.told.recv()).await else { break };
        first.entry(number).or_insert(at - begun);
    }
    let all = first.len() == agents;
    let mut taken: Vec<Duration> = first.into_values().collect();
    times(&format!("new reach → all {agents} told (debounced)"), &mut taken, 99, TOLD_BUDGET);
    figures.holds("agents that were told of the new reach", &taken.len().to_string(), all);
}

/// Memory while every agent's poll is held. It is judged in the clear, as behind a proxy; TLS costs its own buffers on top.
pub async fn held(figures: &mut Figures, program: &Program, fleet: &Fleet, is_tls: bool) {
    let (before, _) = program.memory_kib();
    let _waiting = Waiting::begin(program, &fleet.agents, HELD_WAIT_SECS).await;
    let (now, most) = program.memory_kib();
    let polls = u64::try_from(fleet.agents.len()).unwrap();
    let each = now.saturating_sub(before) * 1024 / polls;
    let over = now > HELD_BUDGET_KIB;
    let (before, now, most) = (before / 1024, now / 1024, most / 1024);
    let shown = format!("{now} MiB of 256 MiB (before {before} MiB, at most {most} MiB), {each} bytes a poll");
    if is_tls {
        say(&format!("{polls} polls held over TLS"), &format!("{shown}{}", if over { "  OVER BUDGET" } else { "" }));
    } else {
        figures.holds(&format!("{polls} polls held"), &shown, !over);
    }
    let polls = fleet.agents.len();
    let mut taken = Vec::new();
    for number in 0..20 {
        let begun = Instant::now();
        edit(&fleet.admin, &fleet.agents[number * polls / 20].peer, 40 + number).await;
        taken.push(begun.elapsed());
    }
    times("an edit meanwhile", &mut taken, 50, Duration::from_millis(10));
}
