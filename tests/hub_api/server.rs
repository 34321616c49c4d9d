//! The server itself, over a store that holds nothing: connections, limits, refusals, stopping.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Client, PATIENCE, exchange, read};
use crate::fake::{ADMIN, AGENT, Fake, GATEWAY, OPERATOR, VIEWER};
use crate::running::Running;

async fn start(settings: &str) -> (Running, Arc<Fake>, Client) {
    start_at("127.0.0.1:0", settings).await
}

async fn start_at(listen: &str, settings: &str) -> (Running, Arc<Fake>, Client) {
    let store = Arc::new(Fake::default());
    let running = Running::start_at(listen, settings, store.clone()).await;
    let client = Client::new(running.address, ADMIN);
    (running, store, client)
}

#[tokio::test]
async fn every_error_is_a_problem_with_a_code() {
    let (_running, _store, admin) = start("").await;
    let stranger = Client { credential: None, ..admin.clone() };
    stranger.get("/v1/accounts").await.refused(401, "unauthenticated");
    stranger.get("/nothing").await.refused(404, "not-found");
    let answer = stranger.send("PUT", "/v1/accounts", &[], None).await;
    answer.refused(405, "method-not-allowed");
    let allowed = answer.header("allow").unwrap().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    admin.with("sp_tok_nobody12_AAAA").get("/v1/accounts").await.refused(401, "unauthenticated");
    admin.get("/v1/accounts/UPPER").await.refused(404, "not-found");
    admin.get("/v1/accounts/%ff%fe").await.refused(404, "not-found");
    admin.get("/v1/accounts?limit=0").await.refused(422, "invalid");
    admin.get("/v1/accounts?limit=x").await.refused(400, "malformed");
    admin.get("/v1/accounts?colour=1").await.refused(400, "malformed");
    let problem = admin.post("/v1/accounts", json!({"name": "a", "max_instances": "many"})).await;
    assert_eq!(problem.refused(400, "malformed")["field"], "max_instances");
    let unlabelled = admin.send("POST", "/v1/accounts", &[("content-length", "2")], None).await;
    unlabelled.refused(415, "malformed");
    let edit = admin.send("PATCH", "/v1/accounts/acme", &[("if-match", "\"7\"")], Some(json!({}))).await;
    assert!(edit.refused(412, "changed-meanwhile")["detail"].as_str().unwrap().contains("version 8"));
    let edit = admin.send("PATCH", "/v1/accounts/acme", &[("if-match", "7")], Some(json!({}))).await;
    assert_eq!(edit.refused(400, "malformed")["field"], "if-match");
}

#[tokio::test]
async fn a_panic_is_a_problem_that_tells_nothing() {
    let (_running, _store, admin) = start("").await;
    let answer = admin.get("/v1/accounts/acme").await;
    answer.refused(500, "internal");
    assert!(!answer.text().contains("hunter2"));
    admin.get("/healthz").await.done(200);
    let metrics = admin.get("/metrics").await.done(200);
    assert!(metrics.text().contains("sitepeer_hub_panics_total 1"), "{}", metrics.text());
}

/// An address of this machine that is not loopback; what is sent there stays on the machine.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: it only asks which address would be used.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let Some(own) = own_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let settings = "allow_plaintext = true\nmax_connections_per_address = 3\nmetrics_open = true";
    let (running, _store, admin) = start_at("0.0.0.0:0", settings).await;
    let (local, own) = (running.at("127.0.0.1".parse().unwrap()), running.at(own));
    let mut few = Vec::new();
    for _ in 0..3 {
        few.push(TcpStream::connect(own).await.unwrap());
    }
    let mut more = TcpStream::connect(own).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, more.read(&mut [0])).await.expect("it is still connected");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    // Loopback is not counted, and tells what happened.
    let admin = Client { address: local, ..admin };
    let metrics = admin.get("/metrics").await.done(200);
    assert!(metrics.text().contains("sitepeer_hub_connections_turned_away_total 1"), "{}", metrics.text());
    let there = Client { address: own, ..admin };
    let request = there.request("GET", "/healthz", &[], None);
    exchange(&mut few[0], request.as_bytes()).await.done(200);
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_before_it_is_read() {
    let (_running, _store, admin) = start("").await;
    let huge = (100 << 20).to_string();
    let headers = [("content-length", huge.as_str()), ("content-type", "application/json")];
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    let head = admin.request("POST", "/v1/accounts", &headers, None);
    exchange(&mut stream, head.as_bytes()).await.refused(413, "too-large");

    // Without a length: refused as soon as it is too long, and the client gets to see it although it goes on sending.
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    let headers = [("transfer-encoding", "chunked"), ("content-type", "application/json")];
    stream.write_all(admin.request("POST", "/v1/accounts", &headers, None).as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for _ in 0..24 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    let (answer, ()) = tokio::join!(read(&mut reader), send);
    answer.refused(413, "too-large");
}

#[tokio::test]
async fn a_body_without_a_credential_is_not_read_at_all() {
    let (_running, _store, admin) = start("").await;
    let stranger = Client { credential: None, ..admin };
    let headers = [("content-length", "1000"), ("content-type", "application/json")];
    let mut stream = TcpStream::connect(stranger.address).await.unwrap();
    let head = stranger.request("POST", "/v1/accounts", &headers, None);
    exchange(&mut stream, head.as_bytes()).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_slow_loris_is_cut_off_and_others_are_served_meanwhile() {
    let (_running, _store, admin) = start("max_connections = 16").await;
    let began = Instant::now();
    let mut slow = TcpStream::connect(admin.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: h").await.unwrap();
    // As many as there is room for, less one.
    let mut idle = Vec::new();
    for _ in 0..14 {
        idle.push(TcpStream::connect(admin.address).await.unwrap());
    }
    admin.get("/healthz").await.done(200);
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if slow.write_all(b"a").await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE + PATIENCE, drip).await.expect("a slow client is still connected");
    assert!(began.elapsed() >= Duration::from_secs(9), "cut off too early");
    for mut stream in idle {
        let mut byte = [0];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await.expect("still connected");
        assert!(matches!(read, Ok(0) | Err(_)), "an idle connection was answered");
    }
}

#[tokio::test]
async fn roles_may_what_the_table_says() {
    let (_running, _store, admin) = start("").await;
    let (account, freeze) = (json!({"name": "a"}), json!({"for_secs": 60}));
    // Path, method, body, and who gets past the doorman: the fake's answer behind it does not matter.
    let table: [(&str, &str, Option<&serde_json::Value>, &[&str]); 14] = [
        ("GET", "/v1/whoami", None, &[ADMIN, OPERATOR, VIEWER, GATEWAY, AGENT]),
        ("GET", "/v1/accounts", None, &[ADMIN, OPERATOR, VIEWER]),
        ("POST", "/v1/accounts", Some(&account), &[ADMIN]),
        ("GET", "/v1/tokens", None, &[ADMIN]),
        ("GET", "/v1/gateways", None, &[ADMIN]),
        ("DELETE", "/v1/gateways/gate", None, &[ADMIN]),
        ("GET", "/metrics", None, &[ADMIN]),
        ("DELETE", "/v1/peers/peer", None, &[ADMIN, OPERATOR]),
        ("GET", "/v1/peers/peer", None, &[ADMIN, OPERATOR, VIEWER]),
        ("GET", "/v1/sites/site/health", None, &[ADMIN, OPERATOR, VIEWER]),
        ("POST", "/v1/sites/site/freeze", Some(&freeze), &[ADMIN, OPERATOR]),
        ("DELETE", "/v1/sites/site/freeze", None, &[ADMIN, OPERATOR]),
        ("GET", "/v1/agent/desired", None, &[AGENT]),
        ("GET", "/v1/gateway/desired?wait=0", None, &[GATEWAY]),
    ];
    for (method, path, body, allowed) in table {
        for credential in [ADMIN, OPERATOR, VIEWER, GATEWAY, AGENT] {
            let answer = admin.with(credential).send(method, path, &[], body.cloned()).await;
            if allowed.contains(&credential) {
                assert!(![401, 403].contains(&answer.status), "{method} {path} {credential}: {}", answer.text());
            } else {
                answer.refused(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn guessing_credentials_is_slowed_down_and_good_ones_go_on() {
    let (_running, store, admin) = start("").await;
    admin.get("/v1/whoami").await.done(200);
    let guess = admin.with("sp_tok_nobody12_AAAA");
    let mut limited = None;
    for _ in 0..40 {
        let answer = guess.get("/v1/whoami").await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        answer.refused(401, "unauthenticated");
    }
    let limited = limited.expect("never limited");
    limited.refused(429, "rate-limited");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let before = store.looked_up.load(Ordering::SeqCst);
    guess.get("/v1/whoami").await.refused(429, "rate-limited");
    assert_eq!(store.looked_up.load(Ordering::SeqCst), before, "a guess beyond the limit costs the store nothing");
    admin.get("/v1/whoami").await.done(200);
}

#[tokio::test]
async fn enrolments_are_limited_by_address_and_a_spent_token_says_so() {
    let (_running, _store, admin) = start("enroll_per_minute = 2").await;
    let device = Client { credential: None, ..admin };
    let request = json!({"token": "sp_enr_tokentok_AAAA", "device_nonce": "0123456789abcdef"});
    for _ in 0..2 {
        device.post("/v1/enroll", request.clone()).await.refused(403, "token-spent");
    }
    device.post("/v1/enroll", request).await.refused(429, "rate-limited");
}

#[tokio::test]
async fn the_same_request_has_the_same_digest_and_another_has_another() {
    let (_running, _store, admin) = start("").await;
    let digest = async |key: &str, name: &str| {
        let answer = admin.send("POST", "/v1/accounts", &[("idempotency-key", key)], Some(json!({"name": name}))).await;
        answer.done(201).header("etag").unwrap().to_owned()
    };
    assert_eq!(digest("k", "a").await, digest("k", "a").await);
    assert_ne!(digest("k", "a").await, digest("k", "b").await);
    let long = "k".repeat(65);
    let answer = admin.send("POST", "/v1/accounts", &[("idempotency-key", &long)], Some(json!({"name": "a"}))).await;
    answer.refused(422, "invalid");
}

#[tokio::test]
async fn a_poll_is_woken_by_a_change_and_answered_304_without_one() {
    let (_running, store, admin) = start("").await;
    let agent = admin.with(AGENT);
    agent.get("/v1/agent/desired?revision=0&wait=1").await.done(304);
    assert_eq!(agent.get("/v1/agent/desired").await.done(200).json()["revision"], 0);
    agent.get("/v1/agent/desired?wait=51").await.refused(422, "invalid");
    let began = Instant::now();
    let waiting = tokio::spawn({
        let agent = agent.clone();
        async move { agent.get("/v1/agent/desired?revision=0&wait=50").await }
    });
    until("a poll waits", || store.wakes.waiting() == 1).await;
    store.change();
    assert_eq!(waiting.await.unwrap().done(200).json()["revision"], 1);
    assert!(began.elapsed() < PATIENCE);
    until("the waiter is gone", || store.wakes.waiting() == 0).await;
}

#[tokio::test]
async fn a_credential_that_was_revoked_meanwhile_is_told_nothing_new() {
    let (_running, store, admin) = start("").await;
    let agent = admin.with(AGENT);
    let waiting = tokio::spawn(async move { agent.get("/v1/agent/desired?revision=0&wait=50").await });
    until("a poll waits", || store.wakes.waiting() == 1).await;
    store.revoked.store(true, Ordering::SeqCst);
    store.change();
    waiting.await.unwrap().refused(401, "token-revoked");
}

#[tokio::test]
async fn a_third_poll_takes_the_place_of_the_first() {
    let (_running, store, admin) = start("").await;
    let poll = || {
        let agent = admin.with(AGENT);
        tokio::spawn(async move { agent.get("/v1/agent/desired?revision=0&wait=50").await })
    };
    let first = poll();
    until("one waits", || store.looked_up.load(Ordering::SeqCst) == 1 && store.wakes.waiting() == 1).await;
    let (_second, _third) = (poll(), poll());
    first.await.unwrap().done(304);
}

#[tokio::test]
async fn a_stop_answers_polls_at_once_and_ends_idle_connections() {
    let (mut running, store, admin) = start("").await;
    let agent = admin.with(AGENT);
    let mut idle = TcpStream::connect(admin.address).await.unwrap();
    let waiting = tokio::spawn(async move { agent.get("/v1/agent/desired?revision=0&wait=50").await });
    until("a poll waits", || store.wakes.waiting() == 1).await;
    let began = Instant::now();
    running.stop();
    waiting.await.unwrap().done(304);
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    (&mut running.task).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "stopping took {:?}", began.elapsed());
    assert!(TcpStream::connect(admin.address).await.is_err(), "still listening");
}

#[tokio::test]
async fn a_head_that_drips_in_does_not_hold_up_a_stop() {
    let (mut running, _store, admin) = start("").await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(stream);
    }
    admin.get("/healthz").await.done(200);
    let began = Instant::now();
    running.stop();
    (&mut running.task).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "stopping took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_stop_waits_for_no_request_for_ever() {
    let (mut running, _store, admin) = start("").await;
    let hanging = tokio::spawn(async move {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(admin.request("GET", "/v1/sites", &[], None).as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let _cut = stream.read_to_end(&mut bytes).await;
        bytes
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    running.stop();
    (&mut running.task).await.unwrap();
    assert!((9..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(hanging.await.unwrap().is_empty(), "answered although the store did not");
}

#[tokio::test]
async fn the_embedded_gateway_speaks_over_a_stream_of_its_own() {
    let (mut running, _store, admin) = start("").await;
    let mut stream = running.connector.connect().unwrap();
    let request = admin.with(GATEWAY).request("GET", "/v1/whoami", &[], None);
    assert_eq!(exchange(&mut stream, request.as_bytes()).await.done(200).json()["role"], "gateway");
    let connector = running.connector.clone();
    running.stop();
    (&mut running.task).await.unwrap();
    assert!(connector.connect().is_err());
}

#[tokio::test]
async fn metrics_count_requests_by_pattern_and_never_by_path() {
    let (_running, _store, admin) = start("metrics_open = true").await;
    for id in ["aaaa", "bbbb", "cccc"] {
        admin.get(&format!("/v1/peers/{id}")).await.refused(404, "not-found");
        admin.send("BREW", &format!("/{id}"), &[], None).await;
    }
    let text = Client { credential: None, ..admin }.get("/metrics").await.done(200).text();
    let line = "sitepeer_hub_requests_total{method=\"GET\",route=\"/v1/peers/{id}\",status=\"404\"} 3";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("method=\"OTHER\",route=\"(unknown)\",status=\"404\"} 3") && !text.contains("BREW"),
        "{text}"
    );
    assert!(text.contains("sitepeer_hub_peers_connected 5"), "{text}");
    assert!(text.contains("sitepeer_hub_instances{status=\"active\"} 3"), "{text}");
    // The fake's housekeeping always fails.
    assert!(text.contains("sitepeer_hub_tick_failures_total"), "{text}");
}

#[tokio::test]
async fn the_openapi_document_is_served_to_everybody() {
    let (_running, _store, admin) = start("").await;
    let stranger = Client { credential: None, ..admin };
    let document = stranger.get("/openapi.json").await.done(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/v1/peers/{id}/profile"]["get"]["responses"]["404"].is_object());
    stranger.get("/readyz").await.done(200);
}

/// Waits for a condition.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
