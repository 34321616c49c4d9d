//! Tokens and profiles: where they go, and where they do not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fake::{Answer, FakeHub};
use crate::samples::{enrollment, peer, token};
use crate::{ask, ask_json};

const SECRET: &str = "sp_enr_enr00001_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn with(mut object: Value, key: &str) -> Value {
    object[key] = json!(SECRET);
    object
}

fn hub_that_makes() -> FakeHub {
    FakeHub::with(vec![
        ("GET /v1/peers", Answer::list(&[peer("peer0001", "acme", "branch-12", "site")])),
        ("GET /v1/accounts", Answer::list(&[crate::samples::account("acc00001", "ops")])),
        ("POST /v1/enrollments", Answer::made(&with(enrollment("enr00001"), "token"))),
        ("POST /v1/tokens", Answer::made(&with(token("tok00001", "laptop"), "secret"))),
    ])
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[cfg(unix)]
#[test]
fn a_token_goes_into_a_file_that_only_its_owner_reads_and_nowhere_else() {
    let (hub, folder) = (hub_that_makes(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("token");
    let path = file.to_str().expect("UTF-8");
    let run = ask(&hub.url, &["enrollment", "create", "branch-12", "--ttl", "7d", "--out", path]).ok();
    assert_eq!(fs::read_to_string(&file).expect("it is there"), format!("{SECRET}\n"));
    assert_eq!(mode(&file), 0o600);
    assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET), "{run:?}");
    assert!(
        run.stderr.contains(&format!("sitepeer provision --router URL --hub {} --token-file {path}", hub.url)),
        "{run:?}"
    );
    assert_eq!(hub.asked_for("POST /v1/enrollments").body, json!({"peer": "peer0001", "ttl_secs": 604_800}));

    let again = ask(&hub.url, &["enrollment", "create", "branch-12", "--out", path]);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("nothing is written over"), "{again:?}");
    let made = hub.asked().iter().filter(|asked| asked.line.starts_with("POST ")).count();
    assert_eq!(made, 1, "no token is made that has no place to go");
}

#[test]
fn a_token_is_alone_on_stdout_where_that_was_asked_for() {
    let hub = hub_that_makes();
    let args = ["token", "create", "laptop", "--role", "operator", "--account", "ops", "--show-secret"];
    let run = ask(&hub.url, &args).ok();
    assert_eq!(run.stdout, format!("{SECRET}\n"));
    assert!(!run.stderr.contains(SECRET), "{run:?}");
    let (_, result) = ask_json(&hub.url, &args);
    assert_eq!((&result["secret"], &result["token"]["id"]), (&json!(SECRET), &json!("tok00001")));
}

#[test]
fn a_refused_token_leaves_no_empty_file() {
    let hub = FakeHub::start(|_| Answer::problem(403, "forbidden", "your role is viewer", None));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let run = ask(&hub.url, &["token", "create", "x", "--role", "admin", "--out", file.to_str().expect("UTF-8")]);
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(!file.exists());
}

const PROFILE: &str =
    "[Interface]\nPrivateKey = [YOUR_PRIVATE_KEY]\nAddress = 10.99.0.3/32\n\n[Peer]\nEndpoint = h:1\n";

fn hub_with_a_profile(profile: &str) -> FakeHub {
    FakeHub::with(vec![
        ("GET /v1/peers", Answer::list(&[peer("peer0002", "acme", "alice", "client")])),
        ("GET /v1/peers/peer0002/profile", Answer::text(profile)),
    ])
}

#[test]
fn a_profile_is_data_on_stdout_and_says_what_it_lacks() {
    let hub = hub_with_a_profile(PROFILE);
    let run = ask(&hub.url, &["peer", "profile", "alice"]).ok();
    assert_eq!(run.stdout, PROFILE);
    assert!(run.stderr.contains("warning: ") && run.stderr.contains("sitepeer client-key"), "{run:?}");
    let (_, result) = ask_json(&hub.url, &["peer", "profile", "alice"]);
    assert_eq!((&result["profile"], &result["of"]), (&json!(PROFILE), &json!("peer0002")));
}

#[test]
fn a_profile_can_be_scanned_from_the_terminal() {
    let hub = hub_with_a_profile(PROFILE);
    let run = ask(&hub.url, &["peer", "profile", "alice", "--qr"]).ok();
    let lines: Vec<&str> = run.stdout.lines().collect();
    let width = lines.iter().map(|line| line.chars().count()).max();
    assert!(lines.len() > 15 && width <= Some(80), "{width:?}\n{}", run.stdout);
    assert!(run.stdout.chars().all(|c| " █▀▄\n".contains(c)), "{}", run.stdout);
}

#[test]
fn a_profile_cannot_speak_to_the_terminal() {
    let hub = hub_with_a_profile("[Interface]\n# \u{1b}]0;owned\u{7}\u{9b}31m\n");
    let run = ask(&hub.url, &["peer", "profile", "alice"]).ok();
    assert_eq!(run.stdout, "[Interface]\n# \u{fffd}]0;owned\u{fffd}\u{fffd}31m\n");
}
