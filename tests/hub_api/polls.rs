//! Long-polls over the real store: a change is there within a second, and waiting is cheap.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::hub::{Hub, KEYS, enroll, serve, until};

#[tokio::test]
async fn a_change_reaches_the_waiting_agent_and_gateway_within_a_second() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let instance = tenant.instance("office").await;
    let site = tenant.site("branch").await;
    let peer = tenant.site_peer(&instance, &site, &["192.168.88.0/24"]).await;
    let gateway = hub.gateway().await;
    until(&hub.admin, "/v1/gateways", |page| page["items"][0]["instances"] == 1).await;
    let served = serve(&gateway, 0, KEYS[0]).await["revision"].as_i64().unwrap();
    let token = tenant.enrollment(&peer).await;
    let enrolled = enroll(&hub, &token, "nonce-nonce-nonce").await.done(200).json();
    let agent = hub.admin.with(enrolled["credential"].as_str().unwrap());
    let path = format!("/v1/instances/{instance}");
    until(&tenant.operator, &path, |instance| instance["status"] == "active").await;
    // Until the merged reach has settled, there is news of its own.
    let mut revision = agent.get("/v1/agent/desired").await.done(200).json()["revision"].as_i64().unwrap();
    loop {
        let answer = agent.get(&format!("/v1/agent/desired?revision={revision}&wait=2")).await;
        if answer.status == 304 {
            break;
        }
        revision = answer.done(200).json()["revision"].as_i64().unwrap();
    }
    let waiting =
        tokio::spawn(async move { agent.get(&format!("/v1/agent/desired?revision={revision}&wait=30")).await });
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = hub.admin.get("/metrics").await.done(200).text();
        if metrics.contains("sitepeer_hub_waiting_polls{who=\"agent\"} 1") {
            break;
        }
        assert!(Instant::now() < deadline, "{metrics}");
    }
    let began = Instant::now();
    tenant.operator.patch(&format!("/v1/peers/{peer}"), json!({"keepalive_secs": 7})).await.done(200);
    let desired = waiting.await.unwrap().done(200).json();
    assert!(began.elapsed() < Duration::from_secs(1), "the agent heard after {:?}", began.elapsed());
    assert_eq!(desired["config"]["hub"]["keepalive_secs"], 7);
    assert!(served > 0);
}
