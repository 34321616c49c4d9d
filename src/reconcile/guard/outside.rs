//! How a change is judged from outside: a new connection, a new reading, and the tunnel if there was one.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::run::{Guarding, Reach, Unconfirmed};
use super::split::switched_off;
use crate::domain::{Role, SiteId};
use crate::reconcile::converge::{Progress, Task};
use crate::reconcile::decide::Refused;
use crate::reconcile::generation::{row_of, used};
use crate::reconcile::observe::{Observed, ReadError, observe};
use crate::reconcile::plan::{Change, Op, Plan};
use crate::reconcile::prove::RECENT;
use crate::routeros::client::Client;
use crate::routeros::menu::parse_duration;

/// How long one new connection may take, login included.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries to connect: pacing, a router that is cut off refuses or stays silent.
pub(super) const CONNECT_EVERY: Duration = Duration::from_millis(500);

/// How long it is until then.
pub(super) fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// What a change must look like from outside.
pub(super) struct Outside<'a, 't, D, S, R> {
    /// What waits until the rest has proved harmless.
    pub(super) later: Plan,
    /// How long what was changed may take to have its effect.
    pub(super) settle: Duration,
    pub(super) task: &'a Task<'t, D, S>,
    pub(super) guarding: &'a Guarding<'a, R>,
}

impl<D, S, R> Outside<'_, '_, D, S, R>
where
    S: Fn(&Observed) -> Result<Plan, Refused>,
    R: Reach,
{
    pub(super) async fn connect(&self, within: Duration) -> Result<Client, String> {
        match timeout(within.min(CONNECT_WITHIN), self.guarding.reach.connect()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", within.min(CONNECT_WITHIN).as_secs_f32())),
        }
    }

    /// Returns a new connection over which all is as it should be; or what speaks against it, with the connection that told.
    pub(super) async fn witness(
        &self,
        until: Instant,
        progress: &Progress,
    ) -> Result<Client, (Option<Client>, Unconfirmed)> {
        // A rule that is not in effect yet would let us in, and then not any more.
        sleep(self.settle.min(left(until))).await;
        let mut last = "there was no time for one".to_owned();
        while !left(until).is_zero() {
            match self.connect(left(until)).await {
                Ok(client) => match timeout(left(until), self.judge(&client, until, progress)).await {
                    Ok(Ok(None)) => return Ok(client),
                    Ok(Ok(Some(why))) => return Err((Some(client), why)),
                    // This connection was no good either; there may be time for another.
                    Ok(Err(error)) => last = error.to_string(),
                    Err(_) => break,
                },
                Err(why) => last = why,
            }
            sleep(CONNECT_EVERY.min(left(until))).await;
        }
        Err((None, Unconfirmed::Unreachable(last)))
    }

    /// Reads the router anew, and returns what speaks against it.
    async fn judge(
        &self,
        client: &Client,
        until: Instant,
        progress: &Progress,
    ) -> Result<Option<Unconfirmed>, ReadError> {
        let observed = observe(client, &self.task.interest).await?;
        if !self.is_settled(&observed) {
            return Ok(Some(Unconfirmed::Different));
        }
        let was_up = progress.before.as_ref().is_some_and(|(before, _)| has_handshake(before, self.task.site));
        if was_up && !self.guarding.reach.carries(client, &observed, progress, left(until)).await {
            return Ok(Some(Unconfirmed::TunnelDown));
        }
        Ok(None)
    }

    /// Whether nothing is left to do but what waits; and what waits is switched off, which is what was done of it.
    pub(super) fn is_settled(&self, observed: &Observed) -> bool {
        let may_wait = |op: &Op| is_among(op, &self.later) && switched_off(op, observed).is_none();
        (self.task.settled)(observed).is_ok_and(|rest| rest.ops.iter().all(may_wait))
    }
}

/// Whether a change is one of those that wait.
pub(super) fn is_among(op: &Op, later: &Plan) -> bool {
    let is_removal = |op: &Op| matches!(op.change, Change::Remove { .. });
    is_removal(op) && later.ops.iter().any(|other| other.menu == op.menu && other.marker == op.marker)
}

/// Whether a site's tunnel carried traffic not long before a reading.
fn has_handshake(observed: &Observed, site: &SiteId) -> bool {
    let peer = used(observed, site).and_then(|generation| row_of(observed, site, &Role::Peer, generation));
    peer.and_then(|row| parse_duration(row.get("last-handshake")?)).is_some_and(|age| age <= RECENT)
}
