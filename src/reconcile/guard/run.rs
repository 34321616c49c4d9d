//! Arm, carry out, confirm over a new connection; or let the router put itself back.
//!
//! One run at a time: the lock keeps others off until the changes are through, the armed guard itself until they are confirmed.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::inverse::{Undo, inverse};
use super::outside::{CONNECT_EVERY, CONNECT_WITHIN, Outside, is_among, left};
use super::{Found, Timing, Touches, When, armed, classify, guard_of, split};
use crate::domain::SiteId;
use crate::reconcile::apply::{
    ArmError, BusyHere, Fuse, Lit, LocalLock, LockError, Standing, WRITES_IN_FLIGHT, Warranted, may_write,
};
use crate::reconcile::converge::{ConvergeError, Progress, Standby, Task, converge, converge_with};
use crate::reconcile::decide::{Decision, Refused};
use crate::reconcile::observe::{Interest, Observed, ReadError, observe};
use crate::reconcile::plan::{Op, Plan};
use crate::reconcile::preflight::Session;
use crate::routeros::client::Client;
use crate::routeros::target::ConnectError;

/// How long after the fuse the router is looked for: what the script takes, and a connection.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks at somebody else's guard.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How a run looks at its own work from outside.
pub trait Reach: Sync {
    /// Opens another connection and logs in.
    fn connect(&self) -> impl Future<Output = Result<Client, ConnectError>> + Send;

    /// Tells whether the tunnel carries traffic within a time; asked only if it did before. A removal says yes.
    fn carries(
        &self,
        client: &Client,
        observed: &Observed,
        progress: &Progress,
        within: Duration,
    ) -> impl Future<Output = bool> + Send;
}

/// What a guarded run needs beside its task.
pub struct Guarding<'a, R> {
    /// When to guard.
    pub when: When,
    /// Where the session stands.
    pub session: &'a Session,
    /// The times.
    pub timing: Timing,
    /// How to look at it from outside.
    pub reach: &'a R,
}

/// How a run ended that did not fail.
#[derive(Debug)]
pub struct Guarded {
    /// The last reading.
    pub observed: Observed,
    /// The new connection that confirmed the changes, if they were guarded: the old one may be cut off.
    pub client: Option<Client>,
    /// What the plan touched.
    pub touches: Touches,
}

/// Why a run did not get through.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// As without a guard; nothing is armed.
    #[error(transparent)]
    Converge(#[from] ConvergeError),
    /// Another run of this host has the router.
    #[error(transparent)]
    Busy(#[from] BusyHere),
    /// Somebody's guard stayed armed.
    #[error("{}", .0.explain())]
    Armed(Found),
    /// Reading the router failed.
    #[error("reading the router")]
    Read(#[from] ReadError),
    /// The changes were not confirmed, and the router is back as it was before them.
    #[error("the router was put back as it was: {why}")]
    PutBack {
        /// Why they were not confirmed.
        why: Unconfirmed,
    },
    /// The changes were not confirmed, and the router was not seen since.
    #[error("the router puts itself back as it was within {} s of the change, but was not reached since: {why}", super::FUSE.as_secs())]
    OutOfSight {
        /// Why they were not confirmed.
        why: Unconfirmed,
    },
}

/// Why changes were not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// They were not all made.
    #[error("{0}")]
    Incomplete(ConvergeError),
    /// They took too long, or their session was cut off.
    #[error("the changes were not answered in time")]
    Stalled,
    /// No new connection came about.
    #[error("no new connection came about; the last try: {0}")]
    Unreachable(String),
    /// The router does not say what it was told.
    #[error("the router read again over a new connection was not as it should be")]
    Different,
    /// The tunnel was up before, and is not any more.
    #[error("the tunnel carried traffic before, and does not any more")]
    TunnelDown,
}

/// Waits until no guard is armed, at most so long; [`super::GONE_WITHIN`] is what one of ours takes.
///
/// # Errors
/// [`GuardError::Armed`] if one still is, [`GuardError::Read`].
///
/// # Cancel safety
/// Nothing is written.
pub async fn until_clear(
    client: &Client,
    interest: &Interest,
    observed: Observed,
    within: Duration,
) -> Result<Observed, GuardError> {
    let until = Instant::now() + within;
    let mut observed = observed;
    while let Some(armed) = armed(&observed) {
        if Instant::now() >= until {
            return Err(GuardError::Armed(armed));
        }
        sleep(LOOK_EVERY.min(within)).await;
        observed = observe(client, interest).await?;
    }
    Ok(observed)
}

/// Carries a task out as [`converge`] does, guarded where `guarding` says so.
///
/// # Errors
/// [`GuardError`]. After [`GuardError::PutBack`] the router is as it was before the changes.
///
/// # Cancel safety
/// Dropped at any time, the router is as it was before, or goes back to that by itself, or everything was confirmed.
pub async fn apply_guarded<D, S, R>(
    client: &Client,
    task: Task<'_, D, S>,
    local: LocalLock,
    before: &Observed,
    progress: &mut Progress,
    mut done: impl FnMut(&Op) + Send,
    guarding: Guarding<'_, R>,
) -> Result<Guarded, GuardError>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
    S: Fn(&Observed) -> Result<Plan, Refused>,
    R: Reach,
{
    // Behind a reference, so that all who look from outside in their own way share what carries out and what finishes.
    let mut done: &mut (dyn FnMut(&Op) + Send) = &mut done;
    let warrant = local.warrant().clone();
    let mut watchman = Watchman::new(task.site, &guarding);
    let deadline = watchman.deadline(guarding.timing.apply_within);
    let carried = {
        let carrying = converge_with(client, &task, local, before, progress, &mut done, &mut watchman);
        tokio::select! {
            result = carrying => Some(result),
            () = deadline => None,
        }
    };
    let touches = std::mem::take(&mut watchman.touches);
    let Some(lit) = watchman.lit.take() else {
        // Not armed, so the deadline was none.
        let observed = carried.unwrap_or(Err(ConvergeError::Changed))?;
        return Ok(Guarded { observed, client: None, touches });
    };
    let settle = if watchman.settles { guarding.timing.settle } else { Duration::ZERO };
    let later = watchman.later;
    let outside = Outside { later, settle, task: &task, guarding: &guarding };
    let confirming = Confirming { lit, outside, warrant: warrant.clone(), first: client.clone() };
    let client = match carried {
        Some(Ok(_)) => confirming.confirm(progress).await?,
        Some(Err(error)) => return Err(confirming.put_back(Some(client), Unconfirmed::Incomplete(error)).await),
        None => return Err(confirming.put_back(None, Unconfirmed::Stalled).await),
    };
    let Confirming { outside, .. } = confirming;
    let observed = finish(&client, &task, &outside.later, warrant, progress, done).await?;
    Ok(Guarded { observed, client: Some(client), touches })
}

/// Takes out what was only switched off, now that this is known to be harmless.
pub(super) async fn finish<D, S>(
    client: &Client,
    task: &Task<'_, D, S>,
    later: &Plan,
    warrant: Warranted,
    progress: &mut Progress,
    done: &mut (dyn FnMut(&Op) + Send),
) -> Result<Observed, GuardError>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
    S: Fn(&Observed) -> Result<Plan, Refused>,
{
    let observed = observe(client, &task.interest).await?;
    if later.is_empty() {
        return Ok(observed);
    }
    let local = LocalLock::claim(&client.peer_addr().to_string())?.under(warrant);
    let rest = Task {
        site: task.site,
        interest: task.interest.clone(),
        decide: |observed: &Observed| (task.decide)(observed),
        settled: |observed: &Observed| (task.settled)(observed),
        agreed: Some(later),
    };
    // The reading that the proof is judged by is the one before all of it.
    let before = progress.before.clone();
    let result = converge(client, rest, local, &observed, progress, done).await;
    progress.before = before;
    Ok(result?)
}

/// Arms before the first write.
struct Watchman<'a> {
    site: &'a SiteId,
    when: When,
    session: &'a Session,
    timing: Timing,
    touches: Touches,
    undo: Undo,
    later: Plan,
    lit: Option<Lit>,
    armed: watch::Sender<Option<Instant>>,
    /// Whether what was changed may take a while to have its effect.
    settles: bool,
}

impl<'a> Watchman<'a> {
    fn new<R>(site: &'a SiteId, guarding: &Guarding<'a, R>) -> Self {
        Self {
            site,
            when: guarding.when,
            session: guarding.session,
            timing: guarding.timing,
            touches: Touches::default(),
            undo: Undo::default(),
            later: Plan::default(),
            lit: None,
            armed: watch::channel(None).0,
            settles: false,
        }
    }

    /// Comes so long after the guard was armed, and never if it is not.
    fn deadline(&self, within: Duration) -> impl Future<Output = ()> + use<> {
        let mut armed = self.armed.subscribe();
        async move {
            let since = armed.wait_for(Option::is_some).await.map(|since| *since);
            match since {
                Ok(Some(since)) => tokio::time::sleep_until((since + within).into()).await,
                _ => std::future::pending().await,
            }
        }
    }
}

impl Standby for Watchman<'_> {
    async fn before(
        &mut self,
        client: &Client,
        plan: Plan,
        observed: &Observed,
        written: &mut u64,
    ) -> Result<Plan, ArmError> {
        if self.lit.is_none() {
            self.touches = classify(&plan, observed, self.session);
            if plan.is_empty() || !self.when.holds(&self.touches) {
                return Ok(plan);
            }
        }
        let (now, later) = split(&plan, observed);
        let undo = inverse(&now, observed).map_err(ArmError::Irreversible)?;
        self.undo = std::mem::take(&mut self.undo).preceded_by(undo);
        let lines = self.undo.script();
        if let Some(lit) = &mut self.lit {
            lit.rearm(client, &lines, written).await?;
        } else {
            let left = guard_of(observed, self.site);
            let lit = Fuse::new(self.site, &lines, self.timing.fuse).arm(client, left.as_ref(), written).await?;
            self.armed.send_replace(Some(lit.since));
            self.lit = Some(lit);
        }
        self.later = later;
        self.settles |= now.ops.iter().any(|op| op.menu.path.contains("/firewall/"));
        Ok(now)
    }

    /// A session that is cut off leaves nothing behind that the router could still get and carry out once it is back.
    fn in_flight(&self) -> usize {
        if self.lit.is_some() { 1 } else { WRITES_IN_FLIGHT }
    }

    fn leaves(&self, rest: &Plan) -> bool {
        rest.ops.iter().all(|op| is_among(op, &self.later))
    }
}

/// Changes that were made and are not confirmed.
struct Confirming<'a, 't, D, S, R> {
    lit: Lit,
    outside: Outside<'a, 't, D, S, R>,
    /// Without it nothing more is written: the router puts itself back.
    warrant: Warranted,
    /// The session that the changes were made over.
    first: Client,
}

impl<D, S, R> Confirming<'_, '_, D, S, R>
where
    S: Fn(&Observed) -> Result<Plan, Refused>,
    R: Reach,
{
    /// Until when something may still be confirmed.
    fn until(&self) -> Instant {
        let Timing { fuse, margin, .. } = self.outside.guarding.timing;
        self.lit.since + fuse.saturating_sub(margin)
    }

    async fn confirm(&self, progress: &mut Progress) -> Result<Client, GuardError> {
        let client = match self.outside.witness(self.until(), progress).await {
            Ok(client) => client,
            Err((client, why)) => return Err(self.put_back(client.as_ref(), why).await),
        };
        if !may_write(&self.warrant) {
            return Err(ConvergeError::from(LockError::Unwarranted).into());
        }
        let confirmed = timeout(left(self.until()), self.lit.confirm(&client, &mut progress.writes)).await;
        match confirmed {
            Ok(Ok(true)) => Ok(client),
            // Whether it got through shows in the router's own rows.
            _ => self.settle_doubt(client, progress).await,
        }
    }

    /// A confirmation that was not answered, or came when the timer was gone: what became of it shows in the router's own rows.
    async fn settle_doubt(&self, client: Client, progress: &mut Progress) -> Result<Client, GuardError> {
        drop(client);
        let why = || Unconfirmed::Unreachable("the confirmation was not answered in time".to_owned());
        while Instant::now() < self.gone_by() {
            if let Ok(client) = self.outside.connect(CONNECT_WITHIN).await {
                let standing = self.lit.standing(&client).await;
                match standing {
                    Ok(Standing::Gone) => {
                        let observed = observe(&client, &self.outside.task.interest).await?;
                        let is_done = self.outside.is_settled(&observed);
                        return if is_done { Ok(client) } else { Err(GuardError::PutBack { why: why() }) };
                    }
                    // Not confirmed any more when its time is near; the script alone undoes nothing by itself.
                    Ok(Standing::Armed) if left(self.until()).is_zero() => {}
                    Ok(_) if !may_write(&self.warrant) => {}
                    Ok(Standing::Armed | Standing::Spent) => {
                        if let Err(error) = self.lit.confirm(&client, &mut progress.writes).await {
                            tracing::debug!(%error, "the guard was not taken out");
                        }
                    }
                    Err(error) => tracing::debug!(%error, "the router does not say what is left of the guard"),
                }
            }
            sleep(CONNECT_EVERY).await;
        }
        Err(GuardError::OutOfSight { why: why() })
    }

    /// When the guard has run at the latest, if it was not confirmed, and the router can be reached again.
    fn gone_by(&self) -> Instant {
        self.lit.since + self.outside.guarding.timing.fuse + BACK_WITHIN
    }

    /// Lets the router put itself back at once if it can be told, and waits for it to do so by itself if not.
    async fn put_back(&self, client: Option<&Client>, why: Unconfirmed) -> GuardError {
        if let Some(client) = client.filter(|_| may_write(&self.warrant))
            && let Err(error) = self.lit.put_back(client).await
        {
            tracing::debug!(%error, "the router could not be told to put itself back; its timer runs");
        }
        // What of it is still on its way must not arrive once all is as before: it would be carried out without a guard.
        self.first.end();
        match self.seen_without_guard().await {
            Some(_) => GuardError::PutBack { why },
            None => GuardError::OutOfSight { why },
        }
    }

    /// A connection over which no guard is seen any more: it was confirmed, or has run.
    async fn seen_without_guard(&self) -> Option<Client> {
        while Instant::now() < self.gone_by() {
            if let Ok(client) = self.outside.connect(CONNECT_WITHIN).await {
                match self.lit.standing(&client).await {
                    Ok(Standing::Gone) => return Some(client),
                    Ok(_) if !may_write(&self.warrant) => {}
                    // Reached, and not as it should be: there is nothing to wait for.
                    Ok(_) => drop(self.lit.put_back(&client).await.map_err(|error| {
                        tracing::debug!(%error, "the router could not be told to put itself back; its timer runs");
                    })),
                    Err(error) => tracing::debug!(%error, "the router is not back yet"),
                }
            }
            sleep(CONNECT_EVERY).await;
        }
        None
    }
}
