//! An agent that runs in this process until the test stops it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sitepeer::agent::standing::{Figures, Roll, Standing};
use sitepeer::agent::{Follow, Gates, HealTiming, Kept, Member, Settings, Source, Supervisor};
use sitepeer::domain::{Secret, Site};
use sitepeer::routeros::target::Access;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::hub::{CREDENTIAL, PEER, Scene};

/// Longest wait for anything that an agent does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent at work.
pub struct Running {
    pub roll: Roll,
    /// Takes the place of the routers that are kept.
    pub fleets: mpsc::Sender<Vec<Member>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(access: Access, source: Source) -> Self {
        Self::of_members(vec![Member { name: "router".to_owned(), access, passwords: None, source }])
    }

    pub fn of_members(members: Vec<Member>) -> Self {
        Self::healing(members, HealTiming::default())
    }

    /// With other times of healing.
    pub fn healing(members: Vec<Member>, healing: HealTiming) -> Self {
        Self::with(members, healing, None)
    }

    /// With a folder in which freezes of this host stand.
    pub fn freezing(members: Vec<Member>, folder: &Path) -> Self {
        Self::with(members, HealTiming::default(), Some(folder.to_owned()))
    }

    fn with(members: Vec<Member>, healing: HealTiming, freezes: Option<PathBuf>) -> Self {
        let settings = Settings {
            period: Duration::from_mins(15),
            max_removals: 10,
            start_within: Duration::ZERO,
            gates: Gates::new(1, 1),
            epoch: "e1".to_owned(),
        };
        let supervisor = Supervisor::new(members, settings).healing(healing).freezes_in(freezes);
        let roll = supervisor.roll();
        let (stop, stopped) = oneshot::channel();
        let (fleets, news) = mpsc::channel(1);
        let task = tokio::spawn(supervisor.run(async move { drop(stopped.await) }, news));
        Self { roll, fleets, stop, task }
    }

    pub fn of_file(access: Access, site: Site) -> Self {
        Self::start(access, Source::File(Box::new(site)))
    }

    /// As one that was enrolled at the scene's hub.
    pub fn of_hub(scene: &Scene) -> Self {
        Self::start(scene.world.access(), Self::source_of(scene))
    }

    pub fn source_of(scene: &Scene) -> Source {
        let peer = PEER.parse().unwrap();
        let kept = Some(Kept::open(scene.folder.path(), &scene.url().to_string(), &peer).unwrap());
        let hub = scene.hub().with_credential(Secret::new(CREDENTIAL.to_owned()));
        Source::Hub(Box::new(Follow { hub, peer, kept, lease: None }))
    }

    /// How its only router stands; nothing is known of one that is not kept yet.
    pub fn figures(&self) -> Figures {
        self.roll.all().first().map(Standing::figures).unwrap_or_default()
    }

    /// Waits for the figures to be as wanted, and returns them.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Figures) -> bool) -> Figures {
        let begun = Instant::now();
        loop {
            let figures = self.figures();
            if is_so(&figures) {
                return figures;
            }
            assert!(begun.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}: {figures:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it as SIGTERM does, and waits for its end.
    pub async fn stop(self) -> Figures {
        let Self { roll, stop, task, .. } = self;
        stop.send(()).unwrap();
        task.await.unwrap();
        roll.all().first().map(Standing::figures).unwrap_or_default()
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Waits until something is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
