//! What is wrong is said, with the way out and the right exit code.

use std::net::TcpListener;

use serde_json::json;

use crate::fake::{Answer, FakeHub};
use crate::samples::{instance, peer};
use crate::{Run, TOKEN, ask, ask_json, hub};

#[test]
fn a_refusal_of_the_hub_is_exit_6_in_its_own_words() {
    let detail = "192.168.88.0/24 overlaps 192.168.0.0/16 of peer branch-1 (peer0009)";
    let hub = FakeHub::with(vec![
        ("GET /v1/instances", Answer::list(&[instance("inst0001", "acme", "active")])),
        ("POST /v1/instances/inst0001/peers", Answer::problem(409, "overlap", detail, Some("disable one of them"))),
    ]);
    let run = ask(
        &hub.url,
        &[
            "peer",
            "add",
            "remote",
            "acme",
            "aws",
            "--subnets",
            "192.168.88.0/24",
            "--public-key",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        ],
    );
    assert_eq!(run.code, Some(6), "{run:?}");
    assert_eq!(run.stderr, format!("error: the hub refused: {detail}\nhint: disable one of them\n"));

    let (code, result) = ask_json(&hub.url, &["peer", "add", "client", "acme", "alice"]);
    assert_eq!((code, &result["result"], &result["code"]), (Some(6), &json!("hub_failed"), &json!("overlap")));
}

#[test]
fn a_refusal_without_a_hint_gets_one() {
    let hub = FakeHub::start(|_| Answer::problem(401, "unauthenticated", "the token is not known", None));
    let run = ask(&hub.url, &["whoami"]);
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(run.stderr.contains("\nhint: check --hub-token-file"), "{run:?}");
}

#[test]
fn a_hub_that_is_not_there_is_exit_6() {
    // A port that was free a moment ago, and whose listener is gone.
    let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let (code, result) = ask_json(&format!("http://{address}"), &["whoami"]);
    assert_eq!((code, &result["code"]), (Some(6), &json!("hub-unreachable")), "{result}");
    assert!(result["hint"].is_string(), "{result}");
}

#[test]
fn what_is_no_hub_is_exit_6() {
    let hub = FakeHub::start(|_| Answer { status: 200, kind: "text/html", body: "<h1>It works!</h1>".to_owned() });
    let (code, result) = ask_json(&hub.url, &["instance", "list"]);
    assert_eq!((code, &result["code"]), (Some(6), &json!("hub-garbage")), "{result}");
}

#[test]
fn a_name_that_several_have_lists_them_and_changes_nothing() {
    let hub = FakeHub::with(vec![(
        "GET /v1/peers",
        Answer::list(&[peer("peer0001", "acme", "branch-12", "site"), peer("peer0002", "other", "branch-12", "site")]),
    )]);
    let (code, result) = ask_json(&hub.url, &["peer", "rm", "branch-12", "--yes"]);
    assert_eq!((code, &result["code"]), (Some(2), &json!("ambiguous")), "{result}");
    let hint = result["hint"].as_str().expect("a hint");
    assert!(hint.contains("peer0001 (acme/branch-12)") && hint.contains("peer0002 (other/branch-12)"), "{hint}");
    assert!(hub.asked().iter().all(|asked| asked.line.starts_with("GET ")), "{:?}", hub.asked());
}

#[test]
fn a_peer_whose_name_looks_like_another_s_place_is_not_taken_for_it() {
    let hub =
        FakeHub::with(vec![("GET /v1/peers", Answer::list(&[peer("peer0001", "mallory", "acme/branch-12", "site")]))]);
    let (code, result) = ask_json(&hub.url, &["peer", "rm", "acme/branch-12", "--yes"]);
    assert_eq!((code, &result["code"]), (Some(6), &json!("not-found")), "{result}");
    assert!(hub.asked().iter().all(|asked| asked.line.starts_with("GET ")), "{:?}", hub.asked());
}

#[test]
fn the_instance_s_name_tells_peers_of_one_name_apart() {
    let hub = FakeHub::with(vec![
        (
            "GET /v1/peers",
            Answer::list(&[
                peer("peer0001", "acme", "branch-12", "site"),
                peer("peer0002", "other", "branch-12", "site"),
            ]),
        ),
        ("DELETE /v1/peers/peer0002", Answer::nothing()),
    ]);
    ask(&hub.url, &["peer", "rm", "other/branch-12", "--yes"]).ok();
    hub.asked_for("DELETE /v1/peers/peer0002");
}

#[test]
fn part_of_a_name_is_no_name() {
    let hub = FakeHub::with(vec![("GET /v1/instances", Answer::list(&[instance("inst0001", "acme-2", "active")]))]);
    let (code, result) = ask_json(&hub.url, &["instance", "delete", "acme", "--yes"]);
    assert_eq!((code, &result["code"]), (Some(6), &json!("not-found")), "{result}");
    assert!(result["hint"].as_str().expect("a hint").contains("sitepeer hub instance list"), "{result}");
}

#[test]
fn what_cannot_be_undone_needs_yes_where_nobody_can_be_asked() {
    let hub = FakeHub::start(|_| Answer::missing());
    for command in [
        &["instance", "delete", "acme"][..],
        &["instance", "suspend", "acme"],
        &["peer", "rm", "branch-12"],
        &["peer", "revoke", "branch-12"],
        &["site", "rm", "branch-12"],
        &["token", "revoke", "laptop"],
        &["account", "delete", "ops"],
        &["gateway", "rm", "gw-1"],
    ] {
        let (code, result) = ask_json(&hub.url, command);
        assert_eq!((code, &result["code"]), (Some(2), &json!("needs-yes")), "{command:?}: {result}");
    }
    assert!(hub.asked().is_empty(), "nothing was asked: {:?}", hub.asked());
}

#[test]
fn wrong_arguments_are_exit_2_and_nothing_is_asked() {
    let hub = FakeHub::start(|_| Answer::missing());
    let cases: &[(&[&str], &str)] = &[
        (&["instance", "edit", "acme"], "nothing was said that is to change"),
        (&["instance", "create", "Not_A_Label"], "Not_A_Label"),
        (&["peer", "edit", "x", "--subnets", "none,10.0.0.0/8"], "`none` empties a list"),
        (&["peer", "add", "site", "acme", "b", "--subnets", "10.0.0.0/40"], "10.0.0.0/40"),
        (&["token", "create", "x", "--role", "operator", "--show-secret"], "--account is missing"),
        (&["token", "create", "x", "--role", "admin", "--account", "ops", "--show-secret"], "leave --account out"),
        (&["token", "create", "x", "--role", "gateway", "--show-secret"], "--region is missing"),
        (&["token", "create", "x", "--role", "admin"], "where is it to go?"),
        (&["enrollment", "create", "x", "--ttl", "1w", "--show-secret"], "the unit is one of"),
    ];
    for (args, words) in cases {
        let run = ask(&hub.url, args);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(words), "{args:?}: {}", run.stderr);
    }
    assert!(hub.asked().is_empty(), "{:?}", hub.asked());
}

#[test]
fn a_missing_hub_or_token_names_the_ways_to_give_one() {
    let run = Run::of(hub(&["whoami"]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("set SITEPEER_HUB"), "{run:?}");

    let run = Run::of(hub(&["whoami", "--hub", "https://hub.example.net"]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("SITEPEER_HUB_TOKEN_FILE"), "{run:?}");
}

#[test]
fn a_token_goes_over_the_wire_in_the_clear_only_if_that_was_said() {
    let mut command = hub(&["whoami", "--hub", "http://hub.example.net"]);
    command.env("SITEPEER_HUB_TOKEN", TOKEN);
    let run = Run::of(command);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("use https://"), "{run:?}");
}

#[cfg(unix)]
#[test]
fn a_token_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).expect("writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let run =
        Run::of(hub(&["whoami", "--hub", "http://127.0.0.1:1", "--hub-token-file", file.to_str().expect("UTF-8")]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("hint: chmod 600 ") && !run.stderr.contains(TOKEN), "{run:?}");
}
