//! The same under the router's own safe mode: it undoes by itself what no new connection confirmed.

use std::time::Duration;

use futures_util::future::join_all;
use sitepeer::cli::args::{self, Subject};
use sitepeer::cli::report::Confirm;
use sitepeer::reconcile::apply::LocalLock;
use sitepeer::reconcile::converge::{Progress, Task};
use sitepeer::reconcile::decide::Decision;
use sitepeer::reconcile::guard::{
    DEAD_PEER, GuardError, Guarded, Guarding, MAX_SAFE_WRITES, NOTICED_WITHIN, Patience, SafeError, Timing, When,
    apply_in_safe_mode,
};
use sitepeer::reconcile::observe::{Interest, Observed, observe};
use sitepeer::reconcile::plan::Plan;
use sitepeer::routeros::Client;
use sitepeer::sim::SimRouter;
use tokio::net::TcpStream;

use crate::lan::{CASES, Make, start};
use crate::run::{self, Run, access, carry_out, provision_of};
use crate::site::SiteText;
use crate::stage::{self, Again, assert_back, client, left_of, rows, session, site_id, until, until_cut};
use crate::steps::sweep;
use crate::world;

/// Times short enough to wait for.
const TIMING: Timing = Timing {
    fuse: Duration::from_secs(6),
    margin: Duration::from_secs(1),
    apply_within: Duration::from_secs(3),
    settle: Duration::ZERO,
};

fn patience(lost: &(dyn Fn() + Sync)) -> Patience<'_> {
    Patience { noticed: Duration::from_secs(8), dead_peer: Duration::from_secs(4), lost }
}

/// Carries a plan out that somebody made by hand.
async fn in_safe_mode(router: &SimRouter, client: &Client, make: Make) -> Result<Guarded, SafeError> {
    let site = site_id();
    let before = observe(client, &Interest::default()).await.unwrap();
    let plan = |observed: &Observed| Plan { ops: make(observed), notes: Vec::new() };
    let planned = plan(&before);
    let decide = |observed: &Observed| Ok(Decision { plan: plan(observed), warnings: Vec::new() });
    let settled = |observed: &Observed| Ok(left_of(&planned, observed));
    let task = Task { site: &site, interest: Interest::default(), decide, settled, agreed: None };
    let local = LocalLock::claim(&client.peer_addr().to_string()).unwrap();
    let reach = Again(router.api_addr());
    let guarding = Guarding { when: When::SafeMode, session: &session(), timing: TIMING, reach: &reach };
    let lost = || {};
    let how = (guarding, patience(&lost));
    apply_in_safe_mode(client, task, local, &before, &mut Progress::default(), |_| {}, how).await
}

fn told(result: &Result<Guarded, SafeError>) -> String {
    match result {
        Ok(guarded) => format!("carried out, confirmed: {}", guarded.client.is_some()),
        Err(error) => format!("{error:?}: {error}"),
    }
}

async fn hold(router: &SimRouter) -> Vec<(String, Vec<u8>)> {
    router.operator("/safe-mode/print", &[]).await.unwrap().remove(0)
}

async fn is_held(router: &SimRouter) -> bool {
    hold(router).await[0].1 == b"true"
}

#[tokio::test]
async fn every_plan_that_cuts_its_own_session_is_undone_by_the_router() {
    let all = CASES.map(|(source, what, make)| async move {
        let router = start(source).await;
        let before = rows(&router);
        let client = client(&router).await;
        let mut run = Box::pin(in_safe_mode(&router, &client, make));
        tokio::select! {
            result = &mut run => panic!("{what}: {}", told(&result)),
            () = until_cut(&router) => {}
        }
        // The router takes a session whose way is gone for ended after nine minutes of its own time.
        let (result, ()) = tokio::join!(run, router.pass_time(DEAD_PEER + NOTICED_WITHIN));
        let is_back = matches!(result, Err(SafeError::Guard(GuardError::PutBack { .. })));
        assert!(is_back && router.is_reachable(), "{what}: {}", told(&result));
        assert!(!is_held(&router).await, "{what}");
        assert_back(&before, &router, what);
    });
    join_all(all).await;
}

#[tokio::test]
async fn every_such_plan_is_undone_with_its_maker_dead() {
    for (source, what, make) in CASES {
        let router = start(source).await;
        let before = rows(&router);
        let client = client(&router).await;
        tokio::select! {
            result = in_safe_mode(&router, &client, make) => panic!("{what}: {}", told(&result)),
            () = until_cut(&router) => {}
        }
        drop(client);
        router.pass_time(DEAD_PEER).await;
        until("its session is undone", || router.is_reachable()).await;
        assert_back(&before, &router, what);
    }
}

#[tokio::test]
async fn every_such_plan_is_undone_by_a_reboot_that_forgets_it() {
    for (source, what, make) in CASES {
        let router = start(source).await;
        let before = rows(&router);
        let client = client(&router).await;
        tokio::select! {
            result = in_safe_mode(&router, &client, make) => panic!("{what}: {}", told(&result)),
            () = until_cut(&router) => {}
        }
        router.reboot().await;
        assert_back(&before, &router, what);
    }
}

/// Nobody knows what a reboot does: the run looks, and says that it cannot see the router.
#[tokio::test]
async fn a_router_that_stays_cut_off_is_said_to_be_out_of_sight() {
    let (source, what, make) = CASES[0];
    let router = start(source).await;
    router.inject("safe-mode-kept-by-reboot".parse().unwrap()).await;
    let client = client(&router).await;
    let mut run = Box::pin(in_safe_mode(&router, &client, make));
    tokio::select! {
        result = &mut run => panic!("{what}: {}", told(&result)),
        () = until_cut(&router) => {}
    }
    let (result, ()) = tokio::join!(run, router.reboot());
    let Err(error @ SafeError::OutOfSight { .. }) = result else { panic!("{}", told(&result)) };
    assert!(error.to_string().contains("up to 9 minutes"), "{error}");
}

/// Every fourth sentence: the guard's own sweeps have the others.
#[tokio::test]
async fn cut_off_before_any_sentence_it_is_whole_or_undone() {
    assert!(sweep(When::SafeMode, "close-before", 2, 4).await > 100);
}

#[tokio::test]
async fn cut_off_after_any_sentence_it_is_whole_or_undone() {
    assert!(sweep(When::SafeMode, "close-after", 1, 4).await > 100);
}

#[tokio::test]
async fn rebooted_after_any_write_it_is_whole_or_undone() {
    assert!(sweep(When::SafeMode, "reboot-on-write", 1, 1).await > 6);
}

#[tokio::test]
async fn refused_at_any_write_it_is_whole_or_undone() {
    assert!(sweep(When::SafeMode, "trap-on-write", 1, 1).await > 6);
}

#[tokio::test]
async fn killed_at_any_write_it_is_whole_or_undone() {
    assert!(sweep(When::SafeMode, "killed", 1, 1).await > 6);
}

/// A router and a site that is to be put on it.
struct Fresh {
    router: SimRouter,
    site: SiteText,
    _hub: sitepeer::sim::plane::HubEnd,
}

impl Fresh {
    async fn start(faults: &[&str]) -> Self {
        let hub = world::hub().await;
        let router = stage::router(|options| {
            options.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        })
        .await;
        Self { router, site: SiteText::a(&hub), _hub: hub }
    }

    async fn provision(&self) -> Run {
        self.provision_heard(async |_| {}).await
    }

    async fn provision_heard(&self, heard: impl AsyncFnMut(&serde_json::Value)) -> Run {
        let mut command = provision_of(access("admin", "", self.router.api_addr()), self.site.load());
        (command.guard, command.proof_timeout) = (When::SafeMode, Duration::ZERO);
        run::provision(command, heard).await
    }

    async fn remove(&self) -> Run {
        let command = args::Remove {
            access: access("admin", "", self.router.api_addr()),
            subject: Subject::Only,
            write: args::Write::Apply(Confirm::Given),
            guard: When::SafeMode,
        };
        carry_out(async |reporter| sitepeer::cli::remove::run(command, reporter).await, async |_| {}).await
    }
}

#[tokio::test]
async fn a_confirmed_change_stays_and_nobody_is_in_safe_mode_any_more() {
    let fresh = Fresh::start(&[]).await;
    let before = rows(&fresh.router);
    let run = fresh.provision().await;
    run.assert_result("unproven");
    assert!(run.warnings().contains(&"safe-mode"), "{run:?}");
    let paths: Vec<String> = fresh.router.written().into_iter().map(|written| written.path).collect();
    let count = |path: &str| paths.iter().filter(|written| *written == path).count();
    assert_eq!((count("/safe-mode/take"), count("/safe-mode/release"), count("/safe-mode/unroll")), (1, 1, 0));
    assert!(!paths.iter().any(|path| path.starts_with("/system/")), "no script of ours: {paths:?}");
    assert!(!is_held(&fresh.router).await);
    fresh.remove().await.assert_result("removed");
    assert!(!is_held(&fresh.router).await);
    assert_back(&before, &fresh.router, "removed in safe mode");
}

#[tokio::test]
async fn who_holds_safe_mode_is_named_and_left_alone() {
    let fresh = Fresh::start(&[]).await;
    fresh.router.operator("/safe-mode/take", &[]).await.unwrap();
    let (before, held) = (rows(&fresh.router), hold(&fresh.router).await);
    let run = fresh.provision().await;
    assert_eq!(run.failed(), (5, "safe-mode-held"));
    assert!(run.result["message"].as_str().unwrap().contains("user admin (session console)"), "{run:?}");
    assert_eq!((run.writes(), hold(&fresh.router).await), (0, held));
    assert_back(&before, &fresh.router, "refused");
}

#[tokio::test]
async fn a_holder_whom_the_router_does_not_name_is_left_alone_too() {
    let fresh = Fresh::start(&["safe-mode-anonymous"]).await;
    fresh.router.operator("/safe-mode/take", &[]).await.unwrap();
    let run = fresh.provision().await;
    assert_eq!(run.failed(), (5, "safe-mode-held"));
    assert!(is_held(&fresh.router).await);
    fresh.router.operator("/safe-mode/release", &[]).await.unwrap();
    fresh.provision().await.assert_result("unproven");
}

/// Somebody is faster between our look and our taking it.
#[tokio::test]
async fn safe_mode_that_somebody_takes_in_between_is_not_taken_away() {
    let fresh = Fresh::start(&[]).await;
    let before = rows(&fresh.router);
    let run = fresh
        .provision_heard(async |event| {
            if event["event"] == "warning" && event["code"] == "safe-mode" {
                fresh.router.operator("/safe-mode/take", &[]).await.unwrap();
            }
        })
        .await;
    assert_eq!(run.failed(), (5, "safe-mode-refused"), "{run:?}");
    assert!(is_held(&fresh.router).await, "it is still theirs");
    fresh.router.operator("/safe-mode/release", &[]).await.unwrap();
    assert_back(&before, &fresh.router, "refused");
}

#[tokio::test]
async fn a_router_that_gives_no_safe_mode_is_not_changed() {
    for (fault, code) in [("safe-mode-refused", "safe-mode-refused"), ("safe-mode-not-taken", "safe-mode-refused")] {
        let fresh = Fresh::start(&[fault]).await;
        let before = rows(&fresh.router);
        let run = fresh.provision().await;
        assert_eq!(run.failed(), (5, code), "{fault}: {run:?}");
        assert_back(&before, &fresh.router, fault);
    }
}

#[tokio::test]
async fn a_router_before_7_18_is_refused_with_the_way_out() {
    let mut fresh = Fresh::start(&[]).await;
    fresh.router = stage::router(|options| options.version = "7.17.1".parse().unwrap()).await;
    let run = fresh.provision().await;
    assert_eq!((run.failed(), run.writes()), ((5, "safe-mode-missing"), 0));
    let told = format!("{} {}", run.result["message"], run.result["hint"]);
    assert!(told.contains("7.17.1") && told.contains("--guard"), "{told}");
}

#[tokio::test]
async fn a_plan_that_the_router_might_not_undo_whole_is_refused() {
    let mut fresh = Fresh::start(&[]).await;
    fresh.site.reach = (0..MAX_SAFE_WRITES).map(|n| format!("10.77.{n}.0/24")).collect();
    let run = fresh.provision().await;
    assert_eq!((run.failed(), run.writes()), ((5, "safe-mode-too-long"), 0), "{run:?}");
}

/// Theirs is not let go of, and not undone: by no word of ours, and not by the end of our session.
#[tokio::test]
async fn safe_mode_that_somebody_takes_over_is_left_to_them() {
    let fresh = Fresh::start(&[]).await;
    let mut is_taken = false;
    let run = fresh
        .provision_heard(async |event| {
            if event["event"] == "written" && !std::mem::replace(&mut is_taken, true) {
                fresh.router.operator("/safe-mode/take", &[("on-error", b"release")]).await.unwrap();
            }
        })
        .await;
    assert!(is_taken, "{run:?}");
    // What was written before and after is there, and was confirmed over a new connection.
    run.assert_result("unproven");
    let paths: Vec<String> = fresh.router.written().into_iter().map(|written| written.path).collect();
    assert!(!paths.iter().any(|path| path == "/safe-mode/release" || path == "/safe-mode/unroll"), "{paths:?}");
    assert!(is_held(&fresh.router).await, "it is still theirs");
}

#[tokio::test]
async fn status_says_who_holds_safe_mode() {
    let fresh = Fresh::start(&[]).await;
    fresh.provision().await.assert_result("unproven");
    let status = async || {
        let access = access("admin", "", fresh.router.api_addr());
        run::status(args::Status { access, subject: Subject::Only, hub: None }).await
    };
    assert_eq!(status().await.result["safe_mode"], serde_json::Value::Null);
    fresh.router.operator("/safe-mode/take", &[]).await.unwrap();
    let told = status().await;
    assert!(told.result["safe_mode"].as_str().unwrap().contains("user admin (session console)"), "{told:?}");
}

/// The rule that is warned of: it is the router's, not ours.
#[tokio::test]
async fn what_somebody_changes_meanwhile_is_undone_with_it() {
    let note: [(&str, &[u8]); 3] = [("list", b"theirs"), ("address", b"10.1.1.1"), ("comment", b"theirs")];
    for (fault, stays) in [(None, true), (Some("trap-on-write=6"), false)] {
        let faults: Vec<&str> = fault.into_iter().collect();
        let fresh = Fresh::start(&faults).await;
        let mut is_noted = false;
        let run = fresh
            .provision_heard(async |event| {
                if event["event"] == "written" && !std::mem::replace(&mut is_noted, true) {
                    fresh.router.operator("/ip/firewall/address-list/add", &note).await.unwrap();
                }
            })
            .await;
        let is_there = rows(&fresh.router)["/ip/firewall/address-list"].iter().any(|row| row.contains("theirs"));
        assert!(is_noted && is_there == stays, "{fault:?}: {run:?}");
        if !stays {
            assert_eq!(run.failed(), (3, "put-back"), "{run:?}");
            assert!(run.warnings().iter().filter(|code| **code == "safe-mode").count() > 1, "{run:?}");
        }
    }
}

#[tokio::test]
async fn safe_mode_that_ended_by_too_many_actions_is_not_taken_for_undone() {
    let fresh = Fresh::start(&["safe-mode-history=2", "trap-on-write=6"]).await;
    let run = fresh.provision().await;
    assert_eq!(run.failed(), (3, "not-undone"), "{run:?}");
    // What is there is completed by the way out that it names.
    fresh.router.clear_faults();
    fresh.provision().await.assert_result("unproven");
}

#[tokio::test]
async fn safe_mode_that_ended_by_too_many_actions_does_not_harm_what_is_confirmed() {
    let fresh = Fresh::start(&["safe-mode-history=2"]).await;
    fresh.provision().await.assert_result("unproven");
    assert!(!is_held(&fresh.router).await);
}

#[tokio::test]
async fn a_killed_run_is_undone_as_soon_as_the_router_notices() {
    let fresh = Fresh::start(&["safe-mode-late=30"]).await;
    let before = rows(&fresh.router);
    tokio::select! {
        run = fresh.provision() => panic!("{run:?}"),
        () = until("some writes", || fresh.router.writes() > 5) => {}
    }
    until("the end of its session", || fresh.router.sessions() == 0).await;
    assert!(is_held(&fresh.router).await, "not yet");
    fresh.router.pass_time(NOTICED_WITHIN).await;
    assert!(!is_held(&fresh.router).await);
    assert_back(&before, &fresh.router, "killed");
}

/// Half of it survives a reboot: that is found, and said.
#[tokio::test]
async fn what_a_reboot_keeps_is_said_to_be_there() {
    let fresh = Fresh::start(&["safe-mode-kept-by-reboot", "reboot-on-write=6"]).await;
    let run = fresh.provision().await;
    assert_eq!(run.failed(), (3, "not-undone"), "{run:?}");
    while TcpStream::connect(fresh.router.api_addr()).await.is_err() {
        tokio::task::yield_now().await;
    }
    fresh.router.clear_faults();
    fresh.provision().await.assert_result("unproven");
}
