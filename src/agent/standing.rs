//! How each router stands: written by its driver, read by `/healthz`, `/metrics` and the last words of the command.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pace::Circuit;
use crate::api::TunnelState;

/// What a driver is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is wanted yet: the hub has not said.
    #[default]
    Waiting,
    /// It connects, or waits until it tries again.
    Connecting,
    /// It reads or writes.
    Working,
    /// The router is as it is wanted, and watched.
    Watching,
    /// Somebody works on the router: it is looked at, and not written to.
    Frozen,
    /// Something keeps it from being as wanted; a person should look.
    Refused,
}

impl Phase {
    /// Every phase, in the order of the metrics.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Connecting, Self::Working, Self::Watching, Self::Frozen, Self::Refused];

    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Working => "working",
            Self::Watching => "watching",
            Self::Frozen => "frozen",
            Self::Refused => "refused",
        }
    }
}

/// Figures of one router; they only grow, but for those that say what is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What the driver is doing.
    pub phase: Phase,
    /// Whether the router counts as away.
    pub is_away: bool,
    /// The revision that is on the router.
    pub revision: i64,
    /// Why the last try failed, fit to be shown; `None` after one that did not.
    pub trouble: Option<String>,
    /// Sessions opened.
    pub connects: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Looks at the router.
    pub rounds: u64,
    /// Writes to the router.
    pub writes: u64,
    /// Looks that found rows other than we left them.
    pub drifts: u64,
    /// Round trips to the router.
    pub round_trips: u64,
    /// Times that what the hub wants was written to this machine's disk.
    pub disk_writes: u64,
    /// Reports that had to be dropped.
    pub dropped_reports: u64,
    /// Which tunnel in a row is in use.
    pub generation: u32,
    /// Which is beside it, during a move from one to the next.
    pub beside: Option<u32>,
    /// Times that the router was led from one tunnel into another, or back.
    pub turns: u64,
    /// Steps of healing that were taken.
    pub heals: u64,
    /// Those of them that helped.
    pub healed: u64,
    /// The last step: its word, and when in seconds since 1970.
    pub last_heal: Option<(&'static str, i64)>,
    /// Whether the hub hears from the instance's gateway, as it said last.
    pub gateway_online: Option<bool>,
    /// How the tunnel is; `None` until it was looked at.
    pub state: Option<TunnelState>,
    /// Looks at the tunnel.
    pub looks: u64,
    /// Commands that they cost.
    pub look_commands: u64,
    /// Bytes that they cost, both ways.
    pub look_bytes: u64,
}

/// The place where a driver writes how it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    name: Arc<str>,
    figures: Arc<Mutex<Figures>>,
}

impl Standing {
    /// For a router of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), figures: Arc::default() }
    }

    /// Returns the router's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how it stands now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.lock().clone()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock());
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.note(|figures| figures.phase = phase);
    }

    pub(super) fn failed(&self, why: String, circuit: Circuit) {
        self.note(|figures| {
            figures.failures += 1;
            figures.is_away = circuit == Circuit::Open;
            figures.trouble = Some(why);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All routers that are kept, by name.
#[derive(Clone, Debug, Default)]
pub struct Roll(Arc<Mutex<BTreeMap<String, Standing>>>);

impl Roll {
    /// Returns how each stands, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<Standing> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn enter(&self, standing: Standing) {
        self.lock().insert(standing.name().to_owned(), standing);
    }

    pub(super) fn strike(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all routers' figures as Prometheus reads them.
#[must_use]
pub fn metrics(all: &[Standing]) -> String {
    let figures: Vec<(String, Figures)> = all.iter().map(|one| (label(one.name()), one.figures())).collect();
    let mut text = String::new();
    family(&mut text, "phase", "gauge", "What is done about the router: 1 for the phase it is in");
    for (name, one) in &figures {
        for phase in Phase::ALL {
            let is = i64::from(one.phase == phase);
            line(&mut text, "phase", format_args!("router=\"{name}\",phase=\"{}\"", phase.word()), is);
        }
    }
    family(&mut text, "tunnel", "gauge", "How the tunnel is: 1 for the state it is in");
    for (name, one) in &figures {
        for state in STATES {
            let is = i64::from(one.state == Some(state));
            line(&mut text, "tunnel", format_args!("router=\"{name}\",state=\"{}\"", state.word()), is);
        }
    }
    for (metric, kind, help, value) in METRICS {
        family(&mut text, metric, kind, help);
        for (name, one) in &figures {
            line(&mut text, metric, format_args!("router=\"{name}\""), value(one));
        }
    }
    text
}

/// Every state of a tunnel.
const STATES: [TunnelState; 6] = [
    TunnelState::Up,
    TunnelState::Degraded,
    TunnelState::Down,
    TunnelState::Stale,
    TunnelState::Disabled,
    TunnelState::Unknown,
];

/// A metric: its name, its kind, what it says, and where it comes from.
type Metric = (&'static str, &'static str, &'static str, fn(&Figures) -> i64);

const METRICS: [Metric; 17] = [
    ("away", "gauge", "Whether the router failed so often that it is tried rarely", |one| i64::from(one.is_away)),
    ("revision", "gauge", "The hub's revision that is on the router", |one| one.revision),
    ("generation", "gauge", "Which tunnel in a row is in use", |one| i64::from(one.generation)),
    ("turns_total", "counter", "Times that the router was led into another tunnel, or back", |one| whole(one.turns)),
    ("connects_total", "counter", "Sessions opened with the router", |one| whole(one.connects)),
    ("failures_total", "counter", "Tries at the router that failed", |one| whole(one.failures)),
    ("rounds_total", "counter", "Looks at the router", |one| whole(one.rounds)),
    ("writes_total", "counter", "Writes to the router", |one| whole(one.writes)),
    ("drifts_total", "counter", "Looks that found our rows changed by somebody else", |one| whole(one.drifts)),
    ("heals_total", "counter", "Steps of healing taken", |one| whole(one.heals)),
    ("healed_total", "counter", "Steps of healing after which the tunnel came back", |one| whole(one.healed)),
    ("round_trips_total", "counter", "Round trips to the router", |one| whole(one.round_trips)),
    ("disk_writes_total", "counter", "Writes of the wanted state to this machine's disk", |one| whole(one.disk_writes)),
    ("looks_total", "counter", "Looks at the tunnel", |one| whole(one.looks)),
    ("look_commands_total", "counter", "Commands to the router that these cost", |one| whole(one.look_commands)),
    ("look_bytes_total", "counter", "Bytes from and to the router that these cost", |one| whole(one.look_bytes)),
    ("dropped_reports_total", "counter", "Reports the hub will never get", |one| whole(one.dropped_reports)),
];

fn family(text: &mut String, metric: &str, kind: &str, help: &str) {
    // Writing to a text does not fail.
    let _written = write!(text, "# HELP sitepeer_agent_{metric} {help}.\n# TYPE sitepeer_agent_{metric} {kind}\n");
}

fn line(text: &mut String, metric: &str, labels: fmt::Arguments<'_>, value: i64) {
    let _written = writeln!(text, "sitepeer_agent_{metric}{{{labels}}} {value}");
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A label's value: a router's name may hold anything.
fn label(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, letter| {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_s_name_cannot_add_a_metric_of_its_own() {
        let evil = Standing::new("a\"} 1\nsitepeer_agent_away{router=\"b");
        evil.phase(Phase::Watching);
        let text = metrics(&[evil]);
        assert!(text.lines().all(|line| line.starts_with("sitepeer_agent_") || line.starts_with("# ")), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("sitepeer_agent_away{")).count(), 1, "{text}");
        assert!(text.contains("phase=\"watching\"} 1"), "{text}");
    }

    #[test]
    fn every_family_is_told_once_however_many_routers_there_are() {
        let text = metrics(&[Standing::new("a"), Standing::new("b")]);
        assert_eq!(text.matches("# TYPE sitepeer_agent_rounds_total counter").count(), 1);
        assert_eq!(text.matches("\nsitepeer_agent_rounds_total{").count(), 2);
    }
}
