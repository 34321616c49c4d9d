//! New keys over HTTP: who may ask for them, what is shown on the way, and what is refused.

use serde_json::{Value, json};

use crate::hub::{Hub, KEYS, enroll, serve, until};

/// Serves what is wanted as a gateway with further devices would, each with the next of the keys.
async fn serve_devices(gateway: &crate::client::Client, key: &str, beside: &str) -> Value {
    let wanted = gateway.get("/v1/gateway/desired?revision=0").await.done(200).json();
    let instance = &wanted["instances"][0];
    let no_devices = Vec::new();
    let devices = instance["devices"].as_array().unwrap_or(&no_devices);
    let devices: Vec<Value> = devices
        .iter()
        .map(|one| json!({"device": one["device"], "public_key": beside, "listen_port": one["listen_port"]}))
        .collect();
    let done = json!({
        "id": instance["id"], "revision": instance["revision"], "device": instance["device"].as_u64().unwrap_or(0),
        "public_key": key, "listen_port": instance["listen_port"], "devices": devices,
    });
    let applied = json!({"revision": wanted["revision"], "instances": [done]});
    gateway.post("/v1/gateway/applied", applied).await.done(204);
    wanted
}

#[tokio::test]
async fn a_router_gets_a_new_key_and_whoever_may_not_ask_for_it_is_refused() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let operator = &tenant.operator;
    let instance = tenant.instance("office").await;
    let site = tenant.site("branch").await;
    let peer = tenant.site_peer(&instance, &site, &["192.168.88.0/24"]).await;
    let (peer_path, rotate) = (format!("/v1/peers/{peer}"), format!("/v1/peers/{peer}/rotate"));
    let rotate_instance = format!("/v1/instances/{instance}/rotate");
    operator.post(&rotate, json!({})).await.refused(409, "wrong-state");
    operator.post(&rotate_instance, json!({})).await.refused(409, "wrong-state");
    let gateway = hub.gateway().await;
    until(&hub.admin, "/v1/gateways", |gateways| gateways["items"][0]["instances"] == 1).await;
    serve(&gateway, 0, KEYS[0]).await;
    let token = tenant.enrollment(&peer).await;
    let enrolled = enroll(&hub, &token, "nonce-nonce-nonce").await.done(200).json();
    let agent = hub.admin.with(enrolled["credential"].as_str().unwrap());
    let say = async |key: &str, next: Value| {
        let revision = agent.get("/v1/agent/desired").await.done(200).json()["revision"].clone();
        let mut applied = json!({"revision": revision, "public_key": key});
        if !next.is_null() {
            applied["next"] = next;
        }
        agent.post("/v1/agent/applied", applied).await
    };
    say(KEYS[1], Value::Null).await.done(204);

    let viewer = hub.token("viewer", Some(&tenant.account)).await;
    for path in [&rotate, &rotate_instance] {
        viewer.post(path, json!({})).await.refused(403, "forbidden");
        agent.post(path, json!({})).await.refused(403, "forbidden");
    }
    operator.post("/v1/agent/rotate", json!({})).await.refused(403, "forbidden");
    viewer.delete(&rotate).await.refused(403, "forbidden");
    operator.delete(&rotate).await.refused(404, "not-found");
    hub.tenant("other").await.operator.post(&rotate, json!({})).await.refused(404, "not-found");

    // The agent asks for it, the operator gives it up, and asks again.
    agent.post("/v1/agent/rotate", json!({})).await.done(202);
    agent.post("/v1/agent/rotate", json!({})).await.done(202);
    let shown = operator.get(&peer_path).await.done(200).json();
    assert_eq!((&shown["next"]["step"], &shown["next"]["cause"]), (&json!("device"), &json!("agent")));
    operator.delete(&rotate).await.done(204);
    let asked = operator.post(&rotate, json!({})).await.done(200);
    assert!(asked.header("etag").is_some());
    assert_eq!(asked.json()["next"]["generation"], 2, "one that was given up does not come back");

    let revision = agent.get("/v1/agent/desired").await.done(200).json()["revision"].as_i64().unwrap();
    serve_devices(&gateway, KEYS[0], KEYS[2]).await;
    let path = format!("/v1/agent/desired?revision={revision}&wait=20");
    let desired = agent.get(&path).await.done(200).json();
    assert_eq!(desired["config"]["hub"]["public_key"], KEYS[0]);
    assert_eq!(desired["config"]["next"]["hub"]["public_key"], KEYS[2]);
    say(KEYS[1], json!({"generation": 2, "public_key": KEYS[2], "in_use": false})).await.refused(409, "key-taken");
    say(KEYS[1], json!({"generation": 2, "public_key": KEYS[3], "in_use": false})).await.done(204);
    let told = serve_devices(&gateway, KEYS[0], KEYS[2]).await;
    assert_eq!(told["peers"][0]["moving"], json!({"device": 1, "public_key": KEYS[3], "sends": false}));
    say(KEYS[1], json!({"generation": 2, "public_key": KEYS[3], "in_use": true})).await.done(204);
    let shown = operator.get(&peer_path).await.done(200).json();
    assert_eq!((&shown["next"]["step"], &shown["public_key"]), (&json!("grace"), &json!(KEYS[1])));
    operator.delete(&rotate).await.refused(409, "wrong-state");
    let shown = operator.get(&format!("/v1/instances/{instance}")).await.done(200).json();
    assert_eq!(
        (&shown["devices"][0]["state"], &shown["devices"][0]["public_key"]),
        (&json!("beside"), &json!(KEYS[2]))
    );
}
