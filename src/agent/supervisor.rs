//! Runs one router or a fleet: a task each, begun one after the other, exchanged on demand, ended together.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::course::Course;
use super::driver::Driver;
use super::gates::Gates;
use super::healer::HealTiming;
use super::hold::Hold;
use super::source::Source;
use super::spool::{MAX_WAITING, Shelf, Spool};
use super::standing::{Roll, Standing};
use super::teller::Teller;
use crate::api::PeerId;
use crate::domain::{Secret, Site};
use crate::routeros::target::Access;

/// How long a write that is under way may take to end when the agent stops: a handful of round trips over a slow link.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// How long the hub's side may take after that: see [`Teller`].
const LAST_WORDS_DEADLINE: Duration = Duration::from_secs(5);

/// What is shown of a router whose task ended by a fault of ours.
#[cfg(panic = "unwind")]
const GONE: &str = "the task of this router is gone: restart the agent, and report this";

/// Who knows a router's password.
#[async_trait]
pub trait Passwords: fmt::Debug + Send + Sync {
    /// Returns it as it is now.
    ///
    /// # Errors
    /// Why there is none; never with any of it.
    async fn password(&self) -> Result<Secret, Box<dyn std::error::Error + Send + Sync>>;
}

/// One router of a supervisor.
#[derive(Debug)]
pub struct Member {
    /// What it is called in logs and metrics.
    pub name: String,
    /// How to get in.
    pub access: Access,
    /// Where the password comes from, if it is asked for at each connection; else it is the one in `access`.
    pub passwords: Option<Arc<dyn Passwords>>,
    /// What is wanted of it.
    pub source: Source,
}

/// What holds for all routers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Each router is read this often, whatever is heard of it.
    pub period: Duration,
    /// Most rows that one plan may take out.
    pub max_removals: usize,
    /// The routers are begun with at moments spread over this: a region that comes back from a power cut does not stampede.
    pub start_within: Duration,
    /// How many at once.
    pub gates: Gates,
    /// Where numbers of reports count from: random, and another one at each start.
    pub epoch: String,
}

/// Keeps routers.
#[derive(Debug)]
pub struct Supervisor {
    members: Vec<Member>,
    settings: Settings,
    shelf: Option<Arc<dyn Shelf>>,
    roll: Roll,
    healing: HealTiming,
    freezes: Option<PathBuf>,
}

impl Supervisor {
    /// Of these routers; nothing is begun yet.
    #[must_use]
    pub fn new(members: Vec<Member>, settings: Settings) -> Self {
        Self { members, settings, shelf: None, roll: Roll::default(), healing: HealTiming::default(), freezes: None }
    }

    /// The same; reports that wait for a hub are kept on a shelf too, so that they survive the process.
    #[must_use]
    pub fn with_shelf(self, place: Arc<dyn Shelf>) -> Self {
        Self { shelf: Some(place), ..self }
    }

    /// Looks for freezes of this host in a folder: see [`super::freeze`].
    #[must_use]
    pub fn freezes_in(self, folder: Option<PathBuf>) -> Self {
        Self { freezes: folder, ..self }
    }

    /// Heals by other times.
    #[must_use]
    pub fn healing(self, healing: HealTiming) -> Self {
        Self { healing, ..self }
    }

    /// Returns where the routers stand, while it runs and after it.
    #[must_use]
    pub fn roll(&self) -> Roll {
        self.roll.clone()
    }

    /// Keeps the routers until `stop` is ready; then ends what is under way, for at most [`DRAIN_DEADLINE`].
    ///
    /// Whatever comes out of `fleets` takes the place of the routers that are kept: one that is the same goes on undisturbed, one
    /// that is not is ended first. No router is ever driven twice.
    ///
    /// # Cancel safety
    /// Dropping it ends everything at once, as a power cut would.
    pub async fn run(self, stop: impl Future<Output = ()>, mut fleets: mpsc::Receiver<Vec<Member>>) {
        let ending = CancellationToken::new();
        let mut crew = Crew {
            settings: self.settings,
            shelf: self.shelf,
            healing: self.healing,
            freezes: self.freezes,
            roll: self.roll,
            begun: 0,
            ending: ending.clone(),
            units: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        crew.muster(self.members);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(members) = fleets.recv() => crew.muster(members),
                Some(ended) = crew.tasks.join_next(), if !crew.tasks.is_empty() => note(ended),
            }
        }
        ending.cancel();
        let all = async {
            while let Some(ended) = crew.tasks.join_next().await {
                note(ended);
            }
        };
        let drained = tokio::time::timeout(DRAIN_DEADLINE + LAST_WORDS_DEADLINE, all).await.is_ok();
        tracing::info!(drained, "the agent stops");
    }
}

/// A panic concerns one router; the hook has said where it was.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a router is gone: restart the agent, and report this");
    }
}

/// The routers that are kept, or are being let go of.
struct Crew {
    settings: Settings,
    shelf: Option<Arc<dyn Shelf>>,
    healing: HealTiming,
    freezes: Option<PathBuf>,
    roll: Roll,
    /// Tasks ever begun.
    begun: u64,
    ending: CancellationToken,
    units: BTreeMap<String, Unit>,
    tasks: JoinSet<()>,
}

/// One router's task.
struct Unit {
    /// What it was made of; `None` once it is let go of.
    recipe: Option<Recipe>,
    stop: CancellationToken,
    /// Set when its task has ended, however it did.
    ended: CancellationToken,
}

impl Crew {
    /// Keeps these routers, and no others.
    fn muster(&mut self, members: Vec<Member>) {
        let wanted: BTreeMap<&str, Recipe> =
            members.iter().map(|member| (member.name.as_str(), member.recipe())).collect();
        for (name, unit) in &mut self.units {
            if unit.recipe.is_some() && unit.recipe.as_ref() != wanted.get(name.as_str()) {
                unit.stop.cancel();
                unit.recipe = None;
                self.roll.strike(name);
                tracing::info!(router = name, "is let go of");
            }
        }
        let is_new = |member: &Member| self.units.get(&member.name).is_none_or(|unit| unit.recipe.is_none());
        let new: Vec<Member> = members.into_iter().filter(is_new).collect();
        let count = u32::try_from(new.len()).unwrap_or(u32::MAX).max(1);
        for (index, member) in (0u32..).zip(new) {
            self.begin(member, self.settings.start_within * index / count);
        }
    }

    fn begin(&mut self, member: Member, start: Duration) {
        let (stop, ended) = (self.ending.child_token(), CancellationToken::new());
        let unit = Unit { recipe: Some(member.recipe()), stop: stop.clone(), ended: ended.clone() };
        let before = self.units.insert(member.name.clone(), unit).map(|unit| unit.ended);
        let standing = Standing::new(&member.name);
        self.roll.enter(standing.clone());
        self.begun += 1;
        let care = Care {
            // Each task counts its reports from one: in an epoch that was before, the hub would take them for old ones.
            settings: Settings { epoch: format!("{}-{}", self.settings.epoch, self.begun), ..self.settings.clone() },
            shelf: self.shelf.clone(),
            healing: self.healing,
            freezes: self.freezes.clone(),
        };
        self.tasks.spawn(async move {
            let _ended: DropGuard = ended.drop_guard();
            if let Some(before) = before {
                before.cancelled().await;
            }
            let kept = Box::pin(keep(member, care, standing.clone(), start, stop));
            // Else it ends the process, and whatever began that begins it anew.
            #[cfg(panic = "unwind")]
            let kept = shown(&standing, kept);
            kept.await;
        });
    }
}

/// Has it shown if a task ends by a fault of ours.
#[cfg(panic = "unwind")]
async fn shown(standing: &Standing, kept: impl Future<Output = ()>) {
    use futures_util::FutureExt as _;
    if let Err(fault) = std::panic::AssertUnwindSafe(kept).catch_unwind().await {
        standing.failed(GONE.to_owned(), super::pace::Circuit::Open);
        std::panic::resume_unwind(fault);
    }
}

/// What every router's task gets.
struct Care {
    settings: Settings,
    shelf: Option<Arc<dyn Shelf>>,
    healing: HealTiming,
    freezes: Option<PathBuf>,
}

/// Keeps one router: its driver, and those who talk to its hub, until it is told to stop.
async fn keep(
    member: Member,
    Care { settings, shelf, healing, freezes }: Care,
    standing: Standing,
    start: Duration,
    stop: CancellationToken,
) {
    let peer = match &member.source {
        Source::Hub(follow) => Some(follow.peer.clone()),
        Source::File(_) => None,
    };
    let (hub, lease) = match &member.source {
        Source::Hub(follow) => {
            let paths = ["applied", "reports"].map(|what| follow.path(what));
            (Some((follow.hub.clone(), paths)), follow.lease.clone())
        }
        Source::File(_) => (None, None),
    };
    let (wish, follower) = member.source.begin(&standing);
    let (applied, told) = watch::channel(None);
    let spool = peer.as_ref().zip(hub.as_ref()).map(|(peer, (hub, _))| {
        let spool = Spool::with_room(MAX_WAITING, &settings.epoch);
        Arc::new(match &shelf {
            Some(shelf) => spool.on(&**shelf, &hub.place(), peer),
            None => spool,
        })
    });
    let teller = hub.zip(spool.clone()).map(|((hub, paths), spool)| Teller {
        hub,
        paths,
        spool,
        applied: told,
        told: None,
        standing: standing.clone(),
    });
    // Behind a pointer: what is handed on to a future by value is in it more than once.
    let driver = Box::new(Driver {
        access: member.access,
        passwords: member.passwords,
        wish,
        gates: settings.gates.clone(),
        standing,
        spool,
        applied,
        period: settings.period,
        max_removals: settings.max_removals,
        lease,
        hold: Hold::new(freezes),
        course: Course::default(),
        as_wanted: None,
        unfinished: false,
        healing,
        pulse: None,
        stop,
    });
    // Written where they run: a future that is moved has its place twice in the one that it is moved within.
    tokio::join!(
        async {
            tokio::select! {
                () = driver.run(start) => {}
                () = async {
                    match follower {
                        Some(follower) => Box::pin(follower.run()).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        },
        // It ends after the driver, once it has said all or its time is over.
        async {
            if let Some(teller) = teller {
                Box::pin(teller.run()).await;
            }
        },
    );
}

/// What a router's task is made of: another recipe is another task.
#[derive(Debug, PartialEq)]
struct Recipe {
    /// Address, user, trust; a password in it is not shown, and so not compared.
    access: String,
    passwords: String,
    source: Origin,
}

#[derive(Debug, PartialEq)]
enum Origin {
    File(Box<Site>),
    Hub(String, PeerId, Option<i64>),
}

impl Member {
    fn recipe(&self) -> Recipe {
        let source = match &self.source {
            Source::File(site) => Origin::File(site.clone()),
            Source::Hub(follow) => {
                let number = follow.lease.as_ref().map(|lease| lease.number());
                Origin::Hub(follow.hub.place(), follow.peer.clone(), number)
            }
        };
        Recipe { access: format!("{:?}", self.access), passwords: format!("{:?}", self.passwords), source }
    }
}
