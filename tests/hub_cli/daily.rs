//! The daily work, command by command: what the hub is asked, and what people and machines read.

use serde_json::{Value, json};

use crate::fake::{Answer, FakeHub};
use crate::samples::{
    account, enrollment, entry, freeze, gateway, health, instance, peer, site, then, token, transition,
};
use crate::{TOKEN, ask, ask_json};

/// A hub with one or two of everything.
fn small_hub() -> FakeHub {
    FakeHub::with(vec![
        ("GET /v1/instances", Answer::list(&[instance("inst0001", "acme", "active")])),
        ("GET /v1/instances/inst0001", Answer::json(&instance("inst0001", "acme", "active"))),
        ("POST /v1/instances", Answer::made(&instance("inst0001", "acme", "deploying"))),
        ("PATCH /v1/instances/inst0001", Answer::json(&instance("inst0001", "acme", "active"))),
        ("POST /v1/instances/inst0001/retry", Answer::json(&instance("inst0001", "acme", "deploying"))),
        ("POST /v1/instances/inst0001/suspend", Answer::json(&instance("inst0001", "acme", "suspended"))),
        ("POST /v1/instances/inst0001/resume", Answer::json(&instance("inst0001", "acme", "active"))),
        ("DELETE /v1/instances/inst0001", Answer::nothing()),
        ("POST /v1/instances/inst0001/peers", Answer::made(&peer("peer0001", "acme", "branch-12", "site"))),
        (
            "GET /v1/peers",
            Answer::list(&[
                peer("peer0001", "acme", "branch-12", "site"),
                peer("peer0002", "acme", "alice", "client"),
                peer("peer0003", "acme", "aws", "remote"),
            ]),
        ),
        ("GET /v1/peers/peer0001", Answer::json(&peer("peer0001", "acme", "branch-12", "site"))),
        ("PATCH /v1/peers/peer0001", Answer::json(&peer("peer0001", "acme", "branch-12", "site"))),
        ("POST /v1/peers/peer0001/enable", Answer::json(&peer("peer0001", "acme", "branch-12", "site"))),
        ("POST /v1/peers/peer0001/disable", Answer::json(&peer("peer0001", "acme", "branch-12", "site"))),
        ("POST /v1/peers/peer0001/rotate", Answer::json(&moving_peer())),
        ("DELETE /v1/peers/peer0001/rotate", Answer::nothing()),
        ("POST /v1/instances/inst0001/rotate", Answer::json(&rotating_instance())),
        ("DELETE /v1/peers/peer0001", Answer::nothing()),
        ("DELETE /v1/peers/peer0001/credential", Answer::nothing()),
        ("GET /v1/sites", Answer::list(&[site("site0001", "branch-12")])),
        ("GET /v1/sites/site0001", Answer::json(&site("site0001", "branch-12"))),
        ("POST /v1/sites", Answer::made(&site("site0001", "branch-12"))),
        ("PATCH /v1/sites/site0001", Answer::json(&site("site0001", "branch-13"))),
        (
            "GET /v1/sites/site0001/subnets",
            Answer::json(&json!({"at": then(), "subnets":
                [{"subnet": "192.168.88.0/24", "interface": "bridge", "advertised_by": ["peer0001"]}]})),
        ),
        ("GET /v1/sites/site0001/health", Answer::json(&health())),
        ("GET /v1/sites/site0001/transitions", Answer::list(&[transition(2), transition(1)])),
        (
            "GET /v1/sites/site0001/events",
            Answer::list(&[json!({"number": 1, "at": then(), "peer": "peer0001", "kind": "healed", "code": "bounce",
                "words": "switched the peer off and on; the tunnel came back in 19 s"})]),
        ),
        ("POST /v1/sites/site0001/freeze", Answer::json(&frozen_site())),
        ("DELETE /v1/sites/site0001", Answer::nothing()),
        ("GET /v1/enrollments", Answer::list(&[enrollment("enr00001")])),
        ("DELETE /v1/enrollments/enr00001", Answer::nothing()),
        ("GET /v1/tokens", Answer::list(&[token("tok00001", "laptop")])),
        ("DELETE /v1/tokens/tok00001", Answer::nothing()),
        ("GET /v1/accounts", Answer::list(&[account("acc00001", "ops")])),
        ("POST /v1/accounts", Answer::made(&account("acc00001", "ops"))),
        ("PATCH /v1/accounts/acc00001", Answer::json(&account("acc00001", "ops"))),
        ("DELETE /v1/accounts/acc00001", Answer::nothing()),
        ("GET /v1/gateways", Answer::list(&[gateway("gw000001", "gw-1")])),
        ("DELETE /v1/gateways/gw000001", Answer::nothing()),
        ("GET /v1/audit", Answer::list(&[entry(2), entry(1)])),
        ("GET /v1/whoami", Answer::json(&json!({"name": "laptop", "role": "operator", "account": "acc00001"}))),
    ])
}

/// A peer whose router is about to get another key.
fn moving_peer() -> Value {
    let mut peer = peer("peer0001", "acme", "branch-12", "site");
    (peer["key_at"], peer["device"], peer["generation"]) = (json!(then()), json!(1), json!(3));
    peer["next"] =
        json!({"generation": 4, "device": 0, "step": "router", "step_at": then(), "since": then(), "cause": "person"});
    peer
}

/// An instance whose sites follow to another key.
fn rotating_instance() -> Value {
    let mut instance = instance("inst0001", "acme", "active");
    (instance["device"], instance["key_at"], instance["rotating_since"]) = (json!(1), json!(then()), json!(then()));
    instance["rotate_keys_days"] = json!(90);
    instance["devices"] = json!([
        {"device": 0, "state": "retired", "listen_port": 51820, "public_key": instance["public_key"], "peers": 12, "made_at": then()},
        {"device": 2, "state": "beside", "listen_port": 51822, "error": "the port is taken", "peers": 0, "made_at": then()},
    ]);
    instance
}

fn frozen_site() -> Value {
    let mut site = site("site0001", "branch-12");
    site["frozen"] = freeze();
    site
}

/// Every command that needs no secret's place, once.
const COMMANDS: &[&[&str]] = &[
    &["instance", "list"],
    &["instance", "list", "--search", "ac", "--status", "active", "--account", "ops"],
    &["instance", "show", "acme"],
    &["instance", "show", "inst0001"],
    &["instance", "create", "acme", "--region", "eu", "--account", "ops"],
    &["instance", "edit", "acme", "--dns", "1.1.1.1,9.9.9.9", "--client-to-client", "true"],
    &["instance", "retry", "acme"],
    &["instance", "resume", "acme", "--wait"],
    &["instance", "suspend", "acme", "--yes"],
    &["instance", "rotate", "acme"],
    &["instance", "edit", "acme", "--rotate-keys-days", "90"],
    &["instance", "delete", "acme", "--yes"],
    &["peer", "list"],
    &["peer", "list", "--instance", "acme", "--site", "branch-12", "--kind", "site", "--status", "connected"],
    &["peer", "show", "acme/branch-12"],
    &["peer", "add", "site", "acme", "branch-12", "--subnets", "192.168.88.0/24"],
    &["peer", "add", "client", "acme", "alice", "--route-all"],
    &["peer", "edit", "branch-12", "--add-subnets", "192.168.90.0/24"],
    &["peer", "enable", "branch-12"],
    &["peer", "disable", "branch-12"],
    &["peer", "rotate", "branch-12"],
    &["peer", "rotate", "branch-12", "--cancel"],
    &["peer", "revoke", "branch-12", "--yes"],
    &["peer", "rm", "branch-12", "--yes"],
    &["site", "list"],
    &["site", "create", "branch-12"],
    &["site", "show", "branch-12"],
    &["site", "edit", "branch-12", "--name", "branch-13"],
    &["site", "subnets", "branch-12"],
    &["site", "health", "branch-12"],
    &["site", "health", "branch-12", "--month", "2026-11"],
    &["site", "transitions", "branch-12"],
    &["site", "events", "branch-12"],
    &["site", "freeze", "branch-12", "--for", "2h", "--reason", "a technician is there"],
    &["site", "freeze", "branch-12", "--off"],
    &["site", "rm", "branch-12", "--yes"],
    &["enrollment", "list"],
    &["enrollment", "revoke", "enr00001"],
    &["token", "list"],
    &["token", "revoke", "laptop", "--yes"],
    &["account", "list"],
    &["account", "create", "ops"],
    &["account", "edit", "ops", "--max-instances", "0"],
    &["account", "delete", "ops", "--yes"],
    &["gateway", "list"],
    &["gateway", "rm", "gw-1", "--yes"],
    &["audit"],
    &["whoami"],
];

#[test]
fn what_is_about_to_take_over_is_shown_with_what_it_waits_for() {
    let hub = FakeHub::with(vec![
        ("GET /v1/peers", Answer::list(&[moving_peer()])),
        ("GET /v1/instances", Answer::list(&[rotating_instance()])),
        ("GET /v1/peers/peer0001", Answer::json(&moving_peer())),
        ("GET /v1/instances/inst0001", Answer::json(&rotating_instance())),
    ]);
    let shown = ask(&hub.url, &["peer", "show", "peer0001"]);
    assert!(shown.code == Some(0) && shown.stdout.contains("tunnel 4 waits for the router to make its end"));
    let shown = ask(&hub.url, &["instance", "show", "inst0001"]).stdout;
    for line in ["rotating", "retired, port 51820, 12 peers", "could not: the port is taken", "every 90 days"] {
        assert!(shown.contains(line), "no {line:?} in\n{shown}");
    }
    for (command, name) in [(["peer", "show", "peer0001"], "peer"), (["instance", "show", "inst0001"], "instance")] {
        let (_, result) = ask_json(&hub.url, &command);
        assert!(result[name]["device"] == 1, "{result}");
    }
}

#[test]
fn every_command_does_its_work_and_keeps_to_the_schema() {
    let hub = small_hub();
    for command in COMMANDS {
        let (code, result) = ask_json(&hub.url, command);
        assert_eq!(code, Some(0), "{command:?}: {result}");
    }
    for asked in hub.asked() {
        assert_eq!(asked.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()), "{}", asked.line);
    }
}

#[test]
fn what_people_read_fits_a_terminal_of_80_columns() {
    let hub = small_hub();
    let mut all = String::new();
    for command in COMMANDS {
        let run = ask(&hub.url, command).ok();
        all.extend(["$ sitepeer hub ", &command.join(" "), "\n", &run.stdout, &run.stderr, "\n"]);
        for line in run.stdout.lines() {
            assert!(line.chars().count() <= 80, "{command:?}: {line}");
        }
    }
    // The hub's own port is chosen anew.
    let all = without_times(&all.replace(&hub.url, "http://127.0.0.1:8443"));
    insta::assert_snapshot!("daily", all);
}

/// The text with every time of day made the same.
fn without_times(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(" UTC, ") {
        let (before, after) = rest.split_at(at);
        shown += &before[..before.len().saturating_sub("2026-11-21 16:00".len())];
        shown += "YYYY-MM-DD HH:MM";
        shown += " UTC, ";
        rest = &after[" UTC, ".len()..];
    }
    shown + rest
}

#[test]
fn an_instance_is_made_as_it_was_asked_for_and_only_once() {
    let hub = small_hub();
    let args =
        ["instance", "create", "acme", "--region", "eu", "--tunnel-subnet", "10.7.0.0/24", "--listen-port", "51900"];
    let more = ["--dns", "10.7.0.1", "--routes", "172.16.0.0/12,192.168.0.0/16", "--site-to-site", "false"];
    ask(&hub.url, &[&args[..], &more[..]].concat()).ok();
    let asked = hub.asked_for("POST /v1/instances");
    let policy = json!({"client_to_client": false, "site_to_site": false});
    assert_eq!(
        asked.body,
        json!({"name": "acme", "region": "eu", "tunnel_subnet": "10.7.0.0/24", "listen_port": 51900, "dns": ["10.7.0.1"],
            "search": [], "pushed_routes": ["172.16.0.0/12", "192.168.0.0/16"], "policy": policy, "allow_broad": false})
    );
    let key = asked.header("idempotency-key").expect("a key");
    assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
}

#[test]
fn an_administrator_s_things_belong_to_the_only_account_there_is() {
    let admin = json!({"name": "first", "role": "admin"});
    let hub_with = |accounts: &[Value]| {
        FakeHub::with(vec![
            ("GET /v1/whoami", Answer::json(&admin)),
            ("GET /v1/accounts", Answer::list(accounts)),
            ("POST /v1/sites", Answer::made(&site("site0001", "branch-12"))),
        ])
    };
    let hub = hub_with(&[account("acc00001", "ops")]);
    ask(&hub.url, &["site", "create", "branch-12"]).ok();
    assert_eq!(hub.asked_for("POST /v1/sites").body, json!({"name": "branch-12", "account": "acc00001"}));

    for (accounts, hint) in
        [(vec![], "account create"), (vec![account("acc00001", "ops"), account("acc00002", "dev")], "--account")]
    {
        let (code, result) = ask_json(&hub_with(&accounts).url, &["site", "create", "branch-12"]);
        assert_eq!((code, &result["code"]), (Some(2), &json!("no-account")), "{result}");
        assert!(result["hint"].as_str().expect("a hint").contains(hint), "{result}");
    }
}

#[test]
fn an_edit_changes_what_was_said_and_nothing_else() {
    let hub = small_hub();
    ask(&hub.url, &["instance", "edit", "acme", "--dns", "none"]).ok();
    let asked = hub.asked_for("PATCH /v1/instances/inst0001");
    assert_eq!((asked.body.clone(), asked.header("if-match")), (json!({"dns": [], "allow_broad": false}), None));

    let hub = small_hub();
    ask(&hub.url, &["instance", "edit", "acme", "--client-to-client", "true"]).ok();
    let asked = hub.asked_for("PATCH /v1/instances/inst0001");
    // The other half of the policy was read: nobody's change is written over.
    assert_eq!(asked.header("if-match"), Some("\"3\""));
    assert_eq!(asked.body["policy"], json!({"client_to_client": true, "site_to_site": true}));
}

#[test]
fn subnets_that_count_from_what_they_are_go_over_that_version_only() {
    let hub = small_hub();
    let args = ["peer", "edit", "branch-12", "--add-subnets", "192.168.90.0/24", "--remove-subnets", "192.168.88.0/24"];
    ask(&hub.url, &args).ok();
    let asked = hub.asked_for("PATCH /v1/peers/peer0001");
    assert_eq!(asked.header("if-match"), Some("\"5\""));
    assert_eq!(asked.body, json!({"subnets": ["192.168.90.0/24"], "allow_broad": false}));

    let (code, result) = ask_json(&hub.url, &["peer", "edit", "branch-12", "--remove-subnets", "10.0.0.0/24"]);
    assert_eq!((code, &result["code"]), (Some(2), &json!("usage")), "{result}");
    assert!(result["message"].as_str().expect("a text").contains("does not have 10.0.0.0/24"), "{result}");
}

#[test]
fn a_list_is_read_to_its_last_page() {
    let hub = FakeHub::start(|asked| {
        let next = if asked.line.contains("cursor=a%2Fb") { Value::Null } else { json!("a/b") };
        let id = if next.is_null() { "inst0002" } else { "inst0001" };
        let mut page = json!({"items": [instance(id, "acme", "active")]});
        if !next.is_null() {
            page["next"] = next;
        }
        Answer::json(&page)
    });
    let (_, result) = ask_json(&hub.url, &["instance", "list"]);
    assert_eq!(result["instances"].as_array().map(Vec::len), Some(2), "{result}");
}

#[test]
fn waiting_ends_when_the_instance_is_active() {
    let looks = std::sync::atomic::AtomicU32::new(0);
    let hub = FakeHub::start(move |asked| match asked.line.as_str() {
        "GET /v1/whoami" => Answer::missing(),
        "POST /v1/instances" => Answer::made(&instance("inst0001", "acme", "deploying")),
        _ if looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 => {
            Answer::json(&instance("inst0001", "acme", "deploying"))
        }
        _ => Answer::json(&instance("inst0001", "acme", "active")),
    });
    let (code, result) = ask_json(&hub.url, &["instance", "create", "acme", "--wait"]);
    assert_eq!((code, &result["instance"]["status"]), (Some(0), &json!("active")), "{result}");
}

#[test]
fn an_instance_that_fails_or_takes_too_long_is_exit_3_with_the_reason() {
    let mut failed = instance("inst0001", "acme", "error");
    failed["reason"] = json!("port 51820 is taken");
    let hub = FakeHub::with(vec![
        ("POST /v1/instances", Answer::made(&instance("inst0001", "acme", "deploying"))),
        ("GET /v1/instances/inst0001", Answer::json(&failed)),
    ]);
    let (code, result) = ask_json(&hub.url, &["instance", "create", "acme", "--wait"]);
    assert_eq!((code, &result["code"]), (Some(3), &json!("instance-error")), "{result}");
    assert!(result["message"].as_str().expect("a text").ends_with("port 51820 is taken"), "{result}");

    let hub = FakeHub::with(vec![
        ("POST /v1/instances", Answer::made(&instance("inst0001", "acme", "deploying"))),
        ("GET /v1/instances/inst0001", Answer::json(&instance("inst0001", "acme", "deploying"))),
    ]);
    let (code, result) = ask_json(&hub.url, &["instance", "create", "acme", "--wait", "--timeout", "1s"]);
    assert_eq!((code, &result["code"]), (Some(3), &json!("instance-deploying")), "{result}");
    assert!(result["message"].as_str().expect("a text").contains("waiting for gw-1"), "{result}");
}

#[test]
fn a_freeze_is_asked_for_in_seconds_and_ended_where_there_is_one() {
    let hub = small_hub();
    ask(&hub.url, &["site", "freeze", "branch-12", "--for", "2h", "--reason", "a technician is there"]).ok();
    let asked = hub.asked_for("POST /v1/sites/site0001/freeze");
    assert_eq!(asked.body, json!({"for_secs": 7200, "reason": "a technician is there"}));

    // What is not frozen is left alone: a script may say it again.
    ask(&hub.url, &["site", "freeze", "branch-12", "--off"]).ok();
    assert!(hub.asked().iter().all(|asked| !asked.line.starts_with("DELETE")));
    let hub = FakeHub::with(vec![
        ("GET /v1/sites", Answer::list(&[frozen_site()])),
        ("GET /v1/sites/site0001", Answer::json(&site("site0001", "branch-12"))),
        ("DELETE /v1/sites/site0001/freeze", Answer::nothing()),
    ]);
    let (code, result) = ask_json(&hub.url, &["site", "freeze", "branch-12", "--off"]);
    assert_eq!((code, result["site"].get("frozen")), (Some(0), None));
    hub.asked_for("DELETE /v1/sites/site0001/freeze");

    for wrong in [&["--for", "8d"][..], &[], &["--for", "2h", "--off"], &["--off", "--reason", "x"]] {
        let (code, result) = ask_json(&hub.url, &[&["site", "freeze", "branch-12"], wrong].concat());
        assert_eq!(code, Some(2), "{wrong:?}: {result}");
    }
}
