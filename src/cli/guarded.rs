//! Carries a change out, guarded where it could cut somebody off, and says how it went.

use std::time::Duration;

use super::report::{Event, Reporter, Step};
use super::{provision, show};
use crate::domain::Site;
use crate::reconcile::apply::LocalLock;
use crate::reconcile::converge::{Deciding, Progress, Settling, Task};
use crate::reconcile::guard::{Guarding, Reach, Timing, When, apply_guarded};
use crate::reconcile::observe::Observed;
use crate::reconcile::preflight::Session;
use crate::routeros::client::Client;
use crate::routeros::target::{Access, ConnectError, connect};

/// Where a change is carried out.
pub struct Place<'a> {
    /// How to get in again.
    pub access: &'a Access,
    /// The session that is there.
    pub client: &'a Client,
    /// What is known of it.
    pub session: &'a Session,
    /// When to guard.
    pub when: When,
    /// Whose tunnel must carry traffic afterwards, if it did before; `None` if it is meant to go.
    pub site: Option<&'a Site>,
}

impl Reach for Place<'_> {
    async fn connect(&self) -> Result<Client, ConnectError> {
        connect(self.access).await
    }

    async fn carries(&self, client: &Client, observed: &Observed, progress: &Progress, within: Duration) -> bool {
        match self.site {
            Some(site) => provision::carries(client, site, observed, progress, within).await,
            None => true,
        }
    }
}

/// Carries a task out; returns the last reading, and the connection to go on with.
///
/// # Errors
/// Anything that has an exit code of its own.
pub async fn carry_out(
    place: Place<'_>,
    task: Task<'_, Deciding<'_>, Settling<'_>>,
    observed: &Observed,
    progress: &mut Progress,
    reporter: &Reporter,
) -> anyhow::Result<(Observed, Client)> {
    #[cfg(feature = "proxy")]
    if place.when == When::SafeMode {
        return Box::pin(super::safe_mode::carry_out(place, task, observed, progress, reporter)).await;
    }
    let client = place.client;
    let local = LocalLock::claim(&client.peer_addr().to_string()).map_err(show::busy_here)?;
    let done = |op: &_| reporter.event(&Event::Written(show::change(op)));
    let guarding = Guarding { when: place.when, session: place.session, timing: Timing::default(), reach: &place };
    let carried = apply_guarded(client, task, local, observed, progress, done, guarding).await;
    show::tally(reporter, progress);
    let carried = carried.map_err(|error| show::guard_failed(error, reporter))?;
    if carried.client.is_some() {
        let detail = "confirmed over a new connection; the guard is out".to_owned();
        reporter.event(&Event::Step { step: Step::Write, detail });
    }
    Ok((carried.observed, carried.client.unwrap_or_else(|| client.clone())))
}
