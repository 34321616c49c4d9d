//! A hub that is not ready yet.

use serde_json::{Value, json};

use crate::hub::{Said, Scene};

fn not_yet(desired: &mut Value) {
    desired["config"] = Value::Null;
    desired["waiting_for"] = json!("a gateway in region eu");
}

#[tokio::test]
async fn it_is_said_what_is_waited_for_and_provisioning_goes_on_when_it_is_there() {
    let scene = Scene::start().await;
    let whole = {
        let mut whole = Value::Null;
        scene.edit(|desired| {
            whole = desired["config"].clone();
            not_yet(desired);
        });
        whole
    };
    let becoming_ready = async {
        while scene.heard("/v1/agent/desired").len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        scene.edit(|desired| {
            desired["config"] = whole;
            desired["waiting_for"] = Value::Null;
        });
    };
    let (done, ()) = tokio::join!(scene.provision(), becoming_ready);
    done.assert_result("converged");
    let said = done.events.iter().filter(|event| event["step"] == "hub").map(|event| event["detail"].as_str().unwrap());
    let waiting: Vec<&str> = said.filter(|detail| detail.contains("waiting")).collect();
    assert_eq!(waiting.len(), 1, "once, not at every look: {waiting:?}");
    assert!(waiting[0].contains("a gateway in region eu"));
}

#[tokio::test]
async fn a_hub_that_is_never_ready_is_given_up_with_what_it_waits_for() {
    let scene = Scene::start().await;
    scene.edit(not_yet);
    let failed = scene.provision().await;
    assert_eq!(failed.failed(), (6, "hub-not-ready"));
    assert!(failed.result["message"].as_str().unwrap().contains("a gateway in region eu"));
    assert_eq!(failed.writes(), 0);
}

#[tokio::test]
async fn a_hub_that_answers_at_once_what_was_to_wait_is_not_asked_without_a_pause() {
    let scene = Scene::scripted(|heard, _| {
        if heard.path.contains("wait=") {
            return Said::Instead("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned());
        }
        Said::AsUsual
    })
    .await;
    scene.edit(not_yet);
    assert_eq!(scene.provision().await.failed(), (6, "hub-not-ready"));
    let asked = scene.heard("/v1/agent/desired").len();
    assert!((3..=20).contains(&asked), "asked {asked} times in three seconds");
}

#[tokio::test]
async fn a_hub_that_talks_nonsense_is_said_to() {
    for nonsense in
        ["HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", "220 smtp ready\r\n\r\n"]
    {
        let scene = Scene::scripted(move |_, _| Said::Instead(nonsense.to_owned())).await;
        assert_eq!(scene.provision().await.failed(), (6, "hub-garbage"));
    }
}
