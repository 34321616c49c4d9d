//! What the issue lists as refused by name, and that nothing tells what another account has.

use serde_json::json;

use crate::hub::{Hub, KEYS, enroll, text};

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let instance = tenant.instance("office").await;
    let (one, two) = (tenant.site("one").await, tenant.site("two").await);
    tenant.site_peer(&instance, &one, &["192.168.88.0/24"]).await;
    let site = |subnets: serde_json::Value| json!({"kind": "site", "site": two, "subnets": subnets});

    let overlap = tenant.peer(&instance, site(json!(["192.168.0.0/16"]))).await.refused(409, "overlap");
    let detail = text(&overlap["detail"]);
    assert!(detail.contains("192.168.88.0/24") && detail.contains("one"), "{detail}");
    let own = tenant.peer(&instance, site(json!(["10.99.0.0/25"]))).await;
    assert!([409, 422].contains(&own.status) && own.json()["code"] == "overlap", "{}", own.text());
    let broad = tenant.peer(&instance, site(json!(["0.0.0.0/0"]))).await;
    assert_eq!(broad.json()["code"], "broad-prefix", "{}", broad.text());
    let reserved = tenant.operator.post("/v1/instances", json!({"name": "vpn", "region": "eu"})).await;
    assert_eq!(reserved.json()["code"], "hostname-reserved", "{}", reserved.text());
    let taken = tenant.operator.post("/v1/instances", json!({"name": "office", "region": "eu"})).await;
    assert_eq!(taken.status, 409, "{}", taken.text());
    let openvpn = json!({"kind": "client", "user": "eve", "protocol": "openvpn"});
    assert_eq!(tenant.peer(&instance, openvpn).await.json()["code"], "protocol-unsupported");
    let client = |user: &str| json!({"kind": "client", "user": user, "public_key": KEYS[2]});
    tenant.peer(&instance, client("eve")).await.done(201);
    assert_eq!(tenant.peer(&instance, client("mallory")).await.refused(409, "key-taken")["field"], "public_key");
}

#[tokio::test]
async fn a_full_pool_says_so() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let new = json!({"name": "small", "region": "eu", "tunnel_subnet": "10.99.0.0/29"});
    let instance = text(&tenant.operator.post("/v1/instances", new).await.done(201).json()["id"]);
    for number in 0..5 {
        tenant.peer(&instance, json!({"kind": "client", "user": format!("user {number}")})).await.done(201);
    }
    tenant.peer(&instance, json!({"kind": "client", "user": "one too many"})).await.refused(409, "pool-full");
}

#[tokio::test]
async fn an_enrolment_token_says_why_it_is_no_good() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let instance = tenant.instance("office").await;
    let site = tenant.site("branch").await;
    let peer = tenant.site_peer(&instance, &site, &[]).await;
    let token = tenant.enrollment(&peer).await;
    enroll(&hub, &token, "nonce-of-one-device").await.done(200);
    enroll(&hub, &token, "nonce-of-another-one").await.refused(403, "token-spent");
    let made = tenant.operator.post("/v1/enrollments", json!({"peer": peer})).await.done(201).json();
    tenant.operator.delete(&format!("/v1/enrollments/{}", text(&made["id"]))).await.done(204);
    enroll(&hub, made["token"].as_str().unwrap(), "nonce-of-one-device").await.refused(403, "token-revoked");
    // Who has not the whole token hears nothing of it.
    let guess = format!("sp_enr_{}_{}", text(&made["id"]), "A".repeat(43));
    enroll(&hub, &guess, "nonce-of-one-device").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn nothing_tells_what_another_account_has() {
    let hub = Hub::start("").await;
    let (acme, other) = (hub.tenant("acme").await, hub.tenant("other").await);
    let instance = other.instance("secret").await;
    let site = other.site("branch").await;
    let peer = other.site_peer(&instance, &site, &["192.168.88.0/24"]).await;
    let nobody = "zzzzzzzz";
    let same = async |method: &str, path: &str, body: Option<serde_json::Value>, theirs: &str| {
        let ask = async |id: &str| {
            let body = body.as_ref().map(|body| body.to_string().replace("ID", id).parse().unwrap());
            let answer = acme.operator.send(method, &path.replace("ID", id), &[], body).await;
            (
                answer.status,
                answer.text().replace(id, "ID").lines().filter(|line| !line.starts_with("date")).collect::<String>(),
            )
        };
        let (real, invented) = (ask(theirs).await, ask(nobody).await);
        assert_eq!(real, invented, "{method} {path} tells that {theirs} exists");
        assert!([403, 404, 200].contains(&real.0), "{method} {path}: {}", real.1);
    };
    let empty = || Some(json!({}));
    for (path, id) in [("/v1/instances/ID", &instance), ("/v1/peers/ID", &peer), ("/v1/sites/ID", &site)] {
        same("GET", path, None, id).await;
        same("DELETE", path, None, id).await;
        same("PATCH", path, empty(), id).await;
    }
    for path in ["/v1/instances/ID/usage", "/v1/instances/ID/peers"] {
        same("GET", path, None, &instance).await;
    }
    same("GET", "/v1/peers?instance=ID", None, &instance).await;
    same("GET", "/v1/peers?site=ID", None, &site).await;
    same("GET", "/v1/instances?account=ID", None, &other.account).await;
    same("GET", "/v1/accounts/ID", None, &other.account).await;
    for verb in ["retry", "suspend", "resume"] {
        same("POST", &format!("/v1/instances/ID/{verb}"), empty(), &instance).await;
    }
    for path in ["/v1/peers/ID/usage", "/v1/peers/ID/profile"] {
        same("GET", path, None, &peer).await;
    }
    same("POST", "/v1/peers/ID/enable", None, &peer).await;
    same("DELETE", "/v1/peers/ID/credential", None, &peer).await;
    for path in ["subnets", "health", "transitions", "events", "hours"] {
        same("GET", &format!("/v1/sites/ID/{path}"), None, &site).await;
    }
    same("POST", "/v1/sites/ID/freeze", Some(json!({"for_secs": 60})), &site).await;
    same("DELETE", "/v1/sites/ID/freeze", None, &site).await;
    same("POST", "/v1/enrollments", Some(json!({"peer": "ID"})), &peer).await;
    same("POST", "/v1/sites", Some(json!({"name": "x", "account": "ID"})), &other.account).await;
    same("POST", "/v1/instances", Some(json!({"name": "xyz", "region": "eu", "account": "ID"})), &other.account).await;
    let mine = acme.instance("mine").await;
    let there = format!("/v1/instances/{mine}/peers");
    same("POST", &there, Some(json!({"kind": "site", "site": "ID", "subnets": []})), &site).await;
    let empty_list = acme.operator.get("/v1/sites").await.done(200).json();
    assert_eq!(empty_list["items"], json!([]));
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let instance = tenant.instance("office").await;
    let viewer = hub.token("viewer", Some(&tenant.account)).await;
    viewer.get(&format!("/v1/instances/{instance}")).await.done(200);
    viewer.delete(&format!("/v1/instances/{instance}")).await.refused(403, "forbidden");
    viewer.post("/v1/sites", json!({"name": "x"})).await.refused(403, "forbidden");
    tenant.operator.post("/v1/accounts", json!({"name": "x"})).await.refused(403, "forbidden");
    tenant.operator.post("/v1/tokens", json!({"name": "x", "role": "admin"})).await.refused(403, "forbidden");
}

#[tokio::test]
async fn keys_that_are_none_and_too_many_of_them_are_refused() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let instance = tenant.instance("office").await;
    let small = json!({"kind": "client", "user": "eve", "public_key": "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA="});
    let refused = tenant.peer(&instance, small).await.refused(400, "malformed");
    assert!(text(&refused["detail"]).contains("small order"), "{refused}");

    let site = tenant.site("branch").await;
    let peer = tenant.site_peer(&instance, &site, &[]).await;
    let token = tenant.enrollment(&peer).await;
    let enrolled = enroll(&hub, &token, "nonce-of-one-device").await.done(200).json();
    let agent = hub.admin.with(&text(&enrolled["credential"]));
    let bring = async |number: u8| {
        let revision = agent.get("/v1/agent/desired").await.done(200).json()["revision"].clone();
        let key = sitepeer::domain::PublicKey::from_bytes([number; 32]).unwrap();
        agent.post("/v1/agent/applied", json!({"revision": revision, "public_key": key})).await
    };
    for number in 1..=12 {
        bring(number).await.done(204);
    }
    let late = bring(13).await;
    late.refused(429, "rate-limited");
    let wait: u64 = late.header("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
}
