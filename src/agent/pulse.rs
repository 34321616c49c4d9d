//! The health of one router's tunnel: when it is looked at, and what is told of it.
//!
//! A change of state is told at once, what is else the matter once a minute with the newest measurements.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::source::Wanted;
use super::spool::Spool;
use super::standing::Standing;
use crate::api::{AgentReport, TunnelHealth, TunnelState};
use crate::health::{HubView, Missed, Moment, Monitor, Report, Settings};
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
}

impl Pulse {
    /// Of what is wanted; it is due at once.
    pub(super) fn new(wanted: &Wanted, user: &str, standing: Standing, spool: Option<Arc<Spool>>) -> Self {
        let start = Instant::now();
        let settings = Settings { user: user.to_owned() };
        let monitor = Monitor::new(wanted.site.clone(), settings, moment(start));
        let mut pulse = Self { monitor, start, due: start, told: None, standing, spool };
        pulse.want(wanted);
        pulse
    }

    /// Something else is wanted.
    pub(super) fn want(&mut self, wanted: &Wanted) {
        self.monitor.set_site(wanted.site.clone());
        self.monitor.set_hub(HubView {
            enabled: Some(wanted.enabled),
            public_key: wanted.known_key,
            gateway_online: None,
        });
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
        let report = self.monitor.cycle(client, moment(self.start)).await?;
        self.due = begun + report.next_in;
        let usage = report.usage;
        self.standing.note(|figures| {
            figures.looks += 1;
            figures.look_commands += usage.commands;
            figures.look_bytes += usage.sent_bytes + usage.received_bytes;
        });
        self.tell(&report);
        Ok(())
    }

    /// The router could not be looked at.
    pub(super) fn missed(&mut self, error: &ConnectError) {
        let why = match error {
            ConnectError::LoginRefused(_) | ConnectError::NoApiPolicy(_) => Missed::LoginRefused,
            error if is_closed(error) => Missed::Closed,
            _ => Missed::Silent,
        };
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
        let mut said = AgentReport::new(0, super::now(), in_a_word(report));
        said.state = Some(report.state);
        said.findings.clone_from(&report.findings);
        said.sample = Some(report.sample.clone());
        spool.put(said, is_change);
        self.standing.note(|figures| figures.dropped_reports = spool.ever_dropped());
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
