//! The state of a tunnel over time: pure, with time as an argument.
//!
//! What must not change it: an ordinary re-key (a handshake up to 180 s old is normal), a hub that restarts (WireGuard notices
//! after 15 s without an answer, and needs a few more), a ping that is lost. What must: a tunnel that is dead, within 60 s.
//! The two meet in [`DEAD_AFTER`]: a look every [`PERIOD`] sees the first silence at most that late, quick looks follow, and
//! 30 s + 24 s + the time of a ping is below a minute.

use std::time::Duration;

use super::measured::Moment;
use crate::api::{Severity, TunnelState};

/// From one look to the next while all is well.
pub const PERIOD: Duration = Duration::from_secs(30);
/// The same while something looks wrong and nothing is decided.
pub const QUICK: Duration = Duration::from_secs(4);
/// The same while the tunnel is down: often enough to see it return, seldom enough for a router that stays so for days.
pub const WHILE_DOWN: Duration = Duration::from_secs(15);
/// So long nothing may come through before a tunnel counts as down. A hub's restart costs WireGuard 15 to 20 s.
pub const DEAD_AFTER: Duration = Duration::from_secs(22);
/// So many looks in a row must have seen nothing: time alone proves nothing when nobody looked.
pub const DEAD_LOOKS: u32 = 3;
/// So many looks in a row must see life before a dead tunnel counts as up again.
pub const ALIVE_LOOKS: u32 = 2;
/// So long a state is believed without a look: six of them, or a router that reboots and needs its time to answer.
pub const STALE_AFTER: Duration = Duration::from_mins(3);

/// What a look says of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Something came through it.
    Alive,
    /// Something was sent, and nothing came.
    Silent,
    /// It could not be told.
    Unmeasured,
}

/// Where a tunnel stands, before findings are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It lives.
    Alive,
    /// It is silent, but not for long enough; or it lives, but not for long enough.
    Doubtful,
    /// It is dead: its causes are looked for.
    Dead,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: TunnelState,
    /// What it is.
    pub to: TunnelState,
    /// When.
    pub at: Moment,
}

/// Follows one tunnel.
#[derive(Clone, Debug)]
pub struct Tracker {
    state: TunnelState,
    since: Moment,
    phase: Phase,
    /// The first look that saw nothing, and how many did since.
    silent: Option<(Moment, u32)>,
    /// Looks in a row that saw life.
    alive: u32,
    /// The last look that told anything.
    told: Option<Moment>,
}

impl Tracker {
    /// Begins with nothing known.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { state: TunnelState::Unknown, since: now, phase: Phase::Doubtful, silent: None, alive: 0, told: None }
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.state
    }

    /// Returns since when it is so.
    #[must_use]
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Returns how long nothing came through, by looks that saw so.
    #[must_use]
    pub fn silent_for(&self, now: Moment) -> Option<Duration> {
        self.silent.map(|(first, _)| now.after(first))
    }

    /// Takes a look and returns where the tunnel stands.
    pub fn look(&mut self, life: Life, now: Moment) -> Phase {
        match life {
            Life::Alive => {
                self.alive = self.alive.saturating_add(1);
                self.silent = None;
                let is_back = self.state != TunnelState::Down || self.alive >= ALIVE_LOOKS;
                self.phase = if is_back { Phase::Alive } else { Phase::Doubtful };
                self.told = Some(now);
            }
            Life::Silent => {
                self.alive = 0;
                let (first, looks) = self.silent.unwrap_or((now, 0));
                let looks = looks.saturating_add(1);
                self.silent = Some((first, looks));
                let is_dead = now.after(first) >= DEAD_AFTER && looks >= DEAD_LOOKS;
                self.phase = if is_dead || self.state == TunnelState::Down { Phase::Dead } else { Phase::Doubtful };
                self.told = Some(now);
            }
            // Neither more nor less is known than before.
            Life::Unmeasured => {}
        }
        self.phase
    }

    /// Weighs what shows, and returns the change of state, if that is one.
    pub fn settle(&mut self, gravest: Option<Severity>, disabled: bool, now: Moment) -> Option<Transition> {
        if disabled {
            // What it was silent for says nothing of the tunnel that it will be.
            (self.phase, self.silent, self.alive) = (Phase::Doubtful, None, 0);
        }
        let is_stale = self.told.is_none_or(|told| now.after(told) > STALE_AFTER);
        let next = match (self.phase, self.state) {
            _ if disabled => TunnelState::Disabled,
            (_, TunnelState::Unknown) if self.told.is_none() => TunnelState::Unknown,
            _ if is_stale => TunnelState::Stale,
            (Phase::Dead, _) => TunnelState::Down,
            (Phase::Alive, _) if gravest.is_some_and(|severity| severity <= Severity::Warning) => TunnelState::Degraded,
            (Phase::Alive, _) => TunnelState::Up,
            // One that is switched on again is not known yet.
            (Phase::Doubtful, TunnelState::Disabled) => TunnelState::Unknown,
            (Phase::Doubtful, state) => state,
        };
        self.go(next, now)
    }

    /// Says that the router could not be looked at, and returns the change of state, if that is one.
    pub fn missed(&mut self, now: Moment) -> Option<Transition> {
        let was_told = self.told.is_some();
        let too_long = now.after(self.told.unwrap_or(self.since)) > STALE_AFTER;
        let next =
            if was_told && too_long && self.state != TunnelState::Disabled { TunnelState::Stale } else { self.state };
        self.go(next, now)
    }

    fn go(&mut self, next: TunnelState, now: Moment) -> Option<Transition> {
        if next == self.state {
            return None;
        }
        let transition = Transition { from: self.state, to: next, at: now };
        (self.state, self.since) = (next, now);
        Some(transition)
    }

    /// Returns when to look again.
    #[must_use]
    pub fn next_in(&self) -> Duration {
        match (self.phase, self.state) {
            (_, TunnelState::Disabled) | (Phase::Alive, _) => PERIOD,
            (Phase::Doubtful, _) => QUICK,
            (Phase::Dead, _) => WHILE_DOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Moment = Moment { mono: Duration::from_secs(1000), unix: 1_800_000_000 };

    fn secs(n: u64) -> Moment {
        START.plus(Duration::from_secs(n))
    }

    /// Looks at given seconds and returns the states after each.
    fn run(looks: &[(u64, Life)]) -> Vec<TunnelState> {
        let mut tracker = Tracker::new(START);
        let states = looks.iter().map(|(at, life)| {
            tracker.look(*life, secs(*at));
            tracker.settle(None, false, secs(*at));
            tracker.state()
        });
        states.collect()
    }

    #[test]
    fn a_silence_shorter_than_a_hubs_restart_changes_nothing() {
        use Life::{Alive, Silent};
        let states = run(&[(0, Alive), (30, Silent), (34, Silent), (38, Silent), (48, Silent), (51, Alive)]);
        assert_eq!(states, [TunnelState::Up; 6]);
    }

    #[test]
    fn a_dead_tunnel_has_its_verdict_within_a_minute_of_the_last_life() {
        let mut tracker = Tracker::new(START);
        tracker.look(Life::Alive, START);
        tracker.settle(None, false, START);
        let mut now = START;
        while tracker.state() == TunnelState::Up {
            now = now.plus(tracker.next_in());
            tracker.look(Life::Silent, now);
            tracker.settle(None, false, now);
        }
        assert_eq!(tracker.state(), TunnelState::Down);
        let longest_look = Duration::from_secs(2);
        assert!(now.after(START) + longest_look < Duration::from_mins(1), "{:?}", now.after(START));
    }

    #[test]
    fn one_that_is_switched_on_again_is_not_known_and_neither_down_nor_up_before_it_was_looked_at() {
        let mut tracker = Tracker::new(START);
        for n in 0..10 {
            tracker.look(Life::Silent, secs(n * 30));
            tracker.settle(None, true, secs(n * 30));
            assert_eq!(tracker.state(), TunnelState::Disabled);
        }
        tracker.look(Life::Silent, secs(300));
        tracker.settle(None, false, secs(300));
        assert_eq!(tracker.state(), TunnelState::Unknown, "its first look");
        tracker.look(Life::Alive, secs(304));
        tracker.settle(None, false, secs(304));
        assert_eq!(tracker.state(), TunnelState::Up);
    }

    #[test]
    fn one_answer_does_not_bring_a_dead_tunnel_back_and_two_do() {
        use Life::{Alive, Silent};
        let states =
            run(&[(0, Silent), (10, Silent), (25, Silent), (40, Alive), (44, Silent), (59, Alive), (63, Alive)]);
        let (unknown, down) = (TunnelState::Unknown, TunnelState::Down);
        assert_eq!(states, [unknown, unknown, down, down, down, down, TunnelState::Up]);
    }

    #[test]
    fn a_router_that_cannot_be_looked_at_is_stale_and_never_up() {
        let mut tracker = Tracker::new(START);
        assert_eq!(tracker.missed(secs(1000)), None, "never seen: unknown, not stale");
        tracker.look(Life::Alive, secs(1000));
        tracker.settle(None, false, secs(1000));
        assert_eq!(tracker.missed(secs(1100)), None);
        assert_eq!(tracker.missed(secs(1181)).map(|t| t.to), Some(TunnelState::Stale));
        tracker.look(Life::Unmeasured, secs(1200));
        assert_eq!(tracker.settle(None, false, secs(1200)), None, "looked at, and yet nothing was learned");
        tracker.look(Life::Alive, secs(1210));
        assert_eq!(tracker.settle(None, false, secs(1210)).map(|t| t.to), Some(TunnelState::Up));
    }

    #[test]
    fn a_peer_that_is_switched_off_is_neither_up_nor_down() {
        let mut tracker = Tracker::new(START);
        for at in [0, 10, 25, 40] {
            tracker.look(Life::Silent, secs(at));
            tracker.settle(None, true, secs(at));
        }
        assert_eq!((tracker.state(), tracker.next_in()), (TunnelState::Disabled, PERIOD));
    }

    fn lives() -> impl Strategy<Value = Vec<(Life, u64)>> {
        let life = prop_oneof![Just(Life::Alive), Just(Life::Silent), Just(Life::Unmeasured)];
        proptest::collection::vec((life, 1..40_u64), 1..200)
    }

    proptest! {
        #[test]
        fn down_needs_silence_for_its_time_and_up_needs_life(lives in lives()) {
            let mut tracker = Tracker::new(START);
            let (mut now, mut silent_since, mut before) = (START, None, TunnelState::Unknown);
            for (life, pause) in lives {
                now = now.plus(Duration::from_secs(pause));
                match life {
                    Life::Silent => silent_since = silent_since.or(Some(now)),
                    Life::Alive => silent_since = None,
                    Life::Unmeasured => {}
                }
                tracker.look(life, now);
                let transition = tracker.settle(None, false, now);
                if let Some(transition) = transition {
                    prop_assert_eq!(transition.from, before, "transitions form a chain");
                    prop_assert_ne!(transition.from, transition.to);
                    if transition.to == TunnelState::Down && transition.from != TunnelState::Stale {
                        prop_assert!(silent_since.is_some_and(|since| now.after(since) >= DEAD_AFTER));
                    }
                    if transition.to == TunnelState::Up {
                        prop_assert_ne!(life, Life::Silent);
                    }
                }
                before = tracker.state();
                prop_assert!(tracker.next_in() >= QUICK && tracker.next_in() <= PERIOD);
            }
        }
    }
}
