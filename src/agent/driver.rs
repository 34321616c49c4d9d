//! The task of one router: connect, bring it to what is wanted, watch it, and begin again when anything changes.

mod healing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::healing::{Hands, chance};
use super::course::Course;
use super::device;
use super::gates::Gates;
use super::healer::{Due, HealTiming};
use super::hold::Hold;
use super::pace::{Pace, busy_pause};
use super::pulse::Pulse;
use super::round::{Consent, Round, RoundError, round};
use super::source::{Chain, Wanted, Wish};
use super::spool::Spool;
use super::standing::{Phase, Standing};
use super::supervisor::Passwords;
use super::watch::{Noise, Watch};
use crate::api::AgentApplied;
use crate::reconcile::apply::{Warrant, Warranted};
use crate::reconcile::heal::Healed;
use crate::routeros::client::Client;
use crate::routeros::error::CallError;
use crate::routeros::target::{Access, connect};

/// After a change on the router: the rest of what somebody does there is waited for, so that one reading finds all of it.
const SETTLE: Duration = Duration::from_secs(2);
/// Shortest time between two readings that noise asked for: a router on which something changes all the time is not read all the
/// time.
const READ_LEAST: Duration = Duration::from_secs(10);
/// A router that refuses what is wanted is looked at again after this, or at once if something else is wanted.
const REFUSED_PAUSE: Duration = Duration::from_mins(5);
/// Where nothing can be listened to, the router is read at least this often.
const DEAF_PERIOD: Duration = Duration::from_mins(5);

/// Keeps one router.
pub(super) struct Driver {
    pub(super) access: Access,
    pub(super) passwords: Option<Arc<dyn Passwords>>,
    pub(super) wish: watch::Receiver<Wish>,
    pub(super) gates: Gates,
    pub(super) standing: Standing,
    /// Where reports go, if there is a hub.
    pub(super) spool: Option<Arc<Spool>>,
    /// Where it says what is on the router.
    pub(super) applied: watch::Sender<Option<AgentApplied>>,
    /// The router is read this often, whatever is heard of it.
    pub(super) period: Duration,
    pub(super) max_removals: usize,
    /// What it may write with, if others could drive the router too.
    pub(super) lease: Warranted,
    /// What the router undid.
    pub(super) hold: Hold,
    /// Where the router is on its way to another tunnel.
    pub(super) course: Course,
    /// The times of healing.
    pub(super) healing: HealTiming,
    /// When the rows were last seen to be as wanted.
    pub(super) as_wanted: Option<Instant>,
    /// A round that failed may have left something undone: what the next one does is nobody's drift.
    pub(super) unfinished: bool,
    /// How the tunnel is, once it is known what is wanted.
    pub(super) pulse: Option<Pulse>,
    /// Set once the agent is to stop.
    pub(super) stop: CancellationToken,
}

/// Why a session ended.
enum Ended {
    /// The agent stops.
    Stop,
    /// The connection is gone.
    Lost(String),
}

/// Why a wait ended.
enum Woken {
    Stop,
    Lost(String),
    /// Something else is wanted.
    Wish,
    /// Something changed on the router.
    Noise(&'static str),
    /// It is time.
    Period,
    /// The router is to use the other of two tunnels.
    Turn,
    /// A step of healing is due.
    Heal(Due),
}

impl Driver {
    /// Keeps the router until the agent stops. A write that is under way is ended first.
    ///
    /// # Cancel safety
    /// As [`crate::reconcile::converge`]: the next run goes on from what is there.
    pub(super) async fn run(mut self: Box<Self>, start: Duration) {
        if self.sleep(start).await.is_err() {
            return;
        }
        let mut pace = Pace::default();
        loop {
            self.standing.phase(Phase::Waiting);
            let stop = self.stop.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                // A source that is gone has said all it will.
                _wanted = self.wish.wait_for(Option::is_some) => {}
            }
            self.standing.phase(Phase::Connecting);
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = self.open() => opened,
            };
            let why = match opened {
                Ok(mut client) => match self.session(&mut client, &mut pace).await {
                    Ended::Stop => return client.close().await,
                    Ended::Lost(why) => {
                        // It lets us in, and tells nothing: that is to be seen.
                        if let Some(pulse) = &mut self.pulse {
                            pulse.lost();
                        }
                        why
                    }
                },
                Err(why) => why,
            };
            let pause = pace.failed();
            let router = self.standing.name();
            if pace.failures() == 1 {
                tracing::warn!(router, why, "the router is not there: it is tried again");
            } else {
                tracing::debug!(router, why, failures = pace.failures(), ?pause, "the router is still not there");
            }
            self.standing.failed(why, pace.circuit());
            self.standing.phase(Phase::Connecting);
            if self.sleep(pause).await.is_err() {
                return;
            }
        }
    }

    /// Waits, unless the agent stops.
    async fn sleep(&self, pause: Duration) -> Result<(), ()> {
        tokio::select! {
            () = self.stop.cancelled() => Err(()),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    async fn open(&mut self) -> Result<Client, String> {
        if let Some(passwords) = &self.passwords {
            self.access.password = passwords.password().await.map_err(|error| Chain(&*error).to_string())?;
        }
        let opened = self.gates.connecting().await.briefly(connect(&self.access)).await;
        match opened {
            Ok(client) => {
                self.standing.note(|figures| figures.connects += 1);
                Ok(client)
            }
            Err(error) => {
                if let Some(pulse) = &mut self.pulse {
                    pulse.missed(&error);
                }
                Err(Chain(&error).to_string())
            }
        }
    }

    /// Watches the health of what is wanted now.
    fn feel(&mut self, wanted: &Arc<Wanted>, changed: bool) {
        let pulse = self.pulse.get_or_insert_with(|| {
            Pulse::new(wanted, &self.access.url.user, self.standing.clone(), self.spool.clone(), self.healing)
        });
        pulse.want(wanted);
        pulse.held(self.course.held());
        if changed {
            pulse.changed();
        }
    }

    /// Keeps the router over one connection.
    async fn session(&mut self, client: &mut Client, pace: &mut Pace) -> Ended {
        let mut watch: Option<Watch> = None;
        let mut drift = None;
        loop {
            let Some(wish) = self.wish.borrow_and_update().clone() else { return Ended::Stop };
            let wanted = match Box::pin(self.course.wanted(client, &wish)).await {
                Ok(wanted) => wanted,
                Err(error) => return Ended::Lost(Chain(&error).to_string()),
            };
            if let Some((phase, left)) = self.hold.on(&wanted, super::now()) {
                match self.hold_off(client, &wanted, phase, left).await {
                    Some(ended) => return ended,
                    None => continue,
                }
            }
            self.standing.phase(Phase::Working);
            // Before the reading: what changes while it comes in is heard.
            watch = match Self::listen(client, watch.take(), &wanted).await {
                Ok(listening) => Some(listening),
                Err(why) => return Ended::Lost(why),
            };
            let (begun, before) = (Instant::now(), client.round_trips());
            // Boxed, as everything large here: of a thousand routers, most only wait.
            let curious = self.as_wanted_since(&wanted);
            let lease = self.lease_of_run();
            let may = (self.max_removals, &lease);
            let consent = self.consent();
            let rounded = Box::pin(round(client, &self.access, &wanted, may, &consent, curious)).await;
            self.standing.note(|figures| {
                figures.rounds += 1;
                figures.round_trips += client.round_trips() - before;
            });
            self.unfinished |= rounded.is_err();
            let instead = rounded.as_ref().err().and_then(|error| self.course.failed(error));
            if rounded.as_ref().is_err_and(RoundError::is_undone) && instead.is_none() {
                self.hold.undone(&wanted);
            }
            let hands = if rounded.is_ok() { Hands::On } else { Hands::Off };
            let mut is_busy = false;
            let period = match rounded {
                Ok(round) => match self.kept(client, &mut watch, round, &wanted, drift, pace).await {
                    Ok(period) => period,
                    Err(why) => return Ended::Lost(why),
                },
                Err(RoundError::Withheld) if self.stop.is_cancelled() => return Ended::Stop,
                Err(RoundError::Withheld) => continue,
                Err(error) if error.is_lost() => return Ended::Lost(Chain(&error).to_string()),
                Err(_) if let Some(instead) = instead => {
                    tracing::warn!(
                        router = self.standing.name(),
                        instead,
                        "the router does not move to its next tunnel"
                    );
                    continue;
                }
                Err(error) => {
                    // A tunnel that is not as wanted may carry traffic all the same.
                    self.feel(&wanted, false);
                    self.refused(&error);
                    if error.is_undone() {
                        // That the rows changed was the router's undoing of it.
                        continue;
                    }
                    is_busy = error.is_passing();
                    if is_busy { busy_pause(chance()) } else { REFUSED_PAUSE }
                }
            };
            // What whoever is at work changes there is nothing to wait for longer for.
            let ears = watch.as_mut().filter(|_| !is_busy);
            drift = match self.wait(client, ears, begun, period, hands).await {
                Woken::Stop => return Ended::Stop,
                Woken::Lost(why) => return Ended::Lost(why),
                Woken::Heal(due) => {
                    match self.heal(client, &wanted, &due).await {
                        Ok(None) => {}
                        // What listened over the old one is gone with it.
                        Ok(Some(new)) => (*client, watch) = (new, None),
                        Err(why) => return Ended::Lost(why),
                    }
                    None
                }
                Woken::Noise(menu) => Some(menu),
                Woken::Wish | Woken::Period | Woken::Turn => None,
            };
        }
    }

    /// What decides right before the first write.
    fn consent(&self) -> Consent<'_> {
        Consent { gates: &self.gates, stop: &self.stop, wish: &self.wish, hold: &self.hold }
    }

    /// What a run that begins now may write by.
    fn lease_of_run(&self) -> Warranted {
        self.lease.clone().map(Warrant::of_run)
    }

    /// Waits as long as hands are held off; `Some` if the session is over.
    async fn hold_off(&mut self, client: &Client, wanted: &Arc<Wanted>, phase: Phase, left: Duration) -> Option<Ended> {
        if self.standing.figures().phase != phase {
            let (router, why, secs) = (self.standing.name(), phase.word(), left.as_secs());
            tracing::info!(router, why, secs, "hands are held off");
        }
        self.standing.note(|figures| (figures.phase, figures.is_away) = (phase, false));
        self.feel(wanted, false);
        match self.wait(client, None, Instant::now(), left.min(self.period), Hands::Off).await {
            Woken::Stop => Some(Ended::Stop),
            Woken::Lost(why) => Some(Ended::Lost(why)),
            Woken::Noise(_) | Woken::Wish | Woken::Period | Woken::Turn | Woken::Heal(_) => None,
        }
    }

    /// The router is as it is wanted: tells so, and begins to listen. Returns when it is to be read again.
    ///
    /// # Errors
    /// Why the session is over.
    async fn kept(
        &mut self,
        client: &mut Client,
        watch: &mut Option<Watch>,
        mut round: Round,
        wanted: &Arc<Wanted>,
        drift: Option<&'static str>,
        pace: &mut Pace,
    ) -> Result<Duration, String> {
        // What changed may be somebody else's row in the way of the tunnel.
        self.feel(wanted, round.changes > 0 || drift.is_some());
        if let Some(new) = round.client.take() {
            // What listened over the old one is gone with it.
            (*client, *watch) = (new, None);
        }
        if let Some(pulse) = &mut self.pulse {
            pulse.know(Healed::on(&round.observed, &wanted.site.id));
        }
        self.converged(&round, wanted, drift, pace);
        self.course.settle();
        let mut listening = match watch.take() {
            Some(listening) => listening,
            None => Self::listen(client, None, wanted).await?,
        };
        listening.know(&round.observed, round.writes > 0);
        let is_deaf = listening.heard() == 0;
        *watch = Some(listening);
        // Not before: what changes from now on is heard.
        self.standing.phase(Phase::Watching);
        Ok(match (round.writes, is_deaf) {
            (0, false) => self.period,
            (0, true) => self.period.min(DEAF_PERIOD),
            // What others changed while we wrote was not told from our own doing.
            _ => self.period.min(READ_LEAST),
        })
    }

    /// Begins to listen, or goes on, and forgets what was said until now.
    async fn listen(client: &Client, watch: Option<Watch>, wanted: &Wanted) -> Result<Watch, String> {
        match watch {
            Some(mut watch) => {
                watch.forget();
                Ok(watch)
            }
            None => Box::pin(Watch::begin(client, &wanted.site.id)).await.map_err(|error| error.to_string()),
        }
    }

    /// Notes that the router is as wanted, and tells the hub.
    fn converged(&mut self, round: &Round, wanted: &Wanted, heard: Option<&'static str>, pace: &mut Pace) {
        pace.succeeded();
        let known = self.standing.figures();
        // The first round of all, and one after a new wish, change what nobody touched.
        let is_drift = round.changes > 0
            && !self.unfinished
            && known.revision == wanted.revision
            && known.rounds > 1
            && !self.course.is_turning();
        self.standing.note(|figures| {
            figures.is_away = false;
            figures.trouble = None;
            figures.revision = wanted.revision;
            figures.turns += u64::from(self.course.is_turning());
            figures.generation = wanted.site.generation;
            figures.beside = wanted.site.beside.as_ref().map(|beside| beside.generation);
            figures.writes += round.writes;
            figures.drifts += u64::from(is_drift);
        });
        (self.as_wanted, self.unfinished) = (Some(Instant::now()), false);
        let (router, who) = (self.standing.name(), round.who.as_deref());
        for change in &round.done {
            tracing::info!(router, change, is_drift, heard, who, "written");
        }
        if let Some(pulse) = self.pulse.as_mut().filter(|_| is_drift) {
            let by = who.map_or_else(|| "who it was the router does not tell".to_owned(), |who| format!("by {who}"));
            pulse.drifted(heard.unwrap_or("rows"), format!("put back, {by}: {}", round.done.join("; ")));
        }
        if let Some(applied) = device::applied(&wanted.site, wanted.revision, &round.observed) {
            self.applied.send_if_modified(|told| {
                let what = |applied: &AgentApplied| (applied.revision, applied.public_key, applied.next);
                let is_news = told.as_ref().is_none_or(|told| what(told) != what(&applied));
                if is_news {
                    *told = Some(applied);
                }
                is_news
            });
        }
    }

    fn refused(&self, error: &RoundError) {
        let why = Chain(error).to_string();
        let router = self.standing.name();
        if self.standing.figures().trouble.as_ref() != Some(&why) {
            tracing::error!(router, why, "the router is not brought to what is wanted");
        }
        self.standing.note(|figures| {
            (figures.phase, figures.is_away) = (Phase::Refused, false);
            figures.failures += 1;
            figures.trouble = Some(why);
        });
    }

    /// Looks after the tunnel's health until the router has to be read again.
    async fn wait(
        &mut self,
        client: &Client,
        watch: Option<&mut Watch>,
        begun: Instant,
        period: Duration,
        hands: Hands,
    ) -> Woken {
        let (mut watch, until) = (watch, Instant::now() + period);
        let woken = loop {
            let noise = async {
                match &mut watch {
                    Some(watch) => watch.noise().await,
                    None => std::future::pending().await,
                }
            };
            let due = self.pulse.as_ref().map_or(until, Pulse::due);
            let turn = self.course.due().unwrap_or(until);
            // What is due goes before noise: where rows change all the time, nobody would look any more.
            let is_late = self.pulse.is_some() && due <= Instant::now();
            tokio::select! {
                () = self.stop.cancelled() => break Woken::Stop,
                Ok(()) = self.wish.changed() => break Woken::Wish,
                () = tokio::time::sleep_until(until) => break Woken::Period,
                noise = noise, if !is_late => match noise {
                    Noise::Changed(menu) => break Woken::Noise(menu),
                    Noise::Lost => break Woken::Lost("the connection ended".to_owned()),
                },
                () = tokio::time::sleep_until(due) => {}
                () = tokio::time::sleep_until(turn), if self.course.due().is_some() => {
                    match self.see(client).await {
                        Some(Ok(true)) => break Woken::Turn,
                        Some(Ok(false)) | None => continue,
                        Some(Err(error)) => break Woken::Lost(error.to_string()),
                    }
                }
            }
            // Not to be cut short by noise: half a look would tell nothing.
            if let Some(Err(error)) = self.look(client).await {
                break Woken::Lost(error.to_string());
            }
            // A move from one tunnel to the next has its own course.
            if hands == Hands::On
                && !self.is_held()
                && !self.course.is_on()
                && let Some(due) = self.pulse.as_mut().and_then(Pulse::take_step)
            {
                break Woken::Heal(due);
            }
        };
        if let Woken::Noise(menu) = woken {
            let settled = SETTLE.max(READ_LEAST.saturating_sub(begun.elapsed()));
            tracing::debug!(router = self.standing.name(), menu, ?settled, "something changed on the router");
            if self.sleep(settled).await.is_err() {
                return Woken::Stop;
            }
        }
        woken
    }

    /// Looks at the tunnels of a move; whether the router is to use the other one. `None` if the agent stops.
    async fn see(&mut self, client: &Client) -> Option<Result<bool, CallError>> {
        let looked = tokio::select! {
            () = self.stop.cancelled() => return None,
            looked = Box::pin(self.course.look(client)) => looked,
        };
        Some(looked.map(|turn| {
            if let Some(evidence) = &turn {
                tracing::warn!(
                    router = self.standing.name(),
                    evidence,
                    "the router takes the other one of its tunnels"
                );
            }
            turn.is_some()
        }))
    }

    /// Looks at the tunnel once; `None` if there is none yet, or the agent stops.
    async fn look(&mut self, client: &Client) -> Option<Result<(), CallError>> {
        let pulse = self.pulse.as_mut()?;
        tokio::select! {
            () = self.stop.cancelled() => None,
            looked = Box::pin(pulse.look(client)) => Some(looked),
        }
    }
}
