//! A guarded change that is stopped at each of its steps: afterwards everything of it is there, or nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use sitepeer::reconcile::guard::When;
use sitepeer::sim::SimRouter;
use sitepeer::sim::plane::HubEnd;
use tokio::net::TcpStream;

use crate::run::{self, Run, access, provision_of};
use crate::site::SiteText;
use crate::stage::{self, PROMISED, rows, until};
use crate::world;

/// More steps than any run has: a sweep that gets here never ends by itself.
const MAX_SWEEP: u64 = 400;
/// Steps tried side by side: most of their time is waiting.
const AT_ONCE: usize = 24;

/// Of so many runs that were stopped, one is followed by another.
const RERUN_EVERY: u64 = 3;

type Rows = BTreeMap<String, Vec<String>>;

/// A site whose peer and address change: set, add, and a row that goes.
struct Change {
    router: SimRouter,
    site: SiteText,
    hub: HubEnd,
}

impl Change {
    async fn start() -> Self {
        let hub = world::hub().await;
        let router = stage::router(|_| {}).await;
        let site = SiteText { listen_port: Some(13231), ..SiteText::a(&hub) };
        let change = Self { router, site, hub };
        provision(&change, &change.site, When::Session).await.assert_result("unproven");
        change
    }

    fn wanted(&self) -> SiteText {
        SiteText {
            addresses: vec!["10.99.0.9/24".into()],
            endpoints: vec!["198.51.100.9:51820".into()],
            ..self.site.clone()
        }
    }
}

async fn provision(change: &Change, site: &SiteText, guard: When) -> Run {
    let mut command = provision_of(access("admin", "", change.router.api_addr()), site.load());
    (command.guard, command.proof_timeout) = (guard, Duration::ZERO);
    run::provision(command, async |_| {}).await
}

/// Rows but those of a guard, and what differs between any two routers.
fn shape(router: &SimRouter) -> Rows {
    let mut rows = rows(router);
    rows.retain(|menu, _| !menu.starts_with("/system/"));
    for rows in rows.values_mut().flatten() {
        let kept = rows.split(' ').filter(|word| !word.starts_with("private-key=") && !word.starts_with("public-key="));
        // The hub listens on another port each time.
        let kept = kept.filter(|word| !word.starts_with("endpoint-port=") || word.ends_with("=51820"));
        *rows = kept.collect::<Vec<_>>().join(" ");
    }
    rows
}

/// How a run was stopped, and what became of it.
struct Stopped {
    fired: bool,
    told: String,
    router: SimRouter,
    site: SiteText,
    hub: HubEnd,
}

async fn stop(guard: When, fault: &str, n: u64) -> Stopped {
    let change = Change::start().await;
    let (begun, wanted) = (change.router.writes(), change.wanted());
    let mut told = "killed".to_owned();
    let mut fired = true;
    if fault == "killed" {
        tokio::select! {
            run = provision(&change, &wanted, guard) => (fired, told) = (false, format!("{run:?}")),
            () = until("its writes", || change.router.writes() >= begun + n) => {}
        }
    } else {
        change.router.inject(format!("{fault}={n}").parse().unwrap()).await;
        told = format!("{:?}", provision(&change, &wanted, guard).await);
        fired = change.router.faults_fired() > 0;
        change.router.clear_faults();
    }
    // A router in safe mode puts itself back once it knows that the session has ended.
    until("the end of its sessions", || change.router.sessions() == 0).await;
    change.router.pass_time(PROMISED).await;
    while TcpStream::connect(change.router.api_addr()).await.is_err() {
        tokio::task::yield_now().await;
    }
    let site = change.wanted();
    let Change { router, hub, .. } = change;
    Stopped { fired, told, router, site, hub }
}

/// Stops runs at every step until one is not stopped any more, and returns how many were.
pub async fn sweep(guard: When, fault: &str, from: u64, step: usize) -> u64 {
    let untouched = Change::start().await;
    let before = shape(&untouched.router);
    provision(&untouched, &untouched.wanted(), guard).await.assert_result("unproven");
    let after = shape(&untouched.router);
    assert_ne!(before, after);
    let (mut undone, mut whole) = (0, 0);
    let steps: Vec<u64> = (from..MAX_SWEEP).step_by(step).collect();
    for some in steps.chunks(AT_ONCE) {
        let stopped = join_all(some.iter().map(|n| stop(guard, fault, *n))).await;
        for (n, stopped) in some.iter().zip(stopped) {
            let now = shape(&stopped.router);
            if now == before {
                undone += 1;
            } else if now == after || now == nearly(&after, &now) {
                whole += 1;
            } else {
                let menus: Vec<_> =
                    now.iter().filter(|(m, rows)| before[*m] != **rows && after[*m] != **rows).collect();
                panic!("{fault}={n}: neither as before nor as wanted: {menus:#?}\n{}", stopped.told);
            }
            assert!(
                rows(&stopped.router)["/system/scheduler"].is_empty(),
                "{fault}={n}: a timer is left: {}",
                stopped.told
            );
            if stopped.told.contains("put-back") {
                assert!(now == before, "{fault}={n}: {}", stopped.told);
            }
            if !stopped.fired {
                eprintln!("{fault}: {undone} runs undone, {whole} carried out, none in between");
                assert!(undone > 2 && whole > 0, "{undone} {whole}");
                return *n;
            }
            if n % RERUN_EVERY != 0 {
                continue;
            }
            let Stopped { told, router, site, hub, .. } = stopped;
            let again = Change { router, site, hub };
            provision(&again, &again.site, guard).await.assert_result("unproven");
            assert_eq!(shape(&again.router), after, "{fault}={n}: the run after it");
            let left = &rows(&again.router)["/system/script"];
            // A run with nothing to do writes nothing, and leaves what is harmless.
            assert!(
                left.is_empty() || told == "killed" || told.contains("connection-lost"),
                "{fault}={n}: {left:?}\n{told}"
            );
        }
    }
    panic!("{fault} never came to its end");
}

/// Confirmed, and cut off before the row that was switched off was taken out: that is harmless, and the next run does it.
fn nearly(after: &Rows, now: &Rows) -> Rows {
    let mut nearly = after.clone();
    let off = now["/ip/address"].iter().find(|row| row.contains("disabled=true") && row.contains("sitepeer:"));
    nearly.get_mut("/ip/address").unwrap().extend(off.cloned());
    nearly.get_mut("/ip/address").unwrap().sort_unstable();
    nearly
}

/// Every other sentence: the next test has those in between.
#[tokio::test]
async fn cut_off_after_any_sentence_it_is_whole_or_undone() {
    assert!(sweep(When::Always, "close-after", 1, 2).await > 100);
}

#[tokio::test]
async fn cut_off_before_any_sentence_it_is_whole_or_undone() {
    assert!(sweep(When::Always, "close-before", 2, 2).await > 100);
}

#[tokio::test]
async fn rebooted_after_any_write_it_is_whole_or_undone() {
    assert!(sweep(When::Always, "reboot-on-write", 1, 1).await > 8);
}

#[tokio::test]
async fn refused_at_any_write_it_is_whole_or_undone() {
    assert!(sweep(When::Always, "trap-on-write", 1, 1).await > 8);
}

#[tokio::test]
async fn killed_at_any_write_it_is_whole_or_undone() {
    assert!(sweep(When::Always, "killed", 1, 1).await > 8);
}
