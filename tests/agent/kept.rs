//! A router that is kept as its hub says, also while the hub is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sitepeer::agent::standing::Phase;
use sitepeer::api::TunnelState;

use crate::hub::{Said, Scene};
use crate::running::{Running, until};

#[tokio::test]
async fn what_the_hub_wants_is_on_the_router_and_told_and_so_is_what_it_wants_next() {
    let scene = Scene::start().await;
    let agent = Running::of_hub(&scene);
    agent.until("revision 7", |figures| figures.revision == 7).await;
    until("told", || scene.heard("/v1/agent/applied").iter().any(|body| body["revision"] == 7)).await;
    scene.edit(|desired| desired["config"]["reach"] = json!(["10.99.0.0/24", "192.168.89.0/24", "192.168.90.0/24"]));
    agent.until("revision 8", |figures| figures.revision == 8).await;
    until("told", || scene.heard("/v1/agent/applied").iter().any(|body| body["revision"] == 8)).await;
    let routes = scene.world.state();
    assert!(routes.rows("/ip/route").iter().any(|row| row["dst-address"] == b"192.168.90.0/24"));
    agent.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
    let figures = agent.stop().await;
    assert_eq!((figures.drifts, figures.trouble), (0, None));
    assert_eq!(figures.disk_writes, 2, "one write for each thing that was wanted");
    assert_eq!(scene.heard("/v1/agent/applied").len(), 2, "what is on the router is told once, not with each report");
    let reports = scene.heard("/v1/agent/reports");
    assert!(reports.iter().all(|body| body["epoch"] == "e1-1"), "{reports:?}");
    let said: Vec<_> = reports.iter().flat_map(|body| body["reports"].as_array().unwrap()).collect();
    assert!(said.iter().any(|report| report["state"] == "up" && report["tunnel"]["verdict"] == "proven"), "{said:?}");
    assert!(said.windows(2).all(|two| two[1]["number"].as_i64() > two[0]["number"].as_i64()), "{said:?}");
}

#[tokio::test]
async fn what_somebody_changed_is_told_to_the_hub_with_what_the_router_says_of_who_it_was() {
    let scene = Scene::start().await;
    let agent = Running::of_hub(&scene);
    agent.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
    let id = scene.world.id_of("/interface/wireguard/peers", "comment", "sitepeer:");
    let other = [(".id", id.as_str()), ("persistent-keepalive", "7s")];
    scene.world.operator("/interface/wireguard/peers/set", &other).await;
    agent.until("put back", |figures| figures.drifts == 1).await;
    let events = || -> Vec<Value> {
        let batches = scene.heard("/v1/agent/reports");
        let reports = batches.iter().flat_map(|body| body["reports"].as_array().unwrap().clone());
        reports.filter_map(|report| report["events"].as_array().cloned()).flatten().collect()
    };
    until("told", || !events().is_empty()).await;
    let told = events();
    assert_eq!(
        (told.len(), &told[0]["kind"], &told[0]["code"]),
        (1, &json!("drift"), &json!("/interface/wireguard/peers"))
    );
    let words = told[0]["words"].as_str().unwrap();
    assert!(words.contains("by tcp-msg(winbox):admin@192.168.88.20/terminal (the log: peers changed)"), "{words}");
    assert!(words.contains("persistent-keepalive=25s (was \"7s\")"), "{words}");
    agent.stop().await;
}

#[tokio::test]
async fn while_the_hub_is_away_the_last_word_is_kept_up_after_a_restart_too() {
    let scene = Scene::start().await;
    let agent = Running::of_hub(&scene);
    agent.until("as wanted", |figures| figures.phase == Phase::Watching && figures.disk_writes == 1).await;
    agent.stop().await;

    let away = Scene::scripted(|_, _| {
        Said::Instead("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned())
    })
    .await;
    // The same hub by name, and another router that has nothing yet.
    let kept = scene.path("k3f9q2x7.json");
    let text = std::fs::read_to_string(&kept).unwrap().replace(&scene.url().to_string(), &away.url().to_string());
    std::fs::write(away.path("k3f9q2x7.json"), text).unwrap();
    let agent = Running::of_hub(&away);
    let figures = agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    assert_eq!((figures.revision, figures.disk_writes), (7, 0));
    agent.stop().await;
}

#[tokio::test]
async fn a_site_config_for_somebody_else_or_against_the_rules_changes_nothing() {
    let scene = Scene::start().await;
    let agent = Running::of_hub(&scene);
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    let writes = scene.world.router.writes();
    scene.edit(|desired| desired["config"]["id"] = json!("zzzzzzzz"));
    until("asked past it", || scene.heard("/v1/agent/desired").len() > 3).await;
    scene.edit(|desired| {
        desired["config"]["id"] = json!(crate::hub::PEER);
        desired["config"]["reach"] = json!(["0.0.0.0/0"]);
    });
    until("asked past that too", || scene.heard("/v1/agent/desired").len() > 6).await;
    assert_eq!(scene.world.router.writes(), writes);
    let figures = agent.stop().await;
    assert_eq!(figures.revision, 7);
}

#[tokio::test]
async fn an_agent_whose_credential_was_taken_back_holds_hands_off_and_goes_on_when_it_is_known_again() {
    let is_revoked = Arc::new(AtomicBool::new(false));
    let script = Arc::clone(&is_revoked);
    let scene = Scene::scripted(move |_, _| {
        let is_revoked = script.load(Ordering::Relaxed);
        if is_revoked { Said::Instead(crate::fake::problem(401, "token-revoked", "")) } else { Said::AsUsual }
    })
    .await;
    let agent = Running::of_hub(&scene);
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    is_revoked.store(true, Ordering::Relaxed);
    agent.until("hands off", |figures| figures.phase == Phase::Frozen).await;
    let id = scene.world.id_of("/ip/address", "comment", "sitepeer:");
    scene.world.operator("/ip/address/remove", &[(".id", &id)]).await;
    let writes = scene.world.router.writes();
    // Longer than it waits for somebody to be through with his changes.
    let asked = scene.heard("/v1/agent/desired").len();
    until("asked again and again", || scene.heard("/v1/agent/desired").len() >= asked + 2).await;
    assert_eq!(scene.world.router.writes(), writes, "somebody else drives it now");
    is_revoked.store(false, Ordering::Relaxed);
    scene.edit(|desired| desired["config"]["hub"]["keepalive_secs"] = json!(30));
    agent.until("put back", |figures| figures.phase == Phase::Watching).await;
    assert!(scene.world.router.writes() > writes);
    agent.stop().await;
}
