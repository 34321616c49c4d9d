//! Tells a hub what is on a router and how it is, again and again until it has heard.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::pace::Pace;
use super::source::{Chain, Path};
use super::spool::Spool;
use super::standing::Standing;
use crate::api::{AgentApplied, AgentReports, MAX_REPORTS, ReportsTaken, code};
use crate::uplink::{Hub, UplinkError};

/// Before a hub that did not hear is told again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time until a hub that was away is told again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Last chance for what waits when the agent stops.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Brings one peer's words to its hub.
pub(super) struct Teller {
    pub(super) hub: Hub,
    /// Where it hears what is on the router, and how it is.
    pub(super) paths: [Path; 2],
    pub(super) spool: Arc<Spool>,
    /// What is on the router; the newest counts.
    pub(super) applied: watch::Receiver<Option<AgentApplied>>,
    /// What the hub has heard of that: each is told once.
    pub(super) told: Option<AgentApplied>,
    pub(super) standing: Standing,
}

impl Teller {
    /// Ends when the driver is gone and nothing is left to be told, or cannot be told in a moment.
    ///
    /// # Cancel safety
    /// What the hub may not have heard is told again by the next run of what decides it anew; reports in hand are lost.
    pub(super) async fn run(mut self) {
        let mut pace = Pace::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut has_driver = true;
        // What came before this was here is told, too.
        self.applied.mark_changed();
        while has_driver {
            tokio::select! {
                changed = self.applied.changed() => has_driver = changed.is_ok(),
                () = self.spool.news() => {}
            }
            while let Err(error) = self.tell().await {
                if pace.failures() == 0 {
                    tracing::warn!(router = self.standing.name(), error = %Chain(&error), "the hub was not told: it is told again");
                }
                let pause = pace.failed().max(error.retry_after().unwrap_or_default()).min(LONGEST_PAUSE * 2);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = driver_gone(self.applied.clone()) => { has_driver = false; break }
                }
            }
            if has_driver {
                pace.succeeded();
            }
        }
        if tokio::time::timeout(LAST_WORDS, self.tell()).await.is_err() {
            tracing::info!(router = self.standing.name(), "the hub did not hear the last words");
        }
    }

    /// Tells all there is.
    async fn tell(&mut self) -> Result<(), UplinkError> {
        // A hub that does not take what is on the router takes reports all the same.
        let applied = self.tell_applied().await;
        self.tell_reports().await?;
        applied
    }

    async fn tell_applied(&mut self) -> Result<(), UplinkError> {
        let applied = self.applied.borrow_and_update().clone();
        if let Some(applied) = applied.filter(|applied| self.told.as_ref() != Some(applied)) {
            self.hub.post::<_, ()>(&self.paths[0].with(&[]), &applied).await?;
            self.told = Some(applied);
        }
        Ok(())
    }

    async fn tell_reports(&mut self) -> Result<(), UplinkError> {
        let mut most = MAX_REPORTS;
        while let Some(batch) = self.spool.batch(most) {
            let reports = AgentReports {
                epoch: batch.epoch.to_string(),
                reports: batch.reports.clone(),
                dropped: batch.dropped,
                sent_at: Some(super::now()),
            };
            match self.hub.post::<_, ReportsTaken>(&self.paths[1].with(&[]), &reports).await {
                Ok(taken) => {
                    self.standing.note(|figures| figures.gateway_online = taken.gateway_online);
                    self.spool.arrived(&batch);
                    most = (most * 2).min(MAX_REPORTS);
                }
                // One of them will never be taken: the others may be. A hub that takes none is asked once for each, not in halves anew.
                Err(error) if is_about_content(&error) && batch.reports.len() > 1 => most = batch.reports.len() / 2,
                Err(error) if is_about_content(&error) => {
                    tracing::error!(router = self.standing.name(), error = %Chain(&error), "the hub refuses a report: it is dropped");
                    self.spool.refused(&batch);
                }
                Err(error) => return Err(error),
            }
            self.standing.note(|figures| figures.dropped_reports = self.spool.ever_dropped());
        }
        Ok(())
    }
}

/// Whether it is what was said that is refused. Anything else may be mended, by the hub, whoever is before it or a person, and the
/// reports are still good then.
fn is_about_content(error: &UplinkError) -> bool {
    let status = match error {
        UplinkError::Refused(refusal) => refusal.problem.status,
        // Too long for whoever is before the hub.
        UplinkError::Garbage { status: 413, .. } => 413,
        _ => return false,
    };
    // A proxy that has no lease any more may have one again.
    let is_over = cfg!(feature = "proxy") && error.is_refused_with(code::LEASE_ENDED);
    matches!(status, 400 | 409 | 413 | 422) && !is_over
}

/// Ends when nobody can say any more what is on the router.
async fn driver_gone(mut applied: watch::Receiver<Option<AgentApplied>>) {
    while applied.changed().await.is_ok() {}
}
