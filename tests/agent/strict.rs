//! A router that takes a packet only from where it would send the answer to.

use serde_json::Value;
use sitepeer::agent::standing::Phase;

use crate::moving::{Stage, settled};
use crate::pings::Pings;
use crate::running::until;
use crate::world::{assert_same, foreign};

async fn set(stage: &Stage, how: &str) {
    stage.world().operator("/ip/settings/set", &[("rp-filter", how)]).await;
}

/// The newest findings that the hub was told of.
fn findings(stage: &Stage) -> Vec<Value> {
    let batches = stage.scene.heard("/v1/agent/reports");
    let last = batches.iter().flat_map(|body| body["reports"].as_array().unwrap().clone()).last();
    last.and_then(|report| report["findings"].as_array().cloned()).unwrap_or_default()
}

#[tokio::test]
async fn a_move_that_a_strict_router_would_lose_packets_in_is_not_begun_until_somebody_mends_it() {
    let stage = Stage::start().await;
    set(&stage, "strict").await;
    let agent = settled(&stage).await;
    let before = foreign(stage.world());
    let pings = Pings::start(stage.world());
    stage.announce();
    agent.until("revision 8", |figures| figures.revision == 8 && figures.phase == Phase::Watching).await;
    assert_eq!(stage.interfaces(), ["sitepeer-acme"], "the move was begun");
    let shown = || findings(&stage).into_iter().find(|finding| finding["code"] == "move-held");
    until("told", || shown().is_some()).await;
    let told = shown().unwrap();
    assert!(told["evidence"].as_str().unwrap().contains("rp-filter=strict"), "{told}");
    assert!(told["hint"].as_str().unwrap().starts_with("/ip/settings/set rp-filter=loose"), "{told}");
    assert_eq!(told["severity"], "info");
    assert_same(&before, &foreign(stage.world()), "rows of others");
    let setting = stage.world().state().rows("/ip/settings")[0]["rp-filter"].clone();
    assert_eq!(setting, b"strict", "it is the owner's");
    set(&stage, "loose").await;
    stage.scene.edit(|_| {});
    let key = stage.told_of_next(false).await;
    stage.admit(key).await;
    assert_eq!(stage.told_of_next(true).await, key);
    stage.finish();
    stage.moved(key).await;
    until("no longer told", || shown().is_none()).await;
    let (sent, lost) = pings.end().await;
    println!("a move that waited for its router: {lost} of {sent} pings lost");
    assert_eq!(lost, 0);
    agent.stop().await;
}
