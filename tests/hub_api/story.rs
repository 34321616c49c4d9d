//! The daily work, from an empty hub to a connected site and a client with its profile.

use serde_json::json;

use crate::client::Client;
use crate::hub::{Hub, KEYS, enroll, serve, text, until};

#[tokio::test]
async fn the_daily_work() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let operator = &tenant.operator;
    let instance = tenant.instance("office").await;
    let shown = operator.get(&format!("/v1/instances/{instance}")).await.done(200).json();
    assert_eq!((&shown["status"], &shown["tunnel_subnet"]), (&json!("deploying"), &json!("10.99.0.0/24")));
    let site = tenant.site("branch").await;
    let peer = tenant.site_peer(&instance, &site, &["192.168.88.0/24"]).await;

    // The agent enrols before there is a gateway: it is told what it waits for.
    let token = tenant.enrollment(&peer).await;
    let enrolled = enroll(&hub, &token, "nonce-nonce-nonce").await.done(200).json();
    assert_eq!((&enrolled["peer"], &enrolled["kind"]), (&json!(peer), &json!("site")));
    let agent = hub.admin.with(enrolled["credential"].as_str().unwrap());
    assert_eq!(agent.get("/v1/whoami").await.done(200).json()["name"], format!("agent {peer}"));
    let desired = agent.get("/v1/agent/desired").await.done(200).json();
    assert!(desired["config"].is_null() && desired["waiting_for"].is_string(), "{desired}");

    // A gateway comes, takes the instance, and the agent's poll is woken by it.
    let gateway = hub.gateway().await;
    let placed = |gateway: &serde_json::Value| gateway["items"][0]["instances"] == 1;
    until(&hub.admin, "/v1/gateways", placed).await;
    let wanted = serve(&gateway, 0, KEYS[0]).await;
    assert_eq!(wanted["instances"][0]["id"], json!(instance));
    let path = format!("/v1/instances/{instance}");
    let active = until(operator, &path, |instance| instance["status"] == "active").await;
    assert_eq!((&active["endpoint"], &active["public_key"]), (&json!("192.0.2.1:51820"), &json!(KEYS[0])));
    let revision = desired["revision"].as_i64().unwrap();
    let desired = agent.get(&format!("/v1/agent/desired?revision={revision}&wait=20")).await.done(200).json();
    assert_eq!(desired["config"]["hub"]["public_key"], KEYS[0]);

    // The router made its key; with it, the gateway gets the peer.
    let facts = json!({"identity": "branch", "board": "hAP", "subnets": [{"subnet": "192.168.88.0/24", "interface": "bridge"}]});
    let applied = json!({"revision": desired["revision"], "public_key": KEYS[1], "device": facts});
    agent.post("/v1/agent/applied", applied).await.done(204);
    let wanted = serve(&gateway, wanted["revision"].as_i64().unwrap(), KEYS[0]).await;
    assert_eq!(wanted["peers"][0]["public_key"], KEYS[1]);
    let subnets = operator.get(&format!("/v1/sites/{site}/subnets")).await.done(200).json();
    assert_eq!(subnets["subnets"][0]["subnet"], "192.168.88.0/24");

    // Reports make it connected, and are counted once.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let traffic = json!({
        "peer": peer, "revision": wanted["peers"][0]["revision"], "handshake_at": now - 5, "rx_bytes": 1000, "tx_bytes": 2000,
    });
    let report = |number: u64| json!({"epoch": "e1", "number": number, "at": now, "peers": [traffic]});
    for number in [1, 1, 2] {
        gateway.post("/v1/gateway/reports", report(number)).await.done(200);
    }
    let peer_path = format!("/v1/peers/{peer}");
    let connected = until(operator, &peer_path, |peer| peer["status"] == "connected").await;
    assert_eq!(connected["link"]["rx_bytes"], 1000);
    let reports = json!({"epoch": "a1", "reports": [{"number": 1, "at": now, "tunnel": {"verdict": "proven"}}]});
    assert_eq!(agent.post("/v1/agent/reports", reports).await.done(200).json()["number"], 1);
    agent_that_watches(&agent, now).await;

    // Switched off and on, edited, deleted.
    let off = operator.post(&format!("{peer_path}/disable"), json!({})).await.done(200);
    assert_eq!(off.json()["status"], "disabled");
    operator.post(&format!("{peer_path}/enable"), json!({})).await.done(200);
    let edited = operator.patch(&peer_path, json!({"subnets": ["192.168.89.0/24"]})).await.done(200);
    assert_eq!(edited.json()["subnets"], json!(["192.168.89.0/24"]));
    operator.delete(&peer_path).await.done(204);
    operator.get(&peer_path).await.refused(404, "not-found");
    let gone = agent.get("/v1/agent/desired").await;
    assert_eq!(gone.status, 410, "{}", gone.text());

    let audit = operator.get("/v1/audit").await.done(200).json();
    let actions: Vec<String> = audit["items"].as_array().unwrap().iter().map(|entry| text(&entry["action"])).collect();
    assert!(
        actions[0].starts_with("peer.") && actions.iter().any(|action| action.starts_with("instance.")),
        "{actions:?}"
    );
    let all = audit.to_string();
    assert!(!all.contains(&token) && !all.contains(agent.credential.as_deref().unwrap()), "a secret in the audit log");
}

#[tokio::test]
async fn a_list_comes_in_pages_that_lose_nobody() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    for number in 0..7 {
        tenant.site(&format!("site {number}")).await;
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = tenant.operator.get(&format!("/v1/sites?limit=3{cursor}")).await.done(200).json();
        names.extend(page["items"].as_array().unwrap().iter().map(|site| text(&site["name"])));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    names.sort();
    assert_eq!(names, (0..7).map(|number| format!("site {number}")).collect::<Vec<_>>());
    let found = tenant.operator.get("/v1/sites?search=SITE%203").await.done(200).json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
}

#[tokio::test]
async fn a_post_that_is_repeated_makes_one_thing_and_an_old_version_changes_none() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let once = async |name: &str| {
        let body = Some(json!({"name": name}));
        tenant.operator.send("POST", "/v1/sites", &[("idempotency-key", "key-1")], body).await
    };
    let (first, again) = (once("a").await.done(201), once("a").await.done(201));
    assert_eq!(first.json()["id"], again.json()["id"]);
    once("b").await.refused(422, "idempotency-key-reused");

    let path = format!("/v1/sites/{}", text(&first.json()["id"]));
    let tag = tenant.operator.get(&path).await.done(200).header("etag").unwrap().to_owned();
    let rename = async |name: &str, tag: &str| {
        tenant.operator.send("PATCH", &path, &[("if-match", tag)], Some(json!({"name": name}))).await
    };
    let renamed = rename("b", &tag).await.done(200);
    assert_ne!(renamed.header("etag"), Some(tag.as_str()));
    rename("c", &tag).await.refused(412, "changed-meanwhile");
    rename("c", "\"none of ours\"").await.refused(412, "changed-meanwhile");
    rename("c", "*").await.done(200);
}

/// Reports with a state, findings and a sample are taken within limits, and so are words of newer agents.
async fn agent_that_watches(agent: &Client, now: u64) {
    let finding = |code: String| json!({"code": code, "severity": "grave", "since": now, "evidence": "e", "hint": "h"});
    let batch = |number: u64, findings: Vec<serde_json::Value>| {
        json!({"epoch": "a1", "reports": [{
            "number": number, "at": now, "tunnel": {"verdict": "unproven:no-udp-egress"}, "state": "dozing", "findings": findings,
            "sample": {"handshake_age_secs": 200, "rtt_us": {"min": 1, "avg": 2, "max": 3}, "wan": "203.0.113.10"},
        }]})
    };
    let taken = agent.post("/v1/agent/reports", batch(2, vec![finding("no-udp-egress".to_owned())])).await;
    assert_eq!(taken.done(200).json()["number"], 2);
    let many = (0..33).map(|number| finding(format!("code-{number}"))).collect();
    agent.post("/v1/agent/reports", batch(3, many)).await.refused(422, "invalid");
    agent.post("/v1/agent/reports", batch(3, vec![finding("x".repeat(49))])).await.refused(422, "invalid");
}
