//! A hub that is away for half an hour while the tunnel goes up and down.
//!
//! Time is stepped: the runtime's clock stands still but for what the test adds to it, and between two steps the sockets get real
//! time to say what they have. Half an hour takes some forty seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::Value;
use sitepeer::api::TunnelState;

use crate::hub::{Said, Scene};
use crate::running::Running;

/// How long the hub is away.
const AWAY: Duration = Duration::from_mins(30);
/// By how much time goes on at once: less than any deadline of the agent or the router.
const STEP: Duration = Duration::from_millis(250);
/// Real time for what is on its way after each step: a ping's second is twenty milliseconds.
const BREATH: Duration = Duration::from_millis(5);
/// The tunnel stays as it is for so long: a verdict takes up to a minute.
const SPELL: Duration = Duration::from_mins(4);
/// After the hub is back: the longest pause between two attempts, and some more.
const BACK_WITHIN: Duration = Duration::from_mins(2);

const HERE: u8 = 0;
const GONE: u8 = 1;
/// It takes what it is told, and the answer is lost.
const HALF_BACK: u8 = 2;

/// The runtime's clock, stepped by hand for as long as this lives.
pub struct Stepped {
    _holds: std::sync::mpsc::Sender<()>,
}

impl Stepped {
    pub const STEP: Duration = STEP;

    pub fn begin() -> Self {
        let (holds, held) = std::sync::mpsc::channel::<()>();
        // A paused clock goes on by itself whenever nothing but timers is waited for, unless a blocking task runs.
        tokio::task::spawn_blocking(move || held.recv());
        tokio::time::pause();
        Self { _holds: holds }
    }

    pub async fn step(&self) {
        tokio::time::advance(STEP).await;
        tokio::task::spawn_blocking(|| std::thread::sleep(BREATH)).await.unwrap();
    }
}

/// Everything that was told, once: what comes again under its number has to be the same.
fn told(scene: &Scene) -> BTreeMap<i64, Value> {
    let mut told = BTreeMap::new();
    for batch in scene.heard("/v1/agent/reports") {
        assert_eq!(batch["dropped"], 0, "{batch}");
        for report in batch["reports"].as_array().unwrap() {
            let number = report["number"].as_i64().unwrap();
            let before = told.insert(number, report.clone());
            assert!(before.is_none_or(|before| before == *report), "number {number} says two things");
        }
    }
    told
}

#[tokio::test]
async fn half_an_hour_without_the_hub_loses_no_transition_and_tells_each_once_and_in_order() {
    let mode = Arc::new(AtomicU8::new(HERE));
    let script = Arc::clone(&mode);
    let scene = Scene::scripted(move |heard, _| match script.load(Ordering::Relaxed) {
        GONE => Said::Instead("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned()),
        HALF_BACK if heard.path == "/v1/agent/reports" => Said::DoneAndCut,
        _ => Said::AsUsual,
    })
    .await;
    let agent = Running::of_hub(&scene);
    agent.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
    let clock = Stepped::begin();
    let before_away = scene.heard("/v1/agent/reports").len();
    let mut seen = vec![TunnelState::Up];
    let mut note = |agent: &Running| {
        let state = agent.figures().state.unwrap();
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    };

    mode.store(GONE, Ordering::Relaxed);
    let (mut gone_for, mut spell, mut is_black) = (Duration::ZERO, SPELL, false);
    while gone_for < AWAY {
        if spell >= SPELL {
            is_black = !is_black;
            scene.world.hub.set_black_hole(is_black);
            spell = Duration::ZERO;
        }
        clock.step().await;
        note(&agent);
        (gone_for, spell) = (gone_for + STEP, spell + STEP);
    }
    let unheard = scene.heard("/v1/agent/reports").len();
    assert!(unheard > before_away, "it does not even try");

    for next in [HALF_BACK, HERE] {
        mode.store(next, Ordering::Relaxed);
        let mut back_for = Duration::ZERO;
        while back_for < BACK_WITHIN {
            clock.step().await;
            note(&agent);
            back_for += STEP;
        }
    }
    let told = told(&scene);
    let numbers: Vec<i64> = told.keys().copied().collect();
    let wanted: Vec<i64> = (1..=i64::try_from(told.len()).unwrap()).collect();
    assert_eq!(numbers, wanted, "every number, from the first");
    let mut states: Vec<TunnelState> =
        told.values().map(|report| serde_json::from_value(report["state"].clone()).unwrap()).collect();
    states.dedup();
    let from_up = states.iter().position(|state| *state == TunnelState::Up).unwrap();
    assert_eq!(&states[from_up..], seen, "the course of the tunnel");
    assert!(seen.len() >= 7, "the tunnel hardly changed: {seen:?}");
    println!(
        "hub away for {} min of simulated time: {} transitions, {} reports, all told, none twice",
        AWAY.as_secs() / 60,
        seen.len() - 1,
        told.len()
    );
    tokio::time::resume();
    drop(clock);
    agent.stop().await;
}
