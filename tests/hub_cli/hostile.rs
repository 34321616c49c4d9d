//! Names and words that somebody else wrote do not reach the terminal as they are.

use serde_json::json;

use crate::ask;
use crate::fake::{Answer, FakeHub};
use crate::samples::{entry, gateway, instance, peer, site, token};

/// Colours, a title, a new line, a hidden reversal: what a tenant's name may try on an administrator.
const NASTY: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\r\nroot ok\u{202e}\u{9b}1m";

#[track_caller]
fn is_harmless(text: &str) {
    let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}');
    assert!(!text.chars().any(bad), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("root ok")), "{text:?}");
}

#[test]
fn nothing_that_others_wrote_reaches_the_terminal_as_it_is() {
    let mut nasty_peer = peer("peer0001", NASTY, NASTY, "client");
    nasty_peer["user"] = json!(NASTY);
    nasty_peer["link"]["gateway_error"] = json!(NASTY);
    nasty_peer["link"]["agent_says"] = json!(NASTY);
    let mut nasty_instance = instance("inst0001", "acme", "error");
    for key in ["account_name", "reason", "region", "hostname"] {
        nasty_instance[key] = json!(NASTY);
    }
    nasty_instance["readiness"][0]["detail"] = json!(NASTY);
    nasty_instance["search"] = json!([NASTY]);
    let mut nasty_site = site("site0001", NASTY);
    for key in ["identity", "board", "version", "serial"] {
        nasty_site["device"][key] = json!(NASTY);
    }
    let mut nasty_entry = entry(1);
    for key in ["who", "action", "object"] {
        nasty_entry[key] = json!(NASTY);
    }
    nasty_entry["after"] = json!({"name": NASTY});
    let mut nasty_gateway = gateway("gw000001", NASTY);
    nasty_gateway["public_host"] = json!(NASTY);
    let hub = FakeHub::with(vec![
        ("GET /v1/peers", Answer::list(&[nasty_peer.clone()])),
        ("GET /v1/peers/peer0001", Answer::json(&nasty_peer)),
        ("GET /v1/instances", Answer::list(&[nasty_instance.clone()])),
        ("GET /v1/instances/inst0001", Answer::json(&nasty_instance)),
        ("GET /v1/sites", Answer::list(&[nasty_site.clone()])),
        ("GET /v1/sites/site0001", Answer::json(&nasty_site)),
        ("GET /v1/tokens", Answer::list(&[token("tok00001", NASTY)])),
        ("GET /v1/gateways", Answer::list(&[nasty_gateway])),
        ("GET /v1/audit", Answer::list(&[nasty_entry])),
        ("GET /v1/whoami", Answer::json(&json!({"name": NASTY, "role": "admin"}))),
        ("GET /v1/enrollments", Answer::problem(409, "overlap", NASTY, Some(NASTY))),
    ]);
    for command in [
        &["peer", "list"][..],
        &["peer", "show", "peer0001"],
        &["instance", "list"],
        &["instance", "show", "inst0001"],
        &["site", "list"],
        &["site", "show", "site0001"],
        &["token", "list"],
        &["gateway", "list"],
        &["audit"],
        &["whoami"],
        &["enrollment", "list"],
    ] {
        let run = ask(&hub.url, command);
        is_harmless(&run.stdout);
        is_harmless(&run.stderr);
        assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{}", run.stdout);
    }
}

#[test]
fn a_hostile_name_in_an_argument_is_shown_harmlessly_too() {
    let hub = FakeHub::start(|_| Answer::list(&[]));
    let run = ask(&hub.url, &["peer", "show", NASTY]);
    assert_eq!(run.code, Some(6), "{run:?}");
    is_harmless(&run.stderr);
}
