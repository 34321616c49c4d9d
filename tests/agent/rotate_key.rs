//! `rotate-key` at a scripted hub with an end of each tunnel.

use std::time::Duration;

use serde_json::Value;
use sitepeer::cli::args::{HubSource, RotateKey, Source};
use sitepeer::cli::report::Confirm;
use sitepeer::cli::rotate_key;
use sitepeer::cli::uplink::credential::{CredentialFile, Enrolled};
use sitepeer::domain::Secret;

use crate::hub::{CREDENTIAL, PEER, Said, Scene};
use crate::moving::{Stage, settled};
use crate::pings::Pings;
use crate::run::{Run, carry_out, from_file};
use crate::running::until;
use crate::schema::problems;

const ROTATE: &str = "/v1/agent/rotate";

/// Where the site is enrolled already.
fn source(scene: &Scene) -> HubSource {
    let file: CredentialFile = scene.credential_file();
    let enrolled = Enrolled { peer: PEER.parse().unwrap(), credential: Secret::new(CREDENTIAL.to_owned()) };
    let nonce = file.nonce().unwrap();
    file.keep(&nonce, &enrolled).unwrap();
    scene.source(Duration::from_secs(3))
}

async fn rotate(scene: &Scene, source: Source, timeout: Duration) -> Run {
    let access = scene.world.access();
    let command = RotateKey { access, source, confirm: Confirm::Given, timeout, max_removals: 10 };
    let run = carry_out(async |reporter| rotate_key::run(command, reporter).await, async |_| {}).await;
    for line in run.events.iter().chain([&run.result]) {
        assert_eq!(problems("rotate-key", line), Vec::<String>::new(), "{line}");
    }
    run
}

/// The hub's half of a move.
async fn hub_half(stage: &Stage) -> [u8; 32] {
    until("asked for a new key", || !stage.scene.heard(ROTATE).is_empty()).await;
    stage.announce();
    let key = stage.told_of_next(false).await;
    stage.admit(key).await;
    assert_eq!(stage.told_of_next(true).await, key);
    stage.finish();
    key
}

fn steps(run: &Run) -> Vec<&str> {
    let steps = run.events.iter().filter(|event| event["event"] == "step");
    steps.filter_map(|event| event["detail"].as_str()).collect()
}

#[tokio::test]
async fn a_router_gets_a_new_key_without_losing_a_ping_and_the_command_says_how_it_comes_on() {
    let stage = Stage::start().await;
    settled(&stage).await.stop().await;
    let old = stage.told()["public_key"].clone();
    let pings = Pings::start(stage.world());
    let source = Source::Hub(Box::new(source(&stage.scene)));
    let (run, key) = tokio::join!(rotate(&stage.scene, source, Duration::from_mins(2)), hub_half(&stage));
    let (sent, lost) = pings.end().await;
    println!("rotate-key: {lost} of {sent} pings lost");
    run.assert_result("converged");
    assert_eq!((run.exit(), lost), (0, 0), "{run:?}");
    let new = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key);
    assert_eq!((&run.result["public_key"], &run.result["generation"]), (&Value::from(new), &Value::from(1)));
    assert_ne!(run.result["public_key"], old);
    let said = steps(&run).join("\n");
    for words in
        ["asked for a new key", "is beside the one in use", "is in use; the old one goes", "the old tunnel is out"]
    {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    assert_eq!(stage.interfaces(), ["sitepeer-acme_g1"]);
    assert_eq!(stage.scene.heard(ROTATE).len(), 1);
}

#[tokio::test]
async fn a_move_that_is_under_way_is_gone_on_with_and_not_asked_for_again() {
    let stage = Stage::start().await;
    settled(&stage).await.stop().await;
    stage.announce();
    let half = async {
        let key = stage.told_of_next(false).await;
        stage.admit(key).await;
        stage.told_of_next(true).await;
        stage.finish();
    };
    let source = Source::Hub(Box::new(source(&stage.scene)));
    let (run, ()) = tokio::join!(rotate(&stage.scene, source, Duration::from_mins(2)), half);
    run.assert_result("converged");
    assert_eq!(stage.scene.heard(ROTATE).len(), 0);
}

#[tokio::test]
async fn a_move_that_takes_longer_is_pending_and_harms_nobody() {
    let stage = Stage::start().await;
    settled(&stage).await.stop().await;
    let source = Source::Hub(Box::new(source(&stage.scene)));
    let run = rotate(&stage.scene, source, Duration::from_secs(2)).await;
    run.assert_result("pending");
    assert_eq!((run.exit(), &run.result["stage"]), (3, &Value::from("asked")), "{run:?}");
    assert_eq!(stage.leads_to(), "sitepeer-acme");
}

#[tokio::test]
async fn without_a_hub_or_with_one_that_is_too_old_nothing_is_done_and_the_way_out_is_named() {
    let stage = Stage::start().await;
    let before = stage.world().router.writes();
    let run = rotate(&stage.scene, from_file(stage.world().site().load()), Duration::from_secs(5)).await;
    assert_eq!(run.failed(), (5, "no-hub"));
    assert!(run.result["hint"].as_str().unwrap().contains("second WireGuard interface"), "{run:?}");
    let old = Scene::scripted(|heard, _| {
        if heard.path.starts_with(ROTATE) {
            Said::Instead(crate::fake::problem(404, "not-found", ""))
        } else {
            Said::AsUsual
        }
    })
    .await;
    let run = rotate(&old, Source::Hub(Box::new(source(&old))), Duration::from_secs(5)).await;
    assert_eq!(run.failed(), (6, "hub-refused"));
    assert!(run.result["hint"].as_str().unwrap().contains("upgrade the hub"), "{run:?}");
    assert_eq!((stage.world().router.writes(), old.world.router.writes()), (before, 0));
}
