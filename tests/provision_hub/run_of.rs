//! The ordinary way: enrol, wait, provision, tell, prove, report; and nothing of it twice.

use serde_json::json;
use sitepeer::cli::args::{Plan, Source, Status, Subject};

use crate::hub::{PEER, Scene};
use crate::run;
use crate::world::assert_same;

#[tokio::test]
async fn a_site_is_enrolled_provisioned_told_and_proven() {
    let scene = Scene::start().await;
    let done = scene.provision().await;
    done.assert_result("converged");
    assert_eq!(done.result["hub"]["peer"], PEER);
    assert_eq!(scene.heard("/v1/enroll").len(), 1);
    let applied = scene.heard("/v1/agent/applied");
    assert_eq!(applied.len(), 1);
    assert_eq!((&applied[0]["revision"], &applied[0]["public_key"]), (&json!(7), &done.result["public_key"]));
    let device = &applied[0]["device"];
    assert_eq!(device["identity"], "MikroTik");
    assert!(device["version"].as_str().unwrap().starts_with("7."), "{device}");
    assert!(device["board"].is_string() && device["uptime_secs"].is_u64(), "{device}");
    let subnets: Vec<&str> =
        device["subnets"].as_array().unwrap().iter().map(|s| s["subnet"].as_str().unwrap()).collect();
    // A tunnel of somebody else's and the LAN; neither the way out nor our tunnel.
    assert_eq!(subnets, ["172.16.50.0/24", "192.168.88.0/24"]);
    let reports = scene.heard("/v1/agent/reports");
    assert_eq!(reports[0]["reports"][0]["tunnel"]["verdict"], "proven");
    assert_eq!(reports[0]["reports"][0]["tunnel"]["rtt_us"], done.result["proof"]["rtt_us"]);
    assert!(done.round_trips_but_proof() <= 6, "{done:?}");
}

#[tokio::test]
async fn a_second_run_enrols_nobody_and_writes_nothing() {
    let scene = Scene::start().await;
    scene.provision().await.assert_result("converged");
    let before = scene.world.state_with_ids();
    let again = scene.provision().await;
    again.assert_result("converged");
    assert_eq!((again.writes(), again.round_trips("read"), scene.heard("/v1/enroll").len()), (0, 1, 1));
    assert_same(&before, &scene.world.state_with_ids(), "a second run");
}

#[tokio::test]
async fn what_changes_at_the_hub_changes_on_the_router() {
    let scene = Scene::start().await;
    scene.provision().await.assert_result("converged");
    scene.edit(|desired| desired["config"]["reach"] = json!(["10.99.0.0/24", "192.168.90.0/24"]));
    let changed = scene.provision().await;
    changed.assert_result("converged");
    assert!(changed.written().iter().any(|line| line.contains("/ip/route")), "{changed:?}");
    assert_eq!(scene.heard("/v1/agent/applied")[1]["revision"], 8);
}

#[tokio::test]
async fn a_lower_revision_is_taken_as_it_is() {
    let scene = Scene::start().await;
    scene.provision().await.assert_result("converged");
    scene.edit(|desired| desired["revision"] = json!(1));
    scene.provision().await.assert_result("converged");
    assert_eq!(scene.heard("/v1/agent/applied")[1]["revision"], 2);
}

#[tokio::test]
async fn a_peer_that_is_switched_off_is_applied_and_said_to_be_off_at_once() {
    let scene = Scene::start().await;
    scene.edit(|desired| desired["enabled"] = json!(false));
    let off = scene.provision().await;
    off.assert_result("unproven");
    assert_eq!((off.causes(), off.exit()), (vec!["peer-disabled"], 3));
    assert!(off.warnings().contains(&"peer-disabled"));
    assert_eq!(scene.heard("/v1/agent/reports")[0]["reports"][0]["tunnel"]["verdict"], "unproven:peer-disabled");
}

#[tokio::test]
async fn plan_and_status_take_their_site_from_the_hub_and_never_enrol() {
    let scene = Scene::start().await;
    let plan = || Plan { access: scene.world.access(), source: Source::Hub(Box::new(scene.source(crate::hub::SOON))) };
    assert_eq!(run::plan(plan()).await.failed(), (2, "not-enrolled"));
    assert!(scene.heard("/v1/enroll").is_empty() && !scene.credential_file().path.exists());
    let dry = scene.provision_as(|command| command.write = sitepeer::cli::args::Write::DryRun).await;
    assert_eq!(dry.failed(), (2, "not-enrolled"));
    scene.provision().await.assert_result("converged");
    run::plan(plan()).await.assert_result("converged");
    let status =
        || Status { access: scene.world.access(), subject: Subject::Only, hub: Some(scene.source(crate::hub::SOON)) };
    let alive = run::status(status()).await;
    alive.assert_result("converged");
    assert_eq!((&alive.result["hub"]["enabled"], &alive.result["status"]["site"]), (&json!(true), &json!(PEER)));
}
