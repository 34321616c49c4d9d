//! What follows from a batch of reports: pure, by the hub's clock.

use std::collections::BTreeMap;

use super::{HOUR, MOST_POINTS, SILENT_AFTER};
use crate::api::{AgentReport, AgentReports, HealthSample, RoundTrip, TunnelState};

/// Longest round trip that is believed, in microseconds: a minute. Sums of such never overflow.
const MOST_RTT: u64 = 60_000_000;

/// What is known of a peer between two batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// `None` before the first report.
    pub state: Option<TunnelState>,
    pub since: i64,
    /// What the agent itself told last: the state may be one that the hub gave it since, for its silence.
    pub told: Option<TunnelState>,
    pub counted_at: i64,
    /// The router's counters, as they were last told.
    pub rx: Option<u64>,
    pub tx: Option<u64>,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub at: i64,
    pub was: TunnelState,
    pub state: TunnelState,
    pub cause: Option<String>,
    pub evidence: Option<String>,
}

/// What is added to an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hour {
    pub up: i64,
    pub degraded: i64,
    pub down: i64,
    pub disabled: i64,
    pub losses: i64,
    pub loss_sum: i64,
    pub loss_max: i64,
    pub rtts: i64,
    pub rtt_min: i64,
    pub rtt_sum: i64,
    pub rtt_max: i64,
    pub rx: u64,
    pub tx: u64,
    pub points: Vec<Point>,
}

/// A report of an hour, as it is kept: second of the hour, state, loss in percent, mean round trip in microseconds, age of the
/// handshake in seconds.
pub(super) type Point = (i64, TunnelState, Option<u8>, Option<u64>, Option<u64>);

/// What follows from a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Course {
    pub standing: Standing,
    pub changes: Vec<Change>,
    pub hours: BTreeMap<i64, Hour>,
}

impl Course {
    /// Goes on from what is known. A clock that was set back never makes time run backwards.
    pub fn begin(standing: Standing, now: i64) -> Self {
        let counted_at = standing.counted_at.min(now);
        Self { standing: Standing { counted_at, ..standing }, ..Self::default() }
    }

    /// Takes one report, which was made at `at` by the hub's clock.
    pub fn step(&mut self, report: &AgentReport, at: i64) {
        let at = at.max(self.standing.counted_at);
        let state = report.state.unwrap_or(TunnelState::Unknown);
        if let Some(was) = self.standing.state {
            self.count(self.standing.told.unwrap_or(was), at);
            if was != state {
                let gravest = report.findings.iter().min_by_key(|finding| finding.severity);
                // Silence was noticed later than some of what was said meanwhile, and told since: order counts.
                let at = at.max(self.standing.since);
                let cause = gravest.map(|finding| finding.code.clone());
                let evidence = gravest.map(|finding| finding.evidence.clone());
                self.changes.push(Change { at, was, state, cause, evidence });
                self.standing.since = at;
            }
        } else {
            self.standing.since = at;
        }
        (self.standing.state, self.standing.told) = (Some(state), Some(state));
        self.standing.counted_at = at;
        self.sample(report.sample.as_ref().unwrap_or(&HealthSample::default()), state, at);
    }

    /// Counts the time since the report before into its state, as long as that is believed.
    fn count(&mut self, state: TunnelState, until: i64) {
        let mut from = self.standing.counted_at;
        let until = until.min(from.saturating_add(SILENT_AFTER));
        while from < until {
            let end = until.min(hour_of(from) + HOUR);
            let hour = self.hours.entry(hour_of(from)).or_default();
            match state {
                TunnelState::Up => hour.up += end - from,
                TunnelState::Degraded => hour.degraded += end - from,
                TunnelState::Down => hour.down += end - from,
                TunnelState::Disabled => hour.disabled += end - from,
                TunnelState::Stale | TunnelState::Unknown => {}
            }
            from = end;
        }
    }

    fn sample(&mut self, sample: &HealthSample, state: TunnelState, at: i64) {
        let (rx, tx) = (sample.rx_bytes.or(self.standing.rx), sample.tx_bytes.or(self.standing.tx));
        let hour = self.hours.entry(hour_of(at)).or_default();
        hour.rx = hour.rx.saturating_add(grown(self.standing.rx, rx));
        hour.tx = hour.tx.saturating_add(grown(self.standing.tx, tx));
        (self.standing.rx, self.standing.tx) = (rx, tx);
        let loss = sample.loss_percent.map(|loss| loss.min(100));
        if let Some(loss) = loss {
            hour.losses += 1;
            hour.loss_sum += i64::from(loss);
            hour.loss_max = hour.loss_max.max(i64::from(loss));
        }
        if let Some(rtt) = sample.rtt_us {
            hour.round_trip(rtt);
        }
        if hour.points.len() < MOST_POINTS {
            let rtt = sample.rtt_us.map(|rtt| rtt.avg.min(MOST_RTT));
            hour.points.push((at - hour_of(at), state, loss, rtt, sample.handshake_age_secs));
        }
    }
}

impl Hour {
    fn round_trip(&mut self, rtt: RoundTrip) {
        let [min, avg, max] = [rtt.min, rtt.avg, rtt.max].map(|us| i64::try_from(us.min(MOST_RTT)).unwrap_or(0));
        self.rtt_min = if self.rtts == 0 { min } else { self.rtt_min.min(min) };
        self.rtts += 1;
        self.rtt_sum += avg;
        self.rtt_max = self.rtt_max.max(max);
    }
}

/// When a report was made, by the hub's clock. The agent's is compared with itself only.
pub(super) fn made_at(batch: &AgentReports, report: &AgentReport, now: i64) -> i64 {
    let newest = batch.reports.iter().map(|report| report.at).max().unwrap_or(report.at);
    let sent = batch.sent_at.unwrap_or(newest);
    now.saturating_sub(sent.saturating_sub(report.at).max(0))
}

/// The first second of the hour of a time.
fn hour_of(at: i64) -> i64 {
    at.div_euclid(HOUR).saturating_mul(HOUR)
}

/// What a counter grew by. One that fell began again: the router was restarted, or the interface made anew.
fn grown(before: Option<u64>, now: Option<u64>) -> u64 {
    match (before, now) {
        (Some(before), Some(now)) if now >= before => now - before,
        (Some(_), Some(now)) => now,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{HealthFinding, Severity, TunnelHealth};

    const NOW: i64 = 1_796_000_400;

    fn report(at: i64, state: TunnelState) -> AgentReport {
        let tunnel = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
        AgentReport { state: Some(state), ..AgentReport::new(1, at, tunnel) }
    }

    fn course(steps: &[(i64, TunnelState)]) -> Course {
        let mut course = Course::begin(Standing::default(), NOW + 100_000);
        for (at, state) in steps {
            course.step(&report(*at, *state), *at);
        }
        course
    }

    fn sums(course: &Course) -> (i64, i64, i64) {
        let sum = |of: fn(&Hour) -> i64| course.hours.values().map(of).sum();
        (sum(|hour| hour.up), sum(|hour| hour.degraded), sum(|hour| hour.down))
    }

    #[test]
    fn time_counts_into_the_state_before_as_long_as_that_is_believed() {
        use TunnelState::{Degraded, Down, Up};
        let course = course(&[(NOW, Up), (NOW + 60, Down), (NOW + 100, Degraded), (NOW + 10_000, Up)]);
        assert_eq!(sums(&course), (60, SILENT_AFTER, 40));
        assert_eq!(course.changes.iter().map(|change| change.state).collect::<Vec<_>>(), [Down, Degraded, Up]);
        assert!(course.changes.iter().zip(course.changes.iter().skip(1)).all(|(one, next)| one.at <= next.at));
    }

    #[test]
    fn time_over_the_end_of_an_hour_is_split_there() {
        let end = hour_of(NOW) + HOUR;
        let course = course(&[(end - 20, TunnelState::Up), (end + 40, TunnelState::Up)]);
        assert_eq!(course.hours.values().map(|hour| hour.up).collect::<Vec<_>>(), [20, 40]);
        assert_eq!(course.hours.values().map(|hour| hour.points.len()).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn what_is_told_late_never_makes_time_run_backwards() {
        let known = Standing {
            state: Some(TunnelState::Stale),
            told: Some(TunnelState::Up),
            since: NOW,
            counted_at: NOW - 100,
            ..Standing::default()
        };
        let mut course = Course::begin(known, NOW + 50);
        course.step(&report(0, TunnelState::Up), NOW - 500);
        assert_eq!((course.changes[0].at, course.standing.counted_at), (NOW, NOW - 100));
        course.step(&report(0, TunnelState::Down), NOW - 60);
        assert_eq!((course.changes[1].at, sums(&course)), (NOW, (40, 0, 0)));
        course.step(&report(0, TunnelState::Up), NOW + 10);
        assert_eq!((course.changes[2].at, sums(&course)), (NOW + 10, (40, 0, 70)));
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing() {
        let ahead = Standing { state: Some(TunnelState::Up), counted_at: NOW + 1_000_000, ..Standing::default() };
        let mut course = Course::begin(ahead, NOW);
        course.step(&report(0, TunnelState::Up), NOW + 60);
        assert_eq!(sums(&course), (60, 0, 0));
    }

    #[test]
    fn an_agents_clock_is_compared_with_itself_only() {
        let mut batch = AgentReports {
            epoch: "e".to_owned(),
            reports: vec![report(-40, TunnelState::Up), report(20, TunnelState::Up)],
            dropped: 0,
            sent_at: None,
        };
        let times = |batch: &AgentReports| -> Vec<i64> {
            batch.reports.iter().map(|report| made_at(batch, report, NOW)).collect()
        };
        assert_eq!(times(&batch), [NOW - 60, NOW]);
        batch.sent_at = Some(140);
        assert_eq!(times(&batch), [NOW - 180, NOW - 120]);
        batch.sent_at = Some(i64::MIN);
        assert_eq!(times(&batch), [NOW, NOW], "nothing is made after it was sent");
        (batch.sent_at, batch.reports[0].at) = (Some(i64::MAX), i64::MIN);
        assert!(times(&batch).iter().all(|at| *at < NOW));
    }

    #[test]
    fn the_cause_is_the_gravest_finding() {
        let finding = |code: &str, severity| HealthFinding {
            code: code.to_owned(),
            severity,
            since: 0,
            evidence: format!("{code} was seen"),
            hint: String::new(),
        };
        let mut course = course(&[(NOW, TunnelState::Up)]);
        let mut down = report(NOW, TunnelState::Down);
        down.findings = vec![finding("clock-behind", Severity::Warning), finding("wrong-key", Severity::Critical)];
        course.step(&down, NOW + 5);
        assert_eq!(course.changes[0].cause.as_deref(), Some("wrong-key"));
        assert_eq!(course.changes[0].evidence.as_deref(), Some("wrong-key was seen"));
    }

    #[test]
    fn counters_that_fell_began_again_and_odd_values_are_cut() {
        let mut course = course(&[]);
        let mut told = |rx, avg| {
            let mut report = report(NOW, TunnelState::Up);
            let rtt_us = Some(RoundTrip { min: avg, avg, max: avg });
            report.sample =
                Some(HealthSample { rx_bytes: rx, rtt_us, loss_percent: Some(255), ..HealthSample::default() });
            course.step(&report, NOW);
        };
        told(Some(1000), 5);
        told(Some(1500), u64::MAX);
        told(None, 7);
        told(Some(30), 9);
        let hour = course.hours.values().next().unwrap();
        assert_eq!((hour.rx, hour.loss_max, hour.rtt_min, hour.rtts), (530, 100, 5, 4));
        assert_eq!(hour.rtt_max, i64::try_from(MOST_RTT).unwrap());
    }
}
