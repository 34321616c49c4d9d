//! Enrolment that goes wrong: answers lost, tokens refused, files damaged.

use std::fs;

use sitepeer::api::code;
use sitepeer::cli::uplink::credential::Kept;

use crate::fake::{json, problem};
use crate::hub::{CREDENTIAL, Said, Scene, TOKEN, enrolled};

#[tokio::test]
async fn a_lost_answer_costs_nothing_because_the_nonce_is_the_same() {
    let scene = Scene::scripted(|heard, earlier| match (heard.path.as_str(), earlier) {
        ("/v1/enroll", 0) => Said::DoneAndCut,
        _ => Said::AsUsual,
    })
    .await;
    let done = scene.provision().await;
    done.assert_result("converged");
    let asked = scene.heard("/v1/enroll");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0]["device_nonce"], asked[1]["device_nonce"]);
    assert!(done.warnings().contains(&"hub-again"));
}

#[tokio::test]
async fn a_run_that_was_ended_after_asking_asks_with_the_same_nonce_the_next_time() {
    let scene = Scene::scripted(|heard, earlier| match (heard.path.as_str(), earlier) {
        ("/v1/enroll", 0) => Said::Instead(problem(403, code::TOKEN_EXPIRED, "")),
        _ => Said::AsUsual,
    })
    .await;
    let refused = scene.provision().await;
    assert_eq!(refused.failed(), (6, "hub-refused"));
    assert!(matches!(scene.credential_file().read().unwrap(), Kept::Nonce(_)));
    scene.provision().await.assert_result("converged");
    let asked = scene.heard("/v1/enroll");
    assert_eq!(asked[0]["device_nonce"], asked[1]["device_nonce"]);
}

#[tokio::test]
async fn a_refused_token_is_told_with_code_and_hint_and_nothing_is_written() {
    for refusal in [code::TOKEN_SPENT, code::TOKEN_EXPIRED, code::TOKEN_REVOKED, code::UNAUTHENTICATED] {
        let scene = Scene::scripted(move |_, _| Said::Instead(problem(401, refusal, ""))).await;
        let before = scene.world.state_with_ids();
        let refused = scene.provision().await;
        assert_eq!(refused.failed(), (6, "hub-refused"));
        let message = refused.result["message"].as_str().unwrap();
        assert!(message.contains(refusal) && refused.result["hint"].is_string(), "{refused:?}");
        assert!(before == scene.world.state_with_ids());
        assert!(!format!("{refused:?}").contains(TOKEN));
    }
}

#[tokio::test]
async fn a_hub_that_is_busy_is_asked_again_when_it_said() {
    let scene = Scene::scripted(|_, earlier| match earlier {
        0 => Said::Instead(problem(503, code::UNAVAILABLE, "retry-after: 0\r\n")),
        _ => Said::AsUsual,
    })
    .await;
    scene.provision().await.assert_result("converged");
}

#[tokio::test]
async fn a_clients_token_is_not_taken_for_a_routers() {
    let scene = Scene::scripted(|_, _| {
        let mut reply = enrolled();
        reply["kind"] = "client".into();
        Said::Instead(json(&reply.to_string()))
    })
    .await;
    assert_eq!(scene.provision().await.failed(), (2, "other-token"));
}

#[tokio::test]
async fn a_revoked_credential_and_a_deleted_peer_come_with_their_way_out() {
    for (refusal, status, way_out) in [
        (code::UNAUTHENTICATED, 401, "new token"),
        (code::TOKEN_REVOKED, 401, "new token"),
        (code::REMOVED, 410, "sitepeer remove"),
    ] {
        let scene = Scene::scripted(move |heard, _| match heard.path.as_str() {
            "/v1/agent/desired" => Said::Instead(problem(status, refusal, "")),
            _ => Said::AsUsual,
        })
        .await;
        let refused = scene.provision().await;
        assert_eq!(refused.failed(), (6, "hub-refused"));
        assert!(refused.result["hint"].as_str().unwrap().contains(way_out), "{refused:?}");
    }
}

#[tokio::test]
async fn nobody_at_the_hubs_address_is_said_at_once() {
    let scene = Scene::start().await;
    let url = "http://127.0.0.1:9".parse().unwrap();
    let hub = sitepeer::uplink::Hub::new(url, &sitepeer::uplink::Trust::Public, None).unwrap();
    let began = std::time::Instant::now();
    let source = sitepeer::cli::args::HubSource { hub, ..scene.source(std::time::Duration::from_secs(30)) };
    let failed =
        scene.provision_as(|command| command.source = sitepeer::cli::args::Source::Hub(Box::new(source))).await;
    assert_eq!(failed.failed(), (6, "hub-unreachable"));
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test]
async fn the_rows_stay_and_it_is_said_when_the_hub_cannot_be_told() {
    let scene = Scene::scripted(|heard, earlier| match (heard.path.as_str(), earlier) {
        ("/v1/agent/applied", 0) => Said::Instead(problem(409, code::KEY_TAKEN, "")),
        _ => Said::AsUsual,
    })
    .await;
    let failed = scene.provision().await;
    assert_eq!(failed.failed(), (6, "hub-refused"));
    assert!(failed.result["message"].as_str().unwrap().contains("rows are on the router"), "{failed:?}");
    assert!(failed.writes() > 0);
    let again = scene.provision().await;
    again.assert_result("converged");
    assert_eq!(again.writes(), 0);
}

#[tokio::test]
async fn a_report_that_is_not_taken_is_a_warning_and_no_failure() {
    let scene = Scene::scripted(|heard, _| match heard.path.as_str() {
        "/v1/agent/reports" => Said::Instead(problem(400, code::INVALID, "")),
        _ => Said::AsUsual,
    })
    .await;
    let done = scene.provision().await;
    done.assert_result("converged");
    assert!(done.warnings().contains(&"hub-not-told"));
}

#[tokio::test]
async fn no_secret_is_said_whatever_happens() {
    let scene = Scene::start().await;
    let done = scene.provision().await;
    let again = scene.provision().await;
    let all = format!("{done:?}{again:?}{:?}{:?}", done.events, again.events);
    assert!(!all.contains(CREDENTIAL) && !all.contains(TOKEN), "{all}");
    let kept = fs::read_to_string(scene.credential_file().path).unwrap();
    assert!(kept.contains(CREDENTIAL) && !kept.contains(TOKEN));
}
