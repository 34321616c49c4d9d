//! A gateway's whole life.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::desired::Store;
use super::disk::StateDir;
use super::keeper::Keeper;
use super::serve::Host;
use super::talk::{Ears, Heard, Patience, report_last, tell_outcomes, tell_traffic, write_down};
use super::traffic::Traffic;
use super::{GatewayError, GatewayOptions};
use crate::uplink::{Retry, UplinkError};

/// How often devices are read at least; handshakes follow each other every two minutes.
const LOOK_MOST: Duration = Duration::from_secs(10);
/// How often reports are made until the hub says how often it wants them.
const REPORT_FIRST: Duration = Duration::from_secs(10);
/// Shortest time between reports.
const REPORT_LEAST: Duration = Duration::from_secs(1);
/// Shortest time for a poll that brings nothing: a proxy with little patience, or a hub gone wrong, answers at once what was to wait,
/// and would be asked thousands of times a second.
const NOTHING_LEAST: Duration = Duration::from_secs(1);
/// When everything is asked for again after something was refused: the hub may have mended it without a word.
const ASK_AGAIN: Duration = Duration::from_mins(10);

/// Serves what the hub wants until `stop` is done. Tunnels come up from disk before the hub is asked, and stay when it is away.
///
/// # Errors
/// [`GatewayError::Disk`] if the state directory cannot be used or trusted; [`GatewayError::Refused`] if the hub refuses this
/// gateway for good and there is nothing to serve without it.
///
/// # Cancel safety
/// Dropping it ends the gateway as a crash would: nothing that was acknowledged is lost.
pub async fn run(options: GatewayOptions, stop: impl Future<Output = ()>) -> Result<(), GatewayError> {
    let disk = Arc::new(StateDir::open(&options.state_dir)?);
    disk.forget_old(SystemTime::now())?;
    let (store, desired) = Store::open(&disk.file("desired.log"))?;
    let traffic = Arc::new(Traffic::open(&disk.file("traffic.log"))?);
    let (look, look_every) = watch::channel(LOOK_MOST);
    let (report, report_every) = watch::channel(REPORT_FIRST);
    let host = Host::new(Arc::clone(&options.planes), Arc::clone(&disk), Arc::clone(&traffic), look_every);
    let keeper = Arc::new(Keeper::start(Arc::new(host), store, desired));
    let (greeted, known) = watch::channel(false);
    let pace = Pace { wanted: options.report_every, look, report, greeted };
    let mut tasks = JoinSet::new();
    tasks.spawn(tell_outcomes(Arc::clone(&keeper), options.hub.clone(), known.clone()));
    tasks.spawn(write_down(Arc::clone(&traffic), report_every.clone()));
    tasks.spawn(tell_traffic(Arc::clone(&traffic), options.hub.clone(), report_every, known));
    let mut gateway = Gateway { ears: Ears::new(&options, disk.install()), keeper, options, pace };
    let ended = tokio::select! {
        error = gateway.follow() => Err(error),
        () = stop => Ok(()),
    };
    tasks.shutdown().await;
    gateway.keeper.stop().await;
    traffic.flush(SystemTime::now())?;
    if ended.is_ok() {
        report_last(traffic, &gateway.options.hub).await;
    }
    ended
}

/// How often devices are read and reported.
struct Pace {
    wanted: Option<Duration>,
    look: watch::Sender<Duration>,
    report: watch::Sender<Duration>,
    /// The hub knows us: it may be told things.
    greeted: watch::Sender<bool>,
}

impl Pace {
    fn set(&self, every: Duration) {
        let every = self.wanted.unwrap_or(every).max(REPORT_LEAST);
        self.report.send_replace(every);
        self.look.send_replace(every.min(LOOK_MOST));
        self.greeted.send_replace(true);
    }
}

struct Gateway {
    ears: Ears,
    keeper: Arc<Keeper>,
    options: GatewayOptions,
    pace: Pace,
}

impl Gateway {
    /// Follows the hub; ends only if there is no sense in going on.
    async fn follow(&mut self) -> GatewayError {
        let mut patience = Patience::new();
        // Everything, once: it heals whatever went apart, and tells which leftovers are nobody's.
        let mut full_at = Some(Instant::now());
        loop {
            let full = full_at.is_some_and(|at| at <= Instant::now());
            match self.round(full).await {
                Ok(next_full) => {
                    patience.reset();
                    full_at = next_full.or(full_at.filter(|_| !full));
                }
                Err(Trouble::Hub(error)) => {
                    if error.problem().is_some() {
                        self.ears.forget();
                    }
                    if error.retry() == Retry::Never && self.keeper.is_empty() && error.problem().is_some() {
                        return GatewayError::Refused(Box::new(error));
                    }
                    let pause = patience.after(&error);
                    tracing::warn!(%error, pause_secs = pause.as_secs_f32(), "the hub is away, tunnels go on as they are");
                    sleep(pause).await;
                }
                Err(Trouble::Again(why)) => {
                    tracing::error!(%why, "everything is asked for again");
                    full_at = Some(Instant::now());
                    sleep(patience.before_everything()).await;
                }
            }
        }
    }

    /// One question and what follows from the answer. Returns when everything is to be asked for again.
    async fn round(&mut self, full: bool) -> Result<Option<Instant>, Trouble> {
        if let Some(report_every) = self.ears.greet().await.map_err(Trouble::Hub)? {
            self.pace.set(report_every);
        }
        let since = (!full).then(|| self.keeper.revision());
        let asked = Instant::now();
        match self.ears.hear(since).await.map_err(Trouble::Hub)? {
            Heard::Nothing => {
                sleep_until(asked + NOTHING_LEAST).await;
                Ok(None)
            }
            Heard::Nonsense(why) => Err(Trouble::Again(format!("the hub contradicts itself: {why}"))),
            Heard::Change(delta, refused) => {
                let (is_full, is_refused) = (delta.full, !refused.is_empty());
                let taken = self.keeper.take(*delta, refused).await;
                taken.map_err(|error| Trouble::Again(format!("the state is not written down: {error}")))?;
                if is_full {
                    self.remove_leftovers().await;
                }
                Ok(is_refused.then(|| Instant::now() + ASK_AGAIN))
            }
        }
    }

    /// Takes down what an earlier run left of instances that the hub, asked for everything, did not list.
    async fn remove_leftovers(&self) {
        let found = match self.options.planes.found().await {
            Ok(found) => found,
            Err(error) => return tracing::error!(%error, "it is not known what an earlier run left"),
        };
        for id in found.into_iter().filter(|id| !self.keeper.knows(id)) {
            match self.options.planes.remove(&id).await {
                Ok(()) => tracing::info!(instance = %id, "what an earlier run left is removed"),
                Err(error) => tracing::error!(instance = %id, %error, "what an earlier run left stays"),
            }
        }
    }
}

/// Why a round did not end well.
enum Trouble {
    Hub(UplinkError),
    /// Ask for everything.
    Again(String),
}
