//! Where no guard can be had, nothing is changed; and what a guard holds harms nobody.

use std::time::Duration;

use sitepeer::reconcile::guard::When;
use sitepeer::routeros::target::Access;
use sitepeer::sim::SimRouter;

use crate::harness::meddler::{Meddler, is_row, with, without};
use crate::run::{self, Run, access, provision_of};
use crate::site::SiteText;
use crate::stage::{self, PROMISED, assert_back, rows, until};
use crate::world::{self, INSTALLER};

async fn provision(access: Access, site: &SiteText, guard: When) -> Run {
    let mut command = provision_of(access, site.load());
    (command.guard, command.proof_timeout) = (guard, Duration::ZERO);
    run::provision(command, async |_| {}).await
}

fn admin(router: &SimRouter) -> Access {
    access("admin", "", router.api_addr())
}

async fn start(fault: &str) -> (SimRouter, SiteText) {
    let hub = world::hub().await;
    let router = stage::router(|_| {}).await;
    let site = SiteText::a(&hub);
    if !fault.is_empty() {
        router.inject(fault.parse().unwrap()).await;
    }
    (router, site)
}

#[tokio::test]
async fn a_router_that_takes_or_runs_no_guard_is_not_changed_unless_told_to() {
    for (fault, user, words) in [
        ("scheduler-refused", "admin", "not allowed by device-mode"),
        ("scheduler-inactive", "admin", "not allowed by device-mode"),
        ("scripts-closed", "admin", "not enough permissions"),
        ("scripts-need-policy", INSTALLER, "not enough permissions"),
    ] {
        let (router, site) = start(fault).await;
        let before = rows(&router);
        let access = || access(user, if user == INSTALLER { "secret" } else { "" }, router.api_addr());
        let refused = provision(access(), &site, When::Always).await;
        assert_eq!(refused.failed(), (5, "guard-impossible"), "{fault}: {refused:?}");
        assert!(refused.result["message"].as_str().unwrap().contains(words), "{fault}: {refused:?}");
        assert!(refused.result["hint"].as_str().unwrap().contains("--unguarded"));
        assert_back(&before, &router, fault);
        provision(access(), &site, When::Never).await.assert_result("unproven");
        let (router, site) = start(fault).await;
        // From the LAN nothing is cut off: nobody needs a guard for that, or sees that there could be none.
        provision(admin(&router), &site, When::Session).await.assert_result("unproven");
    }
}

#[tokio::test]
async fn a_user_with_no_more_than_a_plan_needs_may_guard_it() {
    let (router, site) = start("").await;
    let run = provision(access(INSTALLER, "secret", router.api_addr()), &site, When::Always).await;
    run.assert_result("unproven");
    assert!(rows(&router)["/system/script"].is_empty());
}

#[tokio::test]
async fn a_script_that_the_router_did_not_keep_as_it_was_is_no_guard() {
    let (router, site) = start("").await;
    let before = rows(&router);
    let meddler = Meddler::replies(&router, |path, said| {
        let is_script = path == "/system/script/print" && is_row(&said);
        vec![if is_script { with(said, "source", b":put \"cut short\"") } else { said }]
    })
    .await;
    let refused = provision(access("admin", "", meddler.address), &site, When::Always).await;
    assert_eq!(refused.failed(), (5, "guard-impossible"), "{refused:?}");
    assert_back(&before, &router, "nothing of the guard is left");
}

#[tokio::test]
async fn another_preshared_key_is_not_guarded_because_the_old_one_would_be_lost() {
    let (router, mut site) = start("").await;
    site.preshared_key = Some([7; 32]);
    provision(admin(&router), &site, When::Session).await.assert_result("unproven");
    let before = rows(&router);
    site.preshared_key = Some([8; 32]);
    let refused = provision(admin(&router), &site, When::Always).await;
    assert_eq!(refused.failed(), (5, "guard-impossible"), "{refused:?}");
    assert!(refused.result["message"].as_str().unwrap().contains("preshared key"), "{refused:?}");
    assert_back(&before, &router, "not changed");
    provision(admin(&router), &site, When::Session).await.assert_result("unproven");
}

#[tokio::test]
async fn a_plan_too_long_to_be_undone_by_a_stored_script_is_not_begun() {
    let (router, mut site) = start("").await;
    let before = rows(&router);
    site.reach.extend(
        (0..=255)
            .flat_map(|a| [format!("10.{a}.0.0/17"), format!("10.{a}.128.0/18")])
            .filter(|net| !net.starts_with("10.99.") && !net.starts_with("10.200.")),
    );
    let refused = provision(admin(&router), &site, When::Always).await;
    assert_eq!(refused.failed(), (5, "guard-impossible"), "{refused:?}");
    assert_back(&before, &router, "not changed");
    provision(admin(&router), &site, When::Session).await.assert_result("unproven");
}

#[tokio::test]
async fn a_stored_script_holds_no_key() {
    let (router, mut site) = start("").await;
    site.preshared_key = Some([7; 32]);
    provision(admin(&router), &site, When::Session).await.assert_result("unproven");
    site.endpoints = vec!["198.51.100.9:51820".into()];
    site.reach.pop();
    let armed = || !rows(&router)["/system/script"].is_empty();
    tokio::select! {
        run = provision(admin(&router), &site, When::Always) => panic!("{run:?}"),
        () = until("the guard", armed) => {}
    }
    let script = rows(&router)["/system/script"].join("\n");
    let key = rows(&router)["/interface/wireguard/peers"].join("\n");
    let key = key.split(' ').find_map(|word| word.strip_prefix("preshared-key=")).unwrap().to_owned();
    assert!(
        script.contains("endpoint-address") && !script.contains(&key) && !script.contains("private-key"),
        "{script}"
    );
    let mut names: Vec<String> = rows(&router)["/system/scheduler"]
        .iter()
        .filter_map(|row| Some(row.split("name=").nth(1)?.split(' ').next()?.to_owned()))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["sitepeer-k3f9q2-guard", "sitepeer-k3f9q2-guard-boot"]);
    router.pass_time(PROMISED).await;
    assert!(rows(&router)["/system/script"].is_empty() && rows(&router)["/system/scheduler"].is_empty());
}

#[tokio::test]
async fn a_script_of_somebody_else_under_our_name_is_never_touched() {
    let (router, site) = start("").await;
    let theirs: [(&str, &[u8]); 2] = [("name", b"sitepeer-k3f9q2-guard"), ("source", b":put \"mine\"")];
    router.operator("/system/script/add", &theirs).await.unwrap();
    let before = rows(&router);
    let refused = provision(admin(&router), &site, When::Always).await;
    assert_eq!(refused.failed(), (5, "guard-impossible"), "{refused:?}");
    assert_back(&before, &router, "theirs stands");
}

#[tokio::test]
async fn either_of_the_ways_in_which_device_mode_may_show_is_enough() {
    for hidden in ["/system/scheduler/print", "/system/device-mode/print"] {
        let (router, site) = start("scheduler-inactive").await;
        let before = rows(&router);
        let meddler = Meddler::replies(&router, move |path, said| {
            vec![if path == hidden { without(without(said, ".about"), "scheduler") } else { said }]
        })
        .await;
        let refused = provision(access("admin", "", meddler.address), &site, When::Always).await;
        assert_eq!(refused.failed(), (5, "guard-impossible"), "{hidden}: {refused:?}");
        assert_back(&before, &router, hidden);
    }
}
