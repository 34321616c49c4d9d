//! A site's health and freezes over HTTP.

use serde_json::json;

use crate::hub::{Hub, enroll, text};

#[tokio::test]
async fn an_agent_reports_and_people_read_how_the_site_is() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let instance = tenant.instance("office").await;
    let site = tenant.site("branch").await;
    let peer = tenant.site_peer(&instance, &site, &["192.168.88.0/24"]).await;
    let token = tenant.enrollment(&peer).await;
    let enrolled = enroll(&hub, &token, "nonce-nonce-nonce").await.done(200).json();
    let agent = hub.admin.with(enrolled["credential"].as_str().unwrap());
    let viewer = hub.token("viewer", Some(&tenant.account)).await;
    let place = format!("/v1/sites/{site}");

    let before = viewer.get(&format!("{place}/health")).await.done(200).json();
    assert_eq!((&before["verdict"], &before["peers"][0]["agent"]), (&json!("unknown"), &json!(null)));
    let finding = json!({"code": "wrong-key", "severity": "critical", "since": 1, "evidence": "seen", "hint": "do"});
    let report = |number: i64, state: &str| {
        json!({"number": number, "at": 77 + number, "tunnel": {"verdict": "unproven:wrong-key"}, "state": state,
            "findings": if state == "up" { json!([]) } else { json!([finding]) },
            "sample": {"loss_percent": 3, "rtt_us": {"min": 1, "avg": 2, "max": 3}}})
    };
    let batch =
        json!({"epoch": "e1", "reports": [report(1, "up"), report(2, "down"), report(3, "dozing")], "sent_at": 80});
    for _twice in 0..2 {
        assert_eq!(agent.post("/v1/agent/reports", batch.clone()).await.done(200).json()["number"], 3);
    }
    let health = viewer.get(&format!("{place}/health")).await.done(200).json();
    let end = &health["peers"][0]["agent"];
    assert_eq!((&end["state"], &end["sample"]["loss_percent"]), (&json!("unknown"), &json!(3)), "{health:#}");
    assert_eq!(health["transitions"][1]["cause"], "wrong-key");
    let page = viewer.get(&format!("{place}/transitions?limit=1")).await.done(200).json();
    assert_eq!((&page["items"][0]["was"], &page["items"][0]["state"]), (&json!("down"), &json!("unknown")));
    let next = format!("{place}/transitions?cursor={}", text(&page["next"]));
    let rest = viewer.get(&next).await.done(200).json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &json!(null)), "each once");
    let hours = viewer.get(&format!("{place}/hours")).await.done(200).json();
    let points = hours["items"].as_array().unwrap().iter().map(|hour| hour["points"].as_array().unwrap().len());
    assert_eq!(points.sum::<usize>(), 3, "{hours}");

    for (query, status) in [("month=2026-13", 422), ("month=", 422), ("month=2026-11&month=x", 400), ("when=now", 400)]
    {
        assert_eq!(viewer.get(&format!("{place}/health?{query}")).await.status, status, "{query}");
    }
    for list in ["transitions", "hours"] {
        viewer.get(&format!("{place}/{list}?cursor=x-%00y")).await.refused(422, "invalid");
        viewer.get(&format!("{place}/{list}?cursor=none")).await.refused(422, "invalid");
    }
    let odd = json!({"epoch": "e2", "reports": [{"number": 1, "at": i64::MIN, "tunnel": {"verdict": "x"}}], "sent_at": i64::MAX});
    agent.post("/v1/agent/reports", odd).await.done(200);
    viewer.get(&format!("{place}/health")).await.done(200);
}

#[tokio::test]
async fn a_freeze_wakes_the_agent_that_waits_and_ends_when_it_is_said() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let instance = tenant.instance("office").await;
    let site = tenant.site("branch").await;
    let peer = tenant.site_peer(&instance, &site, &[]).await;
    let token = tenant.enrollment(&peer).await;
    let enrolled = enroll(&hub, &token, "nonce-nonce-nonce").await.done(200).json();
    let agent = hub.admin.with(enrolled["credential"].as_str().unwrap());
    let (operator, path) = (&tenant.operator, format!("/v1/sites/{site}/freeze"));
    let revision = async || agent.get("/v1/agent/desired").await.done(200).json()["revision"].as_i64().unwrap();

    let poll = format!("/v1/agent/desired?revision={}&wait=30", revision().await);
    let waiting = {
        let agent = agent.clone();
        tokio::spawn(async move { agent.get(&poll).await })
    };
    let frozen = operator.post(&path, json!({"for_secs": 7200, "reason": "at work"})).await.done(200);
    assert!(frozen.header("etag").is_some());
    let until = frozen.json()["frozen"]["until"].as_i64().unwrap();
    assert_eq!(waiting.await.unwrap().done(200).json()["frozen_until"], until);
    assert_eq!(operator.get(&format!("/v1/sites/{site}/health")).await.done(200).json()["frozen"]["reason"], "at work");

    operator.delete(&path).await.done(204);
    operator.delete(&path).await.refused(404, "not-found");
    assert!(agent.get("/v1/agent/desired").await.done(200).json()["frozen_until"].is_null());
    for (body, status) in [
        (json!({"for_secs": 0}), 422),
        (json!({"for_secs": 604_801}), 422),
        (json!({"for_secs": 60, "reason": "x".repeat(201)}), 422),
        (json!({"for_secs": -1}), 400),
        (json!({"for_secs": 60, "forever": true}), 400),
        (json!({}), 400),
    ] {
        assert_eq!(operator.post(&path, body.clone()).await.status, status, "{body}");
    }
    let viewer = hub.token("viewer", Some(&tenant.account)).await;
    viewer.post(&path, json!({"for_secs": 60})).await.refused(403, "forbidden");
    viewer.delete(&path).await.refused(403, "forbidden");
    let log = operator.get("/v1/audit").await.done(200).json();
    let acts = log["items"].as_array().unwrap().iter().map(|entry| text(&entry["action"]));
    let acts: Vec<String> = acts.filter(|act| act == "site.thaw" || act == "site.freeze").collect();
    assert_eq!(acts, ["site.thaw", "site.freeze"]);
}
