//! The health of one router's tunnel: when it is looked at, and what is told of it.
//!
//! A change of state is told at once, what is else the matter once a minute with the newest measurements.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::healer::{Due, Ended, HealTiming, Healer, Look};
use super::source::Wanted;
use super::spool::Spool;
use super::standing::Standing;
use crate::api::{
    AgentEvent, AgentReport, EventKind, HealthFinding, MAX_CODE, MAX_FACT, MAX_FINDING_TEXT, MAX_FINDINGS,
    TunnelHealth, TunnelState,
};
use crate::domain::Host;
use crate::health::codes::Code;
use crate::health::{HubView, Missed, Moment, Monitor, Report, Settings};
use crate::reconcile::heal::{Healed, Step};
use crate::routeros::client::Client;
use crate::routeros::error::CallError;
use crate::routeros::target::ConnectError;

/// Between two reports that tell of no change.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Watches one tunnel for as long as the agent runs.
pub(super) struct Pulse {
    monitor: Monitor,
    start: Instant,
    due: Instant,
    told: Option<Instant>,
    standing: Standing,
    spool: Option<Arc<Spool>>,
    healer: Healer,
    /// Why a move is not begun.
    held: Option<&'static str>,
    /// The step that the last look asks for.
    step: Option<Due>,
    /// What the last look came to.
    seen: Option<Report>,
    /// What it was last of.
    of: Arc<Wanted>,
}

impl Pulse {
    /// Of what is wanted; it is due at once.
    pub(super) fn new(
        wanted: &Arc<Wanted>,
        user: &str,
        standing: Standing,
        spool: Option<Arc<Spool>>,
        timing: HealTiming,
    ) -> Self {
        let start = Instant::now();
        let settings = Settings { user: user.to_owned() };
        let monitor = Monitor::new(wanted.site.clone(), settings, moment(start));
        let (healer, of) = (Healer::new(timing), Arc::clone(wanted));
        let mut pulse = Self {
            monitor,
            start,
            due: start,
            told: None,
            standing,
            spool,
            healer,
            held: None,
            step: None,
            seen: None,
            of,
        };
        pulse.want(wanted);
        pulse
    }

    /// Something else is wanted.
    pub(super) fn want(&mut self, wanted: &Arc<Wanted>) {
        if wanted.site != self.of.site {
            self.healer.forget();
        }
        self.of = Arc::clone(wanted);
        self.step = None;
        self.monitor.set_site(wanted.site.clone());
    }

    /// Shows why a move to the next tunnel is not begun, or that nothing speaks against it.
    pub(super) fn held(&mut self, why: Option<&'static str>) {
        if self.held == why {
            return;
        }
        self.held = why;
        self.monitor.set_aside(why.map(|why| (Code::MoveHeld, why)));
        // It is told by the next look, which is now.
        (self.told, self.due) = (None, Instant::now());
        if let Some(why) = why {
            tracing::warn!(router = self.standing.name(), why, "a move to the next tunnel is not begun");
        }
    }

    /// Learns which step the router itself tells of.
    pub(super) fn know(&mut self, healed: Option<Healed>) {
        self.healer.know(healed, super::now(), self.start.elapsed());
    }

    /// Rows of the router were changed: the tunnel is looked at now, and closely.
    pub(super) fn changed(&mut self) {
        self.monitor.changed();
        self.due = Instant::now();
    }

    /// When the tunnel is to be looked at.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Looks at it.
    ///
    /// # Errors
    /// The session is over.
    pub(super) async fn look(&mut self, client: &Client) -> Result<(), CallError> {
        let begun = Instant::now();
        self.monitor.set_hub(HubView {
            enabled: Some(self.of.enabled),
            public_key: self.of.known_key,
            gateway_online: self.standing.figures().gateway_online,
        });
        let report = self.monitor.cycle(client, moment(self.start)).await?;
        self.due = begun + report.next_in;
        let usage = report.usage;
        self.standing.note(|figures| {
            figures.looks += 1;
            figures.look_commands += usage.commands;
            figures.look_bytes += usage.sent_bytes + usage.received_bytes;
        });
        self.tell(&report);
        self.consider(&report);
        self.seen = Some(report);
        Ok(())
    }

    /// Whether healing is called for, and what became of the last step.
    fn consider(&mut self, report: &Report) {
        let now = moment(self.start);
        let measured = self.monitor.measured();
        let endpoint = self.monitor.site().endpoint();
        let silent = [&measured.small, &measured.full].into_iter().flatten().any(|echo| echo.value.silent());
        let look = Look {
            now: now.mono,
            state: report.state,
            for_long: now.after(report.since),
            findings: &report.findings,
            handshake: report.sample.handshake_age_secs.map(Duration::from_secs),
            sends: silent,
            is_elsewhere: measured.near.as_ref().is_some_and(|near| near.value.output_drop.is_some())
                || self.standing.figures().gateway_online == Some(false),
            is_named: matches!(endpoint.map(|endpoint| &endpoint.host), Some(Host::Name(_))),
            endpoints: self.of.site.hub.endpoints.len(),
        };
        let ended = self.healer.ended(&look);
        self.step = self.healer.due(&look);
        if let Some(Ended { step, helped, after, evidence }) = ended {
            let kind = if helped { EventKind::Healed } else { EventKind::Unhealed };
            let came = if helped { "the tunnel came back" } else { "nothing came of it" };
            let words = format!("{}; {came} in {} s; before: {evidence}", step.said(), after.as_secs());
            let (router, step) = (self.standing.name(), step.word());
            if helped {
                self.standing.note(|figures| figures.healed += 1);
                tracing::warn!(router, step, words, "healed");
            } else {
                tracing::warn!(router, step, words, "a step of healing did not help");
            }
            self.event(report, kind, step, words);
        }
    }

    /// Takes the step that the last look asks for, whatever comes of it.
    pub(super) fn take_step(&mut self) -> Option<Due> {
        let due = self.step.take()?;
        self.healer.take(due.clone(), self.start.elapsed());
        Some(due)
    }

    /// Something was written for a step.
    pub(super) fn stepped(&self, step: Step) {
        self.standing.note(|figures| {
            figures.heals += 1;
            figures.last_heal = Some((step.word(), super::now()));
        });
    }

    /// Nothing was written for the last step: whatever becomes of the tunnel, that step has no part in it.
    pub(super) fn passed_over(&mut self) {
        self.healer.passed_over();
    }

    /// How many steps were taken in the last day.
    pub(super) fn steps_of_day(&self) -> u16 {
        u16::try_from(self.healer.of_day(self.start.elapsed())).unwrap_or(u16::MAX)
    }

    /// The router undid the step, which had cut us off.
    pub(super) fn undone(&mut self, step: Step) {
        self.healer.undone(step, self.start.elapsed());
    }

    /// Rows of ours were changed by somebody else.
    pub(super) fn drifted(&mut self, code: &str, words: String) {
        if let Some(report) = self.seen.take() {
            self.event(&report, EventKind::Drift, code, words);
            self.seen = Some(report);
        }
    }

    /// Tells the hub of something that happened, at once and with the newest report.
    fn event(&mut self, report: &Report, kind: EventKind, code: &str, words: String) {
        let Some(spool) = &self.spool else { return };
        let (code, words) = (start_of(code, MAX_CODE), start_of(&words, MAX_FINDING_TEXT));
        let event = AgentEvent { kind, code, words, at: super::now() };
        spool.put(AgentReport { events: vec![event], ..said(report) }, true);
        self.told = Some(Instant::now());
    }

    /// The router could not be looked at.
    pub(super) fn missed(&mut self, error: &ConnectError) {
        let why = match error {
            ConnectError::LoginRefused(_) | ConnectError::NoApiPolicy(_) => Missed::LoginRefused,
            error if is_closed(error) => Missed::Closed,
            _ => Missed::Silent,
        };
        self.unseen(why);
    }

    /// A session was opened, and ended before what was to be done over it.
    pub(super) fn lost(&mut self) {
        self.unseen(Missed::Silent);
    }

    fn unseen(&mut self, why: Missed) {
        let report = self.monitor.missed(why, moment(self.start));
        self.tell(&report);
    }

    /// Notes the state, and puts a report in if one is due.
    fn tell(&mut self, report: &Report) {
        self.standing.note(|figures| figures.state = Some(report.state));
        if let Some(transition) = report.transition {
            let router = self.standing.name();
            let cause = report.findings.first();
            let (code, evidence) = (cause.map(|cause| &cause.code), cause.map(|cause| &cause.evidence));
            let (from, to) = (transition.from.word(), transition.to.word());
            tracing::info!(router, from, to, code, evidence, "the tunnel's state changed");
        }
        let is_change = report.transition.is_some();
        let is_due = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        let Some(spool) = self.spool.as_ref().filter(|_| is_change || is_due) else { return };
        self.told = Some(Instant::now());
        spool.put(said(report), is_change);
        self.standing.note(|figures| figures.dropped_reports = spool.ever_dropped());
    }
}

/// What a router says may be of any length: a hub takes so much of it, and so much waits for it.
fn start_of(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// A report as the hub takes it; the spool gives it its number.
fn said(report: &Report) -> AgentReport {
    let mut findings: Vec<HealthFinding> = report.findings.iter().take(MAX_FINDINGS).cloned().collect();
    for finding in &mut findings {
        for text in [&mut finding.evidence, &mut finding.hint] {
            *text = start_of(text, MAX_FINDING_TEXT);
        }
    }
    let mut sample = report.sample.clone();
    for text in [&mut sample.endpoint, &mut sample.version].into_iter().flatten() {
        *text = start_of(text, MAX_FACT);
    }
    AgentReport {
        state: Some(report.state),
        findings,
        sample: Some(sample),
        ..AgentReport::new(0, super::now(), in_a_word(report))
    }
}

/// What older hubs read.
fn in_a_word(report: &Report) -> TunnelHealth {
    let cause = report.findings.first().map(|cause| cause.code.as_str());
    let verdict = match (report.state, cause) {
        (TunnelState::Up | TunnelState::Degraded, _) => "proven".to_owned(),
        (TunnelState::Down, Some(cause)) => format!("unproven:{cause}"),
        (TunnelState::Down, None) => "unproven".to_owned(),
        _ => "unknown".to_owned(),
    };
    let sample = &report.sample;
    TunnelHealth { verdict, handshake_age_secs: sample.handshake_age_secs, rtt_us: sample.rtt_us.map(|rtt| rtt.avg) }
}

fn moment(start: Instant) -> Moment {
    Moment { mono: start.elapsed(), unix: super::now() }
}

/// Whether something answered that takes no connections.
fn is_closed(error: &ConnectError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    false
}
