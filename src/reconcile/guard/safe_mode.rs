//! Changes under RouterOS's own safe mode, in place of a script of ours; only for who asks for it.
//!
//! Taken under our lock, right before the first write; let go of once a *new* connection, and the tunnel if there was one, worked.
//! It belongs to the session that took it: whatever ends that session ends the changes too. So a change that takes the session's own
//! way away is undone even where another way would be there; a script of ours does not mind.
//!
//! What safe mode does beyond that is why it is not the rule:
//!
//! - It undoes what *anybody* changed meanwhile. Our lock keeps other runs off, and nobody else; so it is held as short as a guard is.
//! - It undoes 100 actions. One more, whoever makes it, ends it without a word, and nothing is undone. So plans of more than
//!   [`MAX_SAFE_WRITES`] are refused, and afterwards the router's rows are looked at, not what it was told.
//! - When it notices that a session has ended is not in our hand. We end ours the moment that something goes wrong, and the router
//!   undoes it within [`NOTICED_WITHIN`]. If that does not get through, because the way is cut or this host is dead, it takes up to
//!   [`DEAD_PEER`].
//! - What a reboot does to changes that were not let go of is not known. They are looked for, too.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::outside::{CONNECT_EVERY, CONNECT_WITHIN, Outside, is_among};
use super::run::{GuardError, Guarded, Guarding, Reach, Unconfirmed, finish};
use super::{Touches, classify, split};
use crate::domain::RouterOsVersion;
use crate::reconcile::apply::{
    ArmError, LocalLock, SAFE_MODE_SINCE, SafeHold, release_safe_mode, safe_hold, take_safe_mode, unroll_safe_mode,
};
use crate::reconcile::converge::{ConvergeError, Progress, Standby, Task, converge_with};
use crate::reconcile::decide::{Decision, Refused};
use crate::reconcile::observe::{Observed, observe};
use crate::reconcile::plan::{Op, Plan};
use crate::routeros::client::Client;
use crate::routeros::error::CallError;

/// Most writes of a plan. *Source*: the manual's 100 actions; more than half of them is left to what others do meanwhile, and to what
/// the router may count beside what it is told.
pub const MAX_SAFE_WRITES: usize = 40;
/// How long the router may take to notice that a session has ended. *Source*: `tik4net`, whose test waits so long.
pub const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// How long a session lives whose other end is silent. *Source*: the manual, "TCP timeout (9 minutes)".
pub const DEAD_PEER: Duration = Duration::from_mins(9);
/// What is on its way to be undone may look as if it stayed: that is believed if it still looks so after this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why a change is not made in safe mode; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotSafe {
    /// The router has no safe mode for programs.
    #[error("safe mode needs RouterOS 7.18 or later{}", .0.as_ref().map(|version| format!(", and this router has {version}")).unwrap_or_default())]
    TooOld(Option<RouterOsVersion>),
    /// Somebody holds it.
    #[error("{}", .0.explain())]
    Held(SafeHold),
    /// The router might not be able to undo it all.
    #[error(
        "the plan has {0} changes, and no more than {MAX_SAFE_WRITES} are made in safe mode: the router undoes the last 100 at most, those of others among them"
    )]
    TooLong(usize),
    /// The router does not let us.
    #[error("the router did not give us safe mode; it said: {0}")]
    Denied(String),
    /// It was answered, and is not in force.
    #[error("the router took the command for safe mode, and is not in it")]
    NotInForce,
    /// The router did not answer.
    #[error("taking safe mode")]
    Call(#[source] CallError),
}

/// Why a run in safe mode did not get through.
#[derive(Debug, thiserror::Error)]
pub enum SafeError {
    /// Nothing was written.
    #[error("no change is made without safe mode: {0}")]
    NotSafe(#[source] NotSafe),
    /// As with a guard of ours.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The changes were not confirmed, and the router was not seen since.
    #[error("the router undoes the changes by itself: {} s after it notices that our session has ended, up to {} minutes if that does not get through to it; it was not reached since: {why}", NOTICED_WITHIN.as_secs(), DEAD_PEER.as_secs() / 60)]
    OutOfSight {
        /// Why they were not confirmed.
        why: Unconfirmed,
    },
    /// The changes were not confirmed, and at least a part of them is still there, for good.
    #[error("the changes were not confirmed, and the router did not undo all of them: {why}")]
    NotUndone {
        /// Why they were not confirmed.
        why: Unconfirmed,
    },
}

/// How long the router is waited for, and who hears that it is; tests have shorter times.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// See [`NOTICED_WITHIN`].
    pub noticed: Duration,
    /// See [`DEAD_PEER`].
    pub dead_peer: Duration,
    /// Hears that the session was lost.
    pub lost: &'a (dyn Fn() + Sync),
}

impl<'a> Patience<'a> {
    /// Returns the patience that a router may need.
    #[must_use]
    pub fn new(lost: &'a (dyn Fn() + Sync)) -> Self {
        Self { noticed: NOTICED_WITHIN, dead_peer: DEAD_PEER, lost }
    }

    /// Until a session that was ended is undone at the latest.
    fn longest(&self) -> Duration {
        self.noticed.saturating_add(self.dead_peer)
    }
}

/// Looks whether a plan can be carried out in safe mode now.
///
/// # Errors
/// [`NotSafe`].
///
/// # Cancel safety
/// Nothing is written.
pub async fn check_safe_mode(client: &Client, plan: &Plan, observed: &Observed) -> Result<(), NotSafe> {
    let version = observed.version();
    if version.as_ref().is_some_and(|version| *version < SAFE_MODE_SINCE) {
        return Err(NotSafe::TooOld(version));
    }
    if plan.ops.len() > MAX_SAFE_WRITES {
        return Err(NotSafe::TooLong(plan.ops.len()));
    }
    match safe_hold(client).await {
        Ok(None) => Ok(()),
        Ok(Some(hold)) => Err(NotSafe::Held(hold)),
        Err(error) => Err(match error.refusal() {
            Some(words) if words.mentions("no such") => NotSafe::TooOld(version),
            Some(words) => NotSafe::Denied(words.to_string()),
            None => NotSafe::Call(error),
        }),
    }
}

/// Carries a task out as [`super::apply_guarded`] does, under the router's safe mode. If the session is lost, the router is
/// waited for, which may take [`DEAD_PEER`].
///
/// # Errors
/// [`SafeError`]. After [`GuardError::PutBack`] the router is as it was before the changes.
///
/// # Cancel safety
/// Dropped with the last handle of `client`, the session ends, and with it what was not confirmed.
pub async fn apply_in_safe_mode<D, S, R>(
    client: &Client,
    task: Task<'_, D, S>,
    local: LocalLock,
    before: &Observed,
    progress: &mut Progress,
    mut done: impl FnMut(&Op) + Send,
    (guarding, patience): (Guarding<'_, R>, Patience<'_>),
) -> Result<Guarded, SafeError>
where
    D: Fn(&Observed) -> Result<Decision, Refused> + Sync,
    S: Fn(&Observed) -> Result<Plan, Refused> + Sync,
    R: Reach,
{
    let mut done: &mut (dyn FnMut(&Op) + Send) = &mut done;
    let warrant = local.warrant().clone();
    let outside = Outside { later: Plan::default(), settle: Duration::ZERO, task: &task, guarding: &guarding };
    let mut keeper = Keeper::new(outside, patience);
    let deadline = keeper.deadline(guarding.timing.apply_within);
    let carried = {
        let carrying = converge_with(client, &task, local, before, progress, &mut done, &mut keeper);
        tokio::select! {
            result = carrying => Some(result),
            () = deadline => None,
        }
    };
    let touches = std::mem::take(&mut keeper.touches);
    if let Some(why) = keeper.refusal.take().filter(|_| keeper.since.is_none()) {
        return Err(SafeError::NotSafe(why));
    }
    if keeper.since.is_none() {
        let observed = carried.unwrap_or(Err(ConvergeError::Changed)).map_err(GuardError::from)?;
        return Ok(Guarded { observed, client: None, touches });
    }
    let client = match (carried, keeper.ended.take()) {
        (_, Some(Ok(client))) => client,
        (Some(Err(error)), Some(Err((end, None)))) => return Err(end.error(Unconfirmed::Incomplete(error))),
        (_, Some(Err((end, why)))) => return Err(end.error(why.unwrap_or(Unconfirmed::Stalled))),
        // Not one word of it got through to its end.
        (_, None) => return Err(keeper.end_session(client).await.error(Unconfirmed::Stalled)),
    };
    let observed = finish(&client, &task, &keeper.outside.later, warrant, progress, done).await?;
    Ok(Guarded { observed, client: Some(client), touches })
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Before,
    Writing(Instant),
    Written,
}

/// How unconfirmed changes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    PutBack,
    NotUndone,
    OutOfSight,
}

impl End {
    fn error(self, why: Unconfirmed) -> SafeError {
        match self {
            Self::PutBack => GuardError::PutBack { why }.into(),
            Self::NotUndone => SafeError::NotUndone { why },
            Self::OutOfSight => SafeError::OutOfSight { why },
        }
    }
}

/// What the router looks like once safe mode is not ours any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// As before the changes.
    Before,
    /// As it was to be.
    Wanted,
    /// Neither.
    Between,
}

/// Holds safe mode while a plan is carried out.
struct Keeper<'a, 't, D, S, R> {
    outside: Outside<'a, 't, D, S, R>,
    patience: Patience<'a>,
    phase: watch::Sender<Phase>,
    /// Since when it is held.
    since: Option<Instant>,
    /// As the router showed it when it was ours.
    hold: Option<SafeHold>,
    refusal: Option<NotSafe>,
    /// The plan as it was before the first write, and what of it was done in safe mode.
    planned: (Plan, Plan),
    writes: usize,
    touches: Touches,
    /// The connection that confirmed it, or how it ended, and why if not by an error of the run's own.
    ended: Option<Result<Client, (End, Option<Unconfirmed>)>>,
}

impl<'a, 't, D, S, R> Keeper<'a, 't, D, S, R> {
    fn new(outside: Outside<'a, 't, D, S, R>, patience: Patience<'a>) -> Self {
        Self {
            outside,
            patience,
            phase: watch::channel(Phase::Before).0,
            since: None,
            hold: None,
            refusal: None,
            planned: (Plan::default(), Plan::default()),
            writes: 0,
            touches: Touches::default(),
            ended: None,
        }
    }

    /// Comes so long after the first write if they are not through by then.
    fn deadline(&self, within: Duration) -> impl Future<Output = ()> + use<D, S, R> {
        let mut phase = self.phase.subscribe();
        async move {
            let begun = phase.wait_for(|phase| matches!(phase, Phase::Writing(_))).await.map(|phase| *phase);
            let Ok(Phase::Writing(since)) = begun else { return std::future::pending().await };
            tokio::select! {
                () = tokio::time::sleep_until((since + within).into()) => {}
                _ = phase.wait_for(|phase| matches!(phase, Phase::Written)) => std::future::pending().await,
            }
        }
    }

    async fn take(&mut self, client: &Client) -> Result<(), NotSafe> {
        let denied = |error: CallError| match error.refusal() {
            Some(words) => NotSafe::Denied(words.to_string()),
            None => NotSafe::Call(error),
        };
        take_safe_mode(client).await.map_err(denied)?;
        let hold = safe_hold(client).await.map_err(denied)?;
        self.hold = hold.filter(|hold| hold.is_ours != Some(false));
        if self.hold.is_some() { Ok(()) } else { Err(NotSafe::NotInForce) }
    }
}

impl<D, S, R> Standby for Keeper<'_, '_, D, S, R>
where
    D: Fn(&Observed) -> Result<Decision, Refused> + Sync,
    S: Fn(&Observed) -> Result<Plan, Refused> + Sync,
    R: Reach,
{
    async fn before(
        &mut self,
        client: &Client,
        plan: Plan,
        observed: &Observed,
        _: &mut u64,
    ) -> Result<Plan, ArmError> {
        if plan.is_empty() {
            return Ok(plan);
        }
        let (now, later) = split(&plan, observed);
        self.writes += now.ops.len();
        let taken = if self.writes > MAX_SAFE_WRITES {
            Err(NotSafe::TooLong(self.writes))
        } else if self.since.is_none() {
            self.touches = classify(&plan, observed, self.outside.guarding.session);
            self.take(client).await
        } else {
            Ok(())
        };
        if let Err(why) = taken {
            let told = ArmError::Useless(why.to_string());
            self.refusal = Some(why);
            return Err(told);
        }
        if self.since.is_none() {
            let since = Instant::now();
            self.since = Some(since);
            self.phase.send_replace(Phase::Writing(since));
            self.planned = (plan, now.clone());
        }
        self.outside.later = later;
        if now.ops.iter().any(|op| op.menu.path.contains("/firewall/")) {
            self.outside.settle = self.outside.guarding.timing.settle;
        }
        Ok(now)
    }

    /// A session that is cut off leaves nothing behind that the router could still get and carry out once it is back.
    fn in_flight(&self) -> usize {
        1
    }

    fn leaves(&self, rest: &Plan) -> bool {
        rest.ops.iter().all(|op| is_among(op, &self.outside.later))
    }

    /// Another run's changes would be undone with ours.
    fn keeps_lock(&self) -> bool {
        true
    }

    async fn through(&mut self, client: &Client, outcome: &Result<Observed, ConvergeError>, progress: &Progress) {
        let Some(since) = self.since else {
            // Not answered: if it is ours all the same, it ends with the session, and nothing was changed in it. Never undone by
            // a word of ours: it could be somebody else's.
            if matches!(self.refusal, Some(NotSafe::Call(_))) {
                client.clone().close().await;
            }
            return;
        };
        self.phase.send_replace(Phase::Written);
        let timing = self.outside.guarding.timing;
        self.ended = Some(match outcome {
            Err(_) => Err((self.undo(client).await, None)),
            Ok(_) => match self.outside.witness(since + timing.fuse.saturating_sub(timing.margin), progress).await {
                Ok(witness) => self.release(client, witness).await,
                Err((_, why)) => Err((self.undo(client).await, Some(why))),
            },
        });
    }
}

impl<D, S, R> Keeper<'_, '_, D, S, R>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
    S: Fn(&Observed) -> Result<Plan, Refused>,
    R: Reach,
{
    /// Lets go of safe mode. Whether the changes stayed shows in the router's own rows: it may have ended before, without a word.
    async fn release(&self, client: &Client, witness: Client) -> Result<Client, (End, Option<Unconfirmed>)> {
        let is_released = self.is_held_by(client).await && release_safe_mode(client).await.is_ok();
        if !is_released {
            tracing::debug!("safe mode was not let go of");
            client.clone().close().await;
        }
        let within = if is_released { self.patience.noticed } else { self.patience.longest() };
        let why =
            || Some(Unconfirmed::Unreachable("letting go of safe mode was not answered as it should be".to_owned()));
        match self.look(Some(witness), within, is_released).await {
            Some((Left::Wanted, client)) => Ok(client),
            Some((Left::Before, _)) => Err((End::PutBack, why())),
            Some((Left::Between, _)) => Err((End::NotUndone, why())),
            None => Err((End::OutOfSight, why())),
        }
    }

    /// Has the router undo the changes now, or by the end of the session.
    async fn undo(&self, client: &Client) -> End {
        if self.is_held_by(client).await && unroll_safe_mode(client).await.is_ok() {
            return self.seen_back(self.patience.noticed).await;
        }
        tracing::debug!("safe mode could not be undone by its session");
        self.end_session(client).await
    }

    /// Whether the session still holds it. Asked before any word about it: it may have ended, and be somebody else's by now.
    async fn is_held_by(&self, client: &Client) -> bool {
        let hold = safe_hold(client).await;
        hold.is_ok_and(|hold| hold.is_some_and(|hold| hold.is_ours != Some(false) && !self.is_anothers(&hold)))
    }

    /// Ends the session, which undoes the changes, and waits for that.
    async fn end_session(&self, client: &Client) -> End {
        // The sooner the router hears of it, the sooner it undoes.
        client.clone().close().await;
        (self.patience.lost)();
        self.seen_back(self.patience.longest()).await
    }

    async fn seen_back(&self, within: Duration) -> End {
        match self.look(None, within, false).await {
            Some((Left::Before, _)) => End::PutBack,
            // Nothing was to be done but what waits until it is harmless.
            Some((Left::Wanted, _)) if self.writes == 0 => End::PutBack,
            Some((Left::Wanted | Left::Between, _)) => End::NotUndone,
            None => End::OutOfSight,
        }
    }

    /// Looks over new connections what became of the router, until safe mode is ours no more. `at_once`: what is there stays.
    async fn look(&self, first: Option<Client>, within: Duration, at_once: bool) -> Option<(Left, Client)> {
        let until = Instant::now() + within;
        let (mut next, mut since) = (first, None);
        loop {
            let client = match next.take() {
                Some(client) => Some(client),
                None => self.outside.connect(CONNECT_WITHIN).await.ok(),
            };
            if let Some(client) = client {
                match self.left(&client).await {
                    Ok(Some(Left::Before)) if !at_once => return Some((Left::Before, client)),
                    Ok(Some(left)) => {
                        let (seen, at) = *since.get_or_insert((left, Instant::now()));
                        if at_once || (seen == left && at.elapsed() >= LOOK_AGAIN) {
                            return Some((left, client));
                        }
                        if seen != left {
                            since = None;
                        }
                    }
                    Ok(None) => since = None,
                    Err(error) => tracing::debug!(error, "the router is not back yet"),
                }
            }
            if Instant::now() >= until {
                return None;
            }
            sleep(CONNECT_EVERY).await;
        }
    }

    /// What is left of the changes, once safe mode is not ours any more.
    async fn left(&self, client: &Client) -> Result<Option<Left>, String> {
        let hold = safe_hold(client).await.map_err(|error| error.to_string())?;
        if hold.as_ref().is_some_and(|hold| !self.is_anothers(hold)) {
            return Ok(None);
        }
        let observed = observe(client, &self.outside.task.interest).await.map_err(|error| error.to_string())?;
        if self.outside.is_settled(&observed) {
            return Ok(Some(Left::Wanted));
        }
        let (plan, done) = &self.planned;
        let is_before = (self.outside.task.decide)(&observed)
            .is_ok_and(|again| again.plan.same_as(plan) && split(&again.plan, &observed).0.same_as(done));
        Ok(Some(if is_before { Left::Before } else { Left::Between }))
    }

    /// Whether a hold is surely not ours: then ours has ended. If the router does not tell them apart, it may be.
    fn is_anothers(&self, hold: &SafeHold) -> bool {
        let ours = self.hold.as_ref().and_then(|ours| ours.owner.as_ref());
        ours.zip(hold.owner.as_ref()).is_some_and(|(ours, owner)| ours != owner)
    }
}
