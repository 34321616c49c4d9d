//! Whether a step of healing is due: pure, from what health says and what was tried. [`crate::reconcile::heal`] says what a step is.
//!
//! | what is the matter | steps, each with [`STEP_TIME`] to work |
//! |---|---|
//! | `stale-endpoint`, and the endpoint is a name | `resolve`, at once; while that does not help, as in the next line |
//! | `no-udp-egress` or `no-reply`, no handshake for [`STUCK_AFTER`], and something is sent | `bounce`, `port`, `endpoint`, and again in turn |
//! | `hub-down` or `endpoint-unresolved` as long | `endpoint` |
//! | any other cause of silence | none: its way out is another |
//!
//! So a tunnel that a step can heal is back within [`STUCK_AFTER`] and a [`STEP_TIME`] for each step up to it. What works is kept: the
//! first endpoint is taken again only when the present one has failed, in turn. Each step is limited, see [`limit`], and all of them
//! by [`MOST_A_DAY`]: what cannot be healed must not wear out a router's flash.

use std::collections::VecDeque;
use std::time::Duration;

use super::hold::UNDONE_PAUSE;
use crate::api::{HealthFinding, Severity, TunnelState};
use crate::reconcile::heal::{Healed, Step};

/// So long without a handshake a session is over by WireGuard's own rules: nothing that lives is disturbed.
/// *Source:* the WireGuard whitepaper, section 6.1, `Reject-After-Time`.
pub const STUCK_AFTER: Duration = Duration::from_mins(3);
/// How long a step may take to work: two keepalives of 25 s, each of which begins a handshake, and the looks that see it.
pub const STEP_TIME: Duration = Duration::from_mins(1);
/// An hour: limits of single steps are counted over it.
const HOUR: Duration = Duration::from_hours(1);
/// A day: the limit of all steps is counted over it.
const DAY: Duration = Duration::from_hours(24);
/// How long a step is not taken again that the router undid because it cut us off.
const BARRED: Duration = UNDONE_PAUSE;
/// Most steps in a day. Each writes a handful of rows, and the flash of a small router takes some 100,000 writes of a block.
pub(super) const MOST_A_DAY: usize = 24;

/// The times of healing; tests have shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealTiming {
    /// As `STUCK_AFTER`.
    pub stuck_after: Duration,
    /// As `STEP_TIME`.
    pub step_time: Duration,
}

impl Default for HealTiming {
    fn default() -> Self {
        Self { stuck_after: STUCK_AFTER, step_time: STEP_TIME }
    }
}

/// Most times that a step is taken in an hour on one router.
pub(super) const fn limit(step: Step) -> usize {
    match step {
        // A name that moves more often than that is not being moved by anybody.
        Step::Resolve => 3,
        // What did not help twice does not help.
        Step::Bounce | Step::Port => 2,
        // Each of two endpoints has its turn twice.
        Step::Endpoint => 4,
    }
}

/// What a look says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    /// Any moment of a clock that only goes on.
    pub(super) now: Duration,
    /// The state.
    pub(super) state: TunnelState,
    /// For how long it is that.
    pub(super) for_long: Duration,
    /// What is the matter, the deepest cause first.
    pub(super) findings: &'a [HealthFinding],
    /// Age of the last handshake, if there was one.
    pub(super) handshake: Option<Duration>,
    /// Something was sent into the tunnel, and nothing came back.
    pub(super) sends: bool,
    /// The cause is known to lie elsewhere: a rule of the router's own drops it, or the hub says that its gateway is away.
    pub(super) is_elsewhere: bool,
    /// The endpoint in use is a name.
    pub(super) is_named: bool,
    /// How many endpoints the hub has.
    pub(super) endpoints: usize,
}

/// A step that is due, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) step: Step,
    pub(super) evidence: String,
    /// What of it is the finding, without what changes with time alone.
    seen: String,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) step: Step,
    /// Whether the tunnel came back within its time.
    pub(super) helped: bool,
    /// How long that took, or was waited for.
    pub(super) after: Duration,
    pub(super) evidence: String,
}

/// A step whose outcome is waited for.
#[derive(Clone, Debug)]
struct Pending {
    due: Due,
    at: Duration,
}

/// Remembers what was tried on one router.
#[derive(Clone, Debug, Default)]
pub(super) struct Healer {
    timing: HealTiming,
    /// Steps of the last day, oldest first; at most [`MOST_A_DAY`].
    taken: VecDeque<(Step, Duration)>,
    pending: Option<Pending>,
    /// What the name was last set again for, since the tunnel was last up: for the same it is not done again at once.
    resolved: Option<String>,
    /// Steps that the router undid because they cut us off, and when.
    undone: Vec<(Step, Duration)>,
    /// The last step since the tunnel was last up: the next one in turn follows.
    last: Option<Step>,
    /// Steps of agents before this one, all as if they were as young as the last of them.
    before: Option<(usize, Duration)>,
    /// The step that the router's own note told of was counted.
    knows_note: bool,
}

impl Healer {
    pub(super) fn new(timing: HealTiming) -> Self {
        Self { timing, ..Self::default() }
    }

    /// Counts the step that the router itself tells of, once: an agent that is started again and again must not heal more often.
    pub(super) fn know(&mut self, noted: Option<Healed>, unix: i64, now: Duration) {
        if std::mem::replace(&mut self.knows_note, true) {
            return;
        }
        let Some(healed) = noted else { return };
        // A time to come is another clock's: it counts as just now.
        let ago = Duration::from_secs(u64::try_from(unix.saturating_sub(healed.at)).unwrap_or(0));
        if ago < DAY {
            let at = now.saturating_sub(ago);
            self.taken.push_back((healed.step, at));
            self.before = Some((usize::from(healed.of_day).saturating_sub(1), at));
            self.last = Some(healed.step);
        }
    }

    /// Says what became of the last step, once that is known.
    pub(super) fn ended(&mut self, look: &Look<'_>) -> Option<Ended> {
        if matches!(look.state, TunnelState::Up | TunnelState::Degraded) {
            (self.last, self.resolved) = (None, None);
        }
        let pending = self.pending.as_ref()?;
        let after = look.now.saturating_sub(pending.at);
        let helped = match look.state {
            TunnelState::Up | TunnelState::Degraded => true,
            TunnelState::Down if after < self.timing.step_time || is_coming(look, after) => return None,
            // Unknown, stale or switched off: nobody can say any more.
            _ => false,
        };
        let Pending { due: Due { step, evidence, .. }, .. } = self.pending.take()?;
        Some(Ended { step, helped, after, evidence })
    }

    /// Says which step is due now; [`Self::take`] says that it is taken.
    pub(super) fn due(&self, look: &Look<'_>) -> Option<Due> {
        if look.state != TunnelState::Down || self.pending.is_some() {
            return None;
        }
        let since = self.taken.back().map(|(_, at)| look.now.saturating_sub(*at));
        if since.is_some_and(|since| since < self.timing.step_time || is_coming(look, since)) {
            return None;
        }
        let cause = cause(look)?;
        let within = |span: Duration| self.taken.iter().filter(move |(_, at)| look.now.saturating_sub(*at) < span);
        if self.of_day(look.now) >= MOST_A_DAY {
            return None;
        }
        let is_barred = |step: Step| {
            self.undone.iter().any(|(undone, at)| *undone == step && look.now.saturating_sub(*at) < BARRED)
        };
        let is_left =
            |step: &Step| !is_barred(*step) && within(HOUR).filter(|(taken, _)| taken == step).count() < limit(*step);
        let is_stuck = look.handshake.unwrap_or(look.for_long) >= self.timing.stuck_after;
        // A name that moved is followed before anything else, and whenever it moves on.
        let has_moved = cause.is_of_name && self.resolved.as_ref() != Some(&cause.seen);
        let first = Some(Step::Resolve).filter(|_| has_moved);
        let rest = is_stuck.then(|| self.in_turn(cause.ladder)).into_iter().flatten();
        let step = first.into_iter().chain(rest).find(|step| is_left(step) && is_of_use(*step, look))?;
        Some(Due { step, evidence: format!("{}, {}", silence(look), cause.seen), seen: cause.seen })
    }

    /// How many steps were taken in the last day, by agents before this one too.
    pub(super) fn of_day(&self, now: Duration) -> usize {
        let is_of_day = |at: Duration| now.saturating_sub(at) < DAY;
        let before = self.before.filter(|(_, at)| is_of_day(*at)).map_or(0, |(count, _)| count);
        before + self.taken.iter().filter(|(_, at)| is_of_day(*at)).count()
    }

    /// The steps of a ladder, beginning behind the last one that was tried.
    fn in_turn(&self, ladder: &'static [Step]) -> impl Iterator<Item = Step> + use<> {
        let last = self.last.and_then(|last| ladder.iter().position(|step| *step == last));
        ladder.iter().copied().cycle().skip(last.map_or(0, |last| last + 1)).take(ladder.len())
    }

    /// Notes that a step is taken, whatever comes of it.
    pub(super) fn take(&mut self, due: Due, now: Duration) {
        while self.taken.len() >= MOST_A_DAY {
            self.taken.pop_front();
        }
        self.taken.push_back((due.step, now));
        self.last = Some(due.step);
        if due.step == Step::Resolve {
            self.resolved = Some(due.seen.clone());
        }
        self.pending = Some(Pending { due, at: now });
    }

    /// Nothing was written for the last step. It counts all the same: what cannot be done is not tried without end.
    pub(super) fn passed_over(&mut self) {
        self.pending = None;
    }

    /// The router undid the step: it had cut us off for as long as that took, and would again.
    pub(super) fn undone(&mut self, step: Step, now: Duration) {
        self.undone.retain(|(undone, _)| *undone != step);
        self.undone.push((step, now));
    }

    /// Something else is wanted: what was tried of the old says nothing of it. The limits stay.
    pub(super) fn forget(&mut self) {
        (self.pending, self.last, self.resolved) = (None, None, None);
        self.undone.clear();
    }
}

/// Whether a handshake was made since a step, and its session may still live: the state waits for a second sign.
fn is_coming(look: &Look<'_>, since: Duration) -> bool {
    look.handshake.is_some_and(|age| age < since && age < STUCK_AFTER)
}

fn is_of_use(step: Step, look: &Look<'_>) -> bool {
    match step {
        Step::Resolve => look.is_named,
        Step::Endpoint => look.endpoints > 1,
        Step::Bounce | Step::Port => true,
    }
}

/// What a cause asks for.
struct Cause {
    ladder: &'static [Step],
    /// The hub's name stands for another address than is sent to.
    is_of_name: bool,
    /// The finding.
    seen: String,
}

/// The cause that healing may help against; `None` if one of the causes asks for something else.
fn cause(look: &Look<'_>) -> Option<Cause> {
    let mut grave = look.findings.iter().filter(|finding| finding.severity == Severity::Critical);
    let (first, more) = (grave.next()?, grave.next());
    if more.is_some() || look.is_elsewhere {
        return None;
    }
    let ladder: &'static [Step] = match first.code.as_str() {
        "stale-endpoint" if look.is_named && look.sends => &[Step::Resolve, Step::Bounce, Step::Port, Step::Endpoint],
        "stale-endpoint" if look.is_named => &[Step::Resolve],
        "no-udp-egress" | "no-reply" if look.sends => &[Step::Bounce, Step::Port, Step::Endpoint],
        "hub-down" | "endpoint-unresolved" => &[Step::Endpoint],
        _ => return None,
    };
    let seen = format!("{}: {}", first.code, first.evidence);
    Some(Cause { ladder, is_of_name: first.code == "stale-endpoint", seen })
}

/// For how long nothing came of handshakes, in words.
fn silence(look: &Look<'_>) -> String {
    match look.handshake {
        Some(age) => format!("no handshake for {} s", age.as_secs()),
        None => format!("no handshake, and down for {} s", look.for_long.as_secs()),
    }
}

#[cfg(test)]
mod tests;
