//! Carries a change out, guarded where it could cut somebody off, and says how it went.

use std::time::Duration;

use super::report::{Event, Reporter, Step};
use super::show;
use crate::reconcile::apply::LocalLock;
use crate::reconcile::converge::{Progress, Task};
use crate::reconcile::decide::{Decision, Refused};
use crate::reconcile::guard::{Guarding, Timing, When, apply_guarded};
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::Plan;
use crate::reconcile::preflight::Session;
use crate::routeros::client::Client;
use crate::routeros::target::{Access, connect};

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
}

/// Carries a task out; returns the last reading, and the connection to go on with.
///
/// # Errors
/// Anything that has an exit code of its own.
pub async fn carry_out<D, S, T>(
    place: Place<'_>,
    task: Task<'_, D, S>,
    observed: &Observed,
    progress: &mut Progress,
    tunnel: T,
    reporter: &Reporter,
) -> anyhow::Result<(Observed, Client)>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
    S: Fn(&Observed) -> Result<Plan, Refused>,
    T: AsyncFn(&Client, &Observed, &Progress, Duration) -> bool,
{
    let Place { access, client, session, when } = place;
    let local = LocalLock::claim(&client.peer_addr().to_string()).map_err(show::busy_here)?;
    let done = |op: &_| reporter.event(&Event::Written(show::change(op)));
    let again = async || connect(access).await;
    let guarding = Guarding { when, session, timing: Timing::default(), connect: again, tunnel };
    let carried = apply_guarded(client, task, local, observed, progress, done, guarding).await;
    show::tally(reporter, progress);
    let carried = carried.map_err(|error| show::guard_failed(error, reporter))?;
    if carried.client.is_some() {
        let detail = "confirmed over a new connection; the guard is out".to_owned();
        reporter.event(&Event::Step { step: Step::Write, detail });
    }
    Ok((carried.observed, carried.client.unwrap_or_else(|| client.clone())))
}
