//! Two at once, and what one that died left behind.

use std::time::Duration;

use sitepeer::cli::args::{self, Subject};
use sitepeer::reconcile::converge::ConvergeError;
use sitepeer::reconcile::desired::Value;
use sitepeer::reconcile::guard::{GuardError, Timing, When, guards, until_clear};
use sitepeer::reconcile::observe::{Interest, Observed, observe};
use sitepeer::reconcile::plan::{Change, FieldChange, Plan};
use sitepeer::routeros::menu;
use sitepeer::sim::SimRouter;

use crate::run::{self, access, provision_of};
use crate::site::SiteText;
use crate::stage::{self, PROMISED, assert_back, carry_out, change, client, from_lan, rows, told, until, until_cut};
use crate::world;

const ADDRESS: &str = "sitepeer:k3f9q2:addr:192.168.88.1/24";

/// A plan that switches an address of ours off.
fn cutting(observed: &Observed) -> Plan {
    let off = |id| {
        let field = FieldChange { name: "disabled", from: None, to: Value::Plain("true".into()) };
        Change::Set { id, fields: vec![field] }
    };
    Plan { ops: vec![change(observed, &menu::IP_ADDRESS, ADDRESS, off)], notes: Vec::new() }
}

async fn start() -> SimRouter {
    let router = stage::router(|_| {}).await;
    let id = router.operator("/ip/address/print", &[]).await.unwrap()[0][0].1.clone();
    router.operator("/ip/address/set", &[(".id", &id), ("comment", ADDRESS.as_bytes())]).await.unwrap();
    from_lan(&router, stage::NEAR);
    router
}

/// A run cuts the router off and dies; somebody on another way in finds its guard.
async fn abandoned() -> SimRouter {
    let router = start().await;
    let first = client(&router).await;
    tokio::select! {
        result = carry_out(&router, &first, cutting, Timing::default()) => panic!("{}", told(&result)),
        () = until_cut(&router) => {}
    }
    drop(first);
    router.come_from(None);
    router
}

#[tokio::test]
async fn a_second_run_writes_nothing_while_a_guard_is_armed() {
    let router = abandoned().await;
    let before = rows(&router);
    let second = client(&router).await;
    let result = carry_out(&router, &second, cutting, Timing::default()).await;
    assert!(matches!(result, Err(GuardError::Converge(ConvergeError::Guarded(_)))), "{}", told(&result));
    assert_back(&before, &router, "the second run");
}

#[tokio::test]
async fn who_waits_for_a_guard_sees_the_router_as_it_was_before_it() {
    let router = abandoned().await;
    let second = client(&router).await;
    let interest = Interest::default();
    let observed = observe(&second, &interest).await.unwrap();
    assert!(guards(&observed)[0].armed);
    let (clear, ()) = tokio::join!(until_clear(&second, &interest, observed, PROMISED), async {
        router.pass_time(PROMISED).await;
    });
    let clear = clear.unwrap();
    assert!(guards(&clear).is_empty());
    let address =
        clear.rows(&menu::IP_ADDRESS).iter().find(|row| row.get("comment") == Some(ADDRESS.as_bytes())).unwrap();
    assert!(!address.is_true("disabled"));
}

#[tokio::test]
async fn who_has_waited_long_enough_is_told_whose_guard_it_is() {
    let router = abandoned().await;
    let second = client(&router).await;
    let interest = Interest::default();
    let observed = observe(&second, &interest).await.unwrap();
    let result = until_clear(&second, &interest, observed, Duration::from_millis(10)).await;
    let Err(GuardError::Armed(armed)) = result else { panic!("it is still armed") };
    assert_eq!((armed.site.to_string().as_str(), armed.armed), ("k3f9q2", true));
    assert!(armed.explain().contains("puts itself back"));
}

/// An agent runs many of these side by side on all threads.
#[tokio::test]
async fn a_guarded_run_can_go_to_another_thread() {
    fn goes<F: Future + Send>(run: F) -> F {
        run
    }
    let router = std::sync::Arc::new(start().await);
    let maker = client(&router).await;
    let run = goes(carry_out(&router, &maker, |_: &Observed| Plan::default(), Timing::default()));
    let guarded = run.await.unwrap();
    assert!(guarded.client.is_none(), "nothing to do, nothing to guard");
}

/// A script without anything that runs it: a run was cut off between taking out the one and the other.
async fn with_a_left_script() -> (SimRouter, SiteText) {
    let hub = world::hub().await;
    let router = stage::router(|_| {}).await;
    let site = SiteText::a(&hub);
    let mut command = provision_of(access("admin", "", router.api_addr()), site.load());
    command.proof_timeout = Duration::ZERO;
    run::provision(command, async |_| {}).await.assert_result("unproven");
    let script: [(&str, &[u8]); 3] =
        [("name", b"sitepeer-k3f9q2-guard"), ("source", b":put \"old\""), ("comment", b"sitepeer:k3f9q2:guard")];
    router.operator("/system/script/add", &script).await.unwrap();
    (router, site)
}

#[tokio::test]
async fn a_left_over_guard_is_explained_and_goes_with_the_next_guarded_run() {
    let (router, mut site) = with_a_left_script().await;
    let api = || access("admin", "", router.api_addr());
    let status = run::status(args::Status { access: api(), subject: Subject::Only, hub: None }).await;
    assert!(status.result["guard"].as_str().unwrap().contains("left over and will never run"), "{status:?}");
    site.keepalive_secs = 13;
    let mut command = provision_of(api(), site.load());
    (command.guard, command.proof_timeout) = (When::Always, Duration::ZERO);
    run::provision(command, async |_| {}).await.assert_result("unproven");
    assert!(rows(&router)["/system/script"].is_empty());
}

#[tokio::test]
async fn a_left_over_guard_goes_with_the_site() {
    let (router, _) = with_a_left_script().await;
    let api = || access("admin", "", router.api_addr());
    run::remove(api(), Subject::Only).await.assert_result("removed");
    assert!(rows(&router)["/system/script"].is_empty());
    // Nothing but a guard is left of it.
    let left: [(&str, &[u8]); 2] = [("name", b"s"), ("comment", b"sitepeer:k3f9q2:guard")];
    router.operator("/system/script/add", &left).await.unwrap();
    run::remove(access("admin", "", router.api_addr()), Subject::Only).await.assert_result("removed");
    assert!(rows(&router)["/system/script"].is_empty());
}

/// In real time, with a short fuse: the router's own clock runs it, with nobody to push it.
#[tokio::test]
async fn the_routers_own_clock_puts_it_back() {
    let router = start().await;
    let before = rows(&router);
    let maker = client(&router).await;
    let second = Duration::from_secs(1);
    let timing = Timing { fuse: 3 * second, margin: second, apply_within: second, settle: Duration::ZERO };
    let result = carry_out(&router, &maker, cutting, timing).await;
    assert!(matches!(result, Err(GuardError::PutBack { .. })), "{}", told(&result));
    until("the router is back", || router.is_reachable()).await;
    assert_back(&before, &router, "three seconds later");
}
