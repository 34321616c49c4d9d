//! `kill -9` of an agent's process at every step of what it does, two hundred rounds of it.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sitepeer::agent::standing::Phase;
use sitepeer::cli::args::Subject;
use tokio::sync::mpsc;

use crate::meddler::{Fate, Meddler, Said};
use crate::run::{self, access};
use crate::running::{Running, until};
use crate::site::SiteText;
use crate::world::{Rows, World, assert_same, foreign, shape};

/// Rounds of one test: four of them, so that they share the cores.
const ROUNDS: u64 = 50;
/// Longest wait for a process to reach its last step.
const PATIENCE: Duration = Duration::from_secs(30);
/// Some more writes than a router without rows of ours needs, and than a change of them needs.
const MOST_WRITES: u64 = 24;
const MOST_CHANGES: u64 = 8;

/// Numbers that follow from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Where a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Its n-th write is sent, and never arrives.
    Before(u64),
    /// Its n-th write arrives, and the answer never does.
    After(u64),
    /// So long after its first command.
    Later(Duration),
}

impl Moment {
    fn any(dice: &mut Dice, writes: u64) -> Self {
        let n = 1 + dice.below(writes);
        match dice.below(3) {
            0 => Self::Before(n),
            1 => Self::After(n),
            _ => Self::Later(Duration::from_millis(dice.below(120))),
        }
    }
}

/// What the go-between looks out for, and what it has seen.
struct Lookout {
    moment: Option<Moment>,
    writes: u64,
    /// Everything a process says after its last step is not heard.
    is_over: bool,
    reached: mpsc::Sender<()>,
}

impl Lookout {
    fn command(&mut self, said: &Said) -> Fate {
        if self.is_over {
            return Fate::Answer(Vec::new());
        }
        let is_write = [b"/add".as_slice(), b"/set", b"/remove", b"/move"].iter().any(|verb| said[0].ends_with(verb));
        self.writes += u64::from(is_write);
        match self.moment {
            Some(Moment::Before(n)) if is_write && self.writes == n => self.over(),
            Some(Moment::Later(_)) => {
                self.reached.try_send(()).unwrap_or_default();
                Fate::Pass
            }
            // It has done all it had to, and looks how the tunnel is.
            // It has done all it had to, and looks how the tunnel is.
            Some(_) if said[0].ends_with(b"/ping") => self.over(),
            _ => Fate::Pass,
        }
    }

    fn answer(&mut self, said: Said) -> Vec<Said> {
        if self.is_over {
            return Vec::new();
        }
        match self.moment {
            // Writes are answered in turn: the n-th is done once there were n, and nothing was heard of it.
            Some(Moment::After(n)) if self.writes >= n => {
                self.over();
                Vec::new()
            }
            _ => vec![said],
        }
    }

    fn over(&mut self) -> Fate {
        self.is_over = true;
        self.reached.try_send(()).unwrap_or_default();
        Fate::Answer(Vec::new())
    }
}

/// A site like any other: what differs from round to round is what makes something to do.
fn site(base: &SiteText, dice: &mut Dice) -> SiteText {
    let mut site = base.clone();
    let reach = ["192.168.89.0/24", "192.168.90.0/24", "10.20.0.0/16", "172.20.8.0/21", "192.168.92.0/23"];
    site.reach = vec!["10.99.0.0/24".to_owned()];
    site.reach.extend(reach.into_iter().filter(|_| dice.below(2) == 0).map(str::to_owned));
    site.keepalive_secs = [20, 25, 30][usize::try_from(dice.below(3)).unwrap()];
    site.mtu = [None, Some(1400), Some(1380)][usize::try_from(dice.below(3)).unwrap()];
    site.listen_port = (dice.below(3) == 0).then_some(13_231);
    site
}

fn start(folder: &std::path::Path, site: &SiteText, router: std::net::SocketAddr) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
    command.args(["agent", "--json", "--router", &format!("api://admin@{router}"), "--site"]);
    command.arg(site.write(folder)).env("SITEPEER_ROUTER_PASSWORD", "");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Rows in whatever order, without what differs between two hubs' clients.
fn settled(mut rows: Rows) -> Rows {
    for rows in rows.values_mut() {
        for row in rows.iter_mut() {
            *row = row.split(' ').filter(|word| !word.starts_with("current-endpoint")).collect::<Vec<_>>().join(" ");
        }
        rows.sort();
    }
    rows
}

async fn rounds(seed: u64) {
    let (world, undisturbed) = (World::start().await, World::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(seed);
    let before = foreign(&world);
    let (sender, mut reached) = mpsc::channel(1);
    let lookout = Arc::new(Mutex::new(Lookout { moment: None, writes: 0, is_over: false, reached: sender }));
    let (commands, answers) = (Arc::clone(&lookout), Arc::clone(&lookout));
    let meddler = Meddler::start(
        &world.router,
        move |said| commands.lock().unwrap().command(said),
        move |_, said| answers.lock().unwrap().answer(said),
    )
    .await;
    let (mut cut, mut written) = (0, 0);
    for round in 0..ROUNDS {
        let (site, is_clean) = (site(&world.site(), &mut dice), round == 0 || dice.below(3) == 0);
        let moment = Moment::any(&mut dice, if is_clean { MOST_WRITES } else { MOST_CHANGES });
        let when = format!("seed {seed}, round {round}, from a clean router: {is_clean}, {moment:?}");
        if is_clean && round > 0 {
            // By the same way as the agents: a lock that one of them left is known for a dead one's.
            let access = access("admin", "", meddler.address);
            run::remove(access, Subject::Only).await.assert_result("removed");
            undisturbed.remove(Subject::Only).await.assert_result("removed");
        }
        {
            let mut lookout = lookout.lock().unwrap();
            (lookout.moment, lookout.writes, lookout.is_over) = (Some(moment), 0, false);
        }
        while reached.try_recv().is_ok() {}
        let mut child = start(folder.path(), &site, meddler.address);
        let waited = tokio::time::timeout(PATIENCE, reached.recv()).await;
        assert!(waited.is_ok_and(|reached| reached.is_some()), "{when}: the process reaches nothing");
        if let Moment::Later(pause) = moment {
            tokio::time::sleep(pause).await;
        }
        // SIGKILL, as std documents it.
        child.kill().unwrap();
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        {
            let mut lookout = lookout.lock().unwrap();
            cut += u64::from(matches!(moment, Moment::Before(n) | Moment::After(n) if lookout.writes >= n));
            written += lookout.writes;
            (lookout.moment, lookout.is_over) = (None, false);
        }
        until("the session of the killed one is over", || world.router.sessions() == 0).await;
        let agent = Running::of_file(access("admin", "", meddler.address), site.load());
        agent.until(&format!("as wanted ({when})"), |figures| figures.phase == Phase::Watching).await;
        agent.stop().await;
        undisturbed.apply_only(&site).await;
        assert_same(&settled(shape(&undisturbed)), &settled(shape(&world)), &when);
        assert_same(&before, &foreign(&world), &format!("rows of others, {when}"));
    }
    println!(
        "seed {seed}: {ROUNDS} processes killed, {cut} of them at a write, {written} writes begun; all as wanted afterwards"
    );
    assert!(cut > ROUNDS / 5, "hardly any was killed at a write: {cut} of {ROUNDS}");
}

#[tokio::test]
async fn fifty_kills_leave_what_the_next_agent_completes_first_seeds() {
    rounds(1).await;
}

#[tokio::test]
async fn fifty_kills_leave_what_the_next_agent_completes_second_seeds() {
    rounds(2).await;
}

#[tokio::test]
async fn fifty_kills_leave_what_the_next_agent_completes_third_seeds() {
    rounds(3).await;
}

#[tokio::test]
async fn fifty_kills_leave_what_the_next_agent_completes_fourth_seeds() {
    rounds(4).await;
}
