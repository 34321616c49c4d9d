//! Runs one router or a fleet: a task each, begun one after the other, ended together.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::gates::Gates;
use super::source::Source;
use super::spool::Spool;
use super::standing::{Phase, Standing};
use super::teller::Teller;
use crate::domain::Secret;
use crate::routeros::target::Access;

/// How long a write that is under way may take to end when the agent stops: a handful of round trips over a slow link.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// How long the hub's side may take after that: see [`Teller`].
const LAST_WORDS_DEADLINE: Duration = Duration::from_secs(5);

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
    members: Vec<(Member, Standing)>,
    settings: Settings,
}

impl Supervisor {
    /// Of these routers; nothing is begun yet.
    #[must_use]
    pub fn new(members: Vec<Member>, settings: Settings) -> Self {
        let members = members.into_iter().map(|member| {
            let standing = Standing::new(&member.name);
            (member, standing)
        });
        Self { members: members.collect(), settings }
    }

    /// Returns how each router stands, now and while it runs.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.members.iter().map(|(_, standing)| standing.clone()).collect()
    }

    /// Keeps the routers until `stop` is ready; then ends what is under way, for at most [`DRAIN_DEADLINE`].
    ///
    /// # Cancel safety
    /// Dropping it ends everything at once, as a power cut would.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let token = CancellationToken::new();
        let (mut drivers, mut tellers, mut followers) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let count = u32::try_from(self.members.len()).unwrap_or(u32::MAX).max(1);
        for (index, (member, standing)) in (0u32..).zip(self.members) {
            let hub = match &member.source {
                Source::Hub(follow) => Some(follow.hub.clone()),
                Source::File(_) => None,
            };
            let (wish, follower) = member.source.begin(&standing);
            let (applied, told) = watch::channel(None);
            let spool = hub.as_ref().map(|_| Arc::new(Spool::default()));
            if let Some(follower) = follower {
                followers.spawn(follower.run());
            }
            if let (Some(hub), Some(spool)) = (hub, &spool) {
                let (epoch, spool, standing) = (self.settings.epoch.clone(), Arc::clone(spool), standing.clone());
                tellers.spawn(Teller { hub, epoch, spool, applied: told, standing }.run());
            }
            let driver = Driver {
                access: member.access,
                passwords: member.passwords,
                wish,
                gates: self.settings.gates.clone(),
                standing: standing.clone(),
                spool,
                applied,
                period: self.settings.period,
                max_removals: self.settings.max_removals,
                pulse: None,
                stop: token.clone(),
            };
            let start = self.settings.start_within * index / count;
            drivers.spawn(watched(driver.run(start), standing));
        }
        // They end only if they are told to, or in a panic, which concerns one of them.
        let all = async {
            while drivers.join_next().await.is_some() {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = all => {}
            () = stop => {}
        }
        token.cancel();
        let drained = tokio::time::timeout(DRAIN_DEADLINE, drivers.join_all()).await.is_ok();
        let told = tokio::time::timeout(LAST_WORDS_DEADLINE, tellers.join_all()).await.is_ok();
        tracing::info!(drained, told, "the agent stops");
    }
}

/// A driver's end is noted, if it was not told to end.
async fn watched(driver: impl Future<Output = ()>, standing: Standing) {
    struct Ended(Standing);
    impl Drop for Ended {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.note(|figures| {
                    figures.phase = Phase::Refused;
                    figures.trouble =
                        Some("the task of this router ended in a panic: restart the agent, and report this".to_owned());
                });
            }
        }
    }
    let _ended = Ended(standing);
    driver.await;
}
