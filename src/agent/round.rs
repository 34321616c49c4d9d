//! One look at a router, and what was done about it.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::culprit::culprit;
use super::gates::{Gates, Place};
use super::hold::Hold;
use super::source::{Wanted, Wish};
use crate::domain::{Role, Site};
use crate::reconcile::apply::{ApplyError, BusyHere, LocalLock, LockError, Warranted};
use crate::reconcile::converge::{ConvergeError, Deciding, Progress, Settling, Task};
use crate::reconcile::decide::{Decision, Refused, decide_guarded, decide_settled};
use crate::reconcile::fence::{fenced, noted};
use crate::reconcile::generation::row_in_use;
use crate::reconcile::guard::{
    GONE_WITHIN, GuardError, Guarding, Reach, Timing, When, apply_guarded, classify, until_clear,
};
use crate::reconcile::heal::{self, Step, meant, of_tunnel, plan_step};
use crate::reconcile::observe::{Interest, Observed, ReadError, observe};
use crate::reconcile::plan::{Op, Plan};
use crate::reconcile::preflight::Session;
use crate::reconcile::prove::prove;
use crate::routeros::client::Client;
use crate::routeros::target::{Access, ConnectError, connect};

/// What a round came to.
#[derive(Debug)]
pub(super) struct Round {
    /// The router as it is now.
    pub(super) observed: Observed,
    /// Rows changed.
    pub(super) changes: u64,
    /// Writes, the lock's included.
    pub(super) writes: u64,
    /// What had to be changed, in words.
    pub(super) done: Vec<String>,
    /// Who it was that changed them, as far as the router tells.
    pub(super) who: Option<String>,
    /// The connection to go on with, if a change that could have cut us off was confirmed over a new one.
    pub(super) client: Option<Client>,
}

/// Why a round did not bring the router to what is wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundError {
    /// It could not be read.
    #[error("the router cannot be read")]
    Read(#[from] ReadError),
    /// A rule speaks against writing to it.
    #[error("{}", in_words(.0))]
    Refused(Refused),
    /// Writing did not end well.
    #[error("the router is not as it is wanted")]
    Apply(#[from] GuardError),
    /// Another process of this machine is at work on it.
    #[error(transparent)]
    BusyHere(#[from] BusyHere),
    /// While it waited for its turn, something else came to be wanted, or nothing at all. Nothing was written.
    #[error("held back before the first write")]
    Withheld,
}

/// What decides right before the first write whether it is still to be.
pub(super) struct Consent<'a> {
    pub(super) gates: &'a Gates,
    pub(super) stop: &'a CancellationToken,
    pub(super) wish: &'a watch::Receiver<Wish>,
    pub(super) hold: &'a Hold,
}

impl Consent<'_> {
    /// Waits for a place among those who write. In a fleet that takes minutes, in which everything may change.
    async fn to_write(&self) -> Result<Place<'_>, RoundError> {
        let place = tokio::select! {
            () = self.stop.cancelled() => return Err(RoundError::Withheld),
            place = self.gates.applying() => place,
        };
        let is_frozen =
            || self.wish.borrow().as_ref().is_some_and(|wanted| self.hold.on(wanted, super::now()).is_some());
        // A source that is gone has said all it will.
        let has_changed = self.wish.has_changed().unwrap_or(false);
        if self.stop.is_cancelled() || has_changed || is_frozen() { Err(RoundError::Withheld) } else { Ok(place) }
    }
}

impl RoundError {
    /// Tells whether the router undid the change: the same change would cut us off again.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        matches!(self, Self::Apply(GuardError::PutBack { .. } | GuardError::OutOfSight { .. }))
    }

    /// Tells whether it is another matter in a moment: somebody else is at work on the router and will be through, or the lease ended
    /// under the run, and whose the router is will be known.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let lock = match self {
            Self::BusyHere(_) => return true,
            Self::Apply(GuardError::Converge(
                ConvergeError::Lock(lock) | ConvergeError::Apply(ApplyError::Lock(lock)),
            )) => lock,
            _ => return false,
        };
        matches!(lock, LockError::Busy(_) | LockError::Unwarranted)
    }

    /// Tells whether nothing of what was wanted was written.
    #[must_use]
    pub fn is_before_writes(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Refused(_) | Self::BusyHere(_) | Self::Withheld) || self.is_passing()
    }

    /// Tells whether the session is over, rather than the router unwilling.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(call) = error.downcast_ref::<crate::routeros::error::CallError>() {
                return call.refusal().is_none();
            }
            source = error.source();
        }
        matches!(self, Self::Read(ReadError::Deadline) | Self::Apply(GuardError::OutOfSight { .. }))
    }
}

/// A refusal with the first thing that speaks for it.
fn in_words(refused: &Refused) -> String {
    let first = match refused {
        Refused::Preflight(findings) => {
            findings.first().map(|finding| format!("{}: {}", finding.code, finding.message))
        }
        Refused::Ambiguous(doubts) => doubts.first().map(ToString::to_string),
        Refused::Removals { .. } => None,
    };
    first.map_or_else(|| refused.to_string(), |first| format!("{refused}: {first}"))
}

/// Reads the router, and writes to it if it is not as wanted. What could cut us off is guarded: the router undoes it by itself
/// unless a new connection confirms it. `curious` is how long ago the rows were as wanted: whoever changed them since is asked for.
///
/// # Errors
/// [`RoundError`]; what was written before stays, and the next round goes on from there.
///
/// # Cancel safety
/// As [`apply_guarded`].
pub(super) async fn round(
    client: &Client,
    access: &Access,
    wanted: &Wanted,
    (max_removals, lease): (usize, &Warranted),
    consent: &Consent<'_>,
    curious: Option<Duration>,
) -> Result<Round, RoundError> {
    let site = &wanted.site;
    let interest = Interest::of(site);
    let (observed, session) = read(client, access, site, &interest, consent.gates).await?;
    let deciding = |observed: &Observed| {
        unfenced(observed, site, lease)?;
        decide_guarded(site, observed, &session, max_removals)
    };
    let Decision { plan, warnings } = deciding(&observed).map_err(RoundError::Refused)?;
    for warning in &warnings {
        tracing::debug!(code = warning.code, message = warning.message, "speaks against it, but not enough");
    }
    if plan.is_empty() {
        return Ok(Round::idle(observed));
    }
    // Asked before we write: what we do is in the same log.
    let who = match curious {
        Some(since) => culprit(client, &observed, &access.url.user, since).await,
        None => None,
    };
    // Held until everything is written and read again.
    let _place = consent.to_write().await?;
    let local = LocalLock::claim(&client.peer_addr().to_string())?.under(lease.clone());
    let settled = |observed: &Observed| -> Result<Plan, Refused> { decide_settled(site, observed, &session) };
    let task =
        Task { site: &site.id, interest, decide: &deciding as Deciding<'_>, settled: &settled as _, agreed: None };
    carry_out(client, Outside { access, site }, &session, (task, local), observed, who).await
}

/// Reads a router whole, once it is its turn.
async fn read(
    client: &Client,
    access: &Access,
    site: &Site,
    interest: &Interest,
    gates: &Gates,
) -> Result<(Observed, Session), RoundError> {
    let session = Session::of(client, &access.url.user, Some(site), super::now(), true);
    let reading = async { futures_util::join!(observe(client, interest), session) };
    let (observed, session) = gates.reading().await.briefly(reading).await;
    Ok((until_clear(client, interest, observed?, GONE_WITHIN).await?, session))
}

/// Refuses where the router itself says that somebody else drives it. Under the lock, this is what nobody changes meanwhile.
fn unfenced(observed: &Observed, site: &Site, lease: &Warranted) -> Result<(), Refused> {
    match lease.as_ref().and_then(|lease| lease.refuses(noted(observed, site))) {
        Some(why) => Err(fenced(why)),
        None => Ok(()),
    }
}

/// Carries a task out, guarded where it could cut us off.
async fn carry_out(
    client: &Client,
    reach: Outside<'_>,
    session: &Session,
    (task, local): (Task<'_, Deciding<'_>, Settling<'_>>, LocalLock),
    observed: Observed,
    who: Option<String>,
) -> Result<Round, RoundError> {
    let (mut progress, mut done) = (Progress::default(), Vec::new());
    let written = |op: &Op| done.push(format!("{op}: {}", op.reason));
    let guarding = Guarding { when: When::Session, session, timing: Timing::default(), reach: &reach };
    let guarded = apply_guarded(client, task, local, &observed, &mut progress, written, guarding).await?;
    let (observed, client) = (guarded.observed, guarded.client);
    Ok(Round { observed, changes: progress.changes, writes: progress.writes, done, who, client })
}

/// Takes a step of healing. Guarded as any change: a session that comes through the tunnel is confirmed anew, or the router undoes it.
/// A peer that our own session comes through is not switched off: what carries us is not stuck.
///
/// # Errors
/// [`RoundError`]; the next round puts right what was written halfway.
///
/// # Cancel safety
/// As [`apply_guarded`].
pub(super) async fn mend(
    client: &Client,
    access: &Access,
    wanted: &Wanted,
    (step, chance, of_day): (Step, u16, u16),
    lease: &Warranted,
    consent: &Consent<'_>,
) -> Result<Round, RoundError> {
    let site = &wanted.site;
    let interest = Interest::of(site);
    let moment = heal::Moment { unix: super::now(), chance, of_day };
    let (observed, session) = read(client, access, site, &interest, consent.gates).await?;
    let deciding = |observed: &Observed| -> Result<Decision, Refused> {
        unfenced(observed, site, lease)?;
        let plan = plan_step(step, site, observed, &session, moment)?;
        let cuts_us_off = step == Step::Bounce && !classify(&plan, observed, &session).session.is_empty();
        Ok(Decision { plan: if cuts_us_off { Plan::default() } else { plan }, warnings: Vec::new() })
    };
    if deciding(&observed).map_err(RoundError::Refused)?.plan.is_empty() {
        return Ok(Round::idle(observed));
    }
    let _place = consent.to_write().await?;
    let local = LocalLock::claim(&client.peer_addr().to_string())?.under(lease.clone());
    let settled =
        |observed: &Observed| -> Result<Plan, Refused> { Ok(of_tunnel(decide_settled(site, observed, &session)?)) };
    let task =
        Task { site: &site.id, interest, decide: &deciding as Deciding<'_>, settled: &settled as _, agreed: None };
    carry_out(client, Outside { access, site }, &session, (task, local), observed, None).await
}

/// How a guarded change is looked at from outside.
struct Outside<'a> {
    access: &'a Access,
    site: &'a Site,
}

impl Reach for Outside<'_> {
    async fn connect(&self) -> Result<Client, ConnectError> {
        connect(self.access).await
    }

    async fn carries(&self, client: &Client, observed: &Observed, progress: &Progress, within: Duration) -> bool {
        let Some(peer) = row_in_use(self.site, observed, &Role::Peer) else { return false };
        let demand = progress.demand(self.site);
        // What healing chose is where the session is to be.
        matches!(prove(client, &meant(self.site, observed), peer.id(), demand, within).await, Ok(Ok(_)))
    }
}

impl Round {
    /// Nothing was to be done.
    fn idle(observed: Observed) -> Self {
        Self { observed, changes: 0, writes: 0, done: Vec::new(), who: None, client: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::hold::tests::wanted;

    /// Waits for a turn while somebody else has it, and says whether it may write after `meanwhile`.
    async fn may_write(meanwhile: impl FnOnce(&watch::Sender<Wish>, &CancellationToken), is_new: bool) -> bool {
        let (gates, stop, hold) = (Gates::new(1, 1), CancellationToken::new(), Hold::default());
        let (sender, mut receiver) = watch::channel(Some(wanted(1, 25, None)));
        let taken = gates.applying().await;
        let asked = {
            let consent = Consent { gates: &gates, stop: &stop, wish: &receiver, hold: &hold };
            let mut asking = Box::pin(consent.to_write());
            assert!(futures_util::poll!(&mut asking).is_pending(), "somebody else writes");
            meanwhile(&sender, &stop);
            drop(taken);
            asking.await.is_ok()
        };
        assert_eq!(receiver.has_changed().unwrap(), is_new);
        receiver.mark_unchanged();
        asked
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_when_its_turn_comes_is_not_written() {
        assert!(may_write(|_, _| {}, false).await);
        assert!(!may_write(|_, stop| stop.cancel(), false).await, "it is to stop");
        assert!(
            !may_write(|wish_is, _| drop(wish_is.send_replace(Some(wanted(2, 25, None)))), true).await,
            "another wish"
        );
        assert!(
            !may_write(|wish_is, _| drop(wish_is.send_replace(Some(wanted(1, 25, Some(i64::MAX))))), true).await,
            "frozen"
        );
    }
}
