//! Sentences on the wire: login, tags, queries, listen and cancel, as recorded.

use sitepeer::sim::{Fault, LoginMethod};

use crate::talk::{Reply, Talk, start, version};

#[tokio::test]
async fn a_login_by_password_is_answered_with_done_alone() {
    let router = start(|_| {}).await;
    let mut talk = Talk::connect(router.api_addr()).await;
    talk.send("/login", &["=name=admin", "=password="]).await;
    assert_eq!(talk.sentence().await, ["!done"]);
}

#[tokio::test]
async fn a_wrong_password_is_answered_as_recorded_and_the_next_try_may_succeed() {
    let router = start(|_| {}).await;
    let mut talk = Talk::connect(router.api_addr()).await;
    talk.send("/login", &["=name=admin", "=password=bad"]).await;
    assert_eq!(talk.sentence().await, ["!trap", "=message=invalid user name or password (6)"]);
    assert_eq!(talk.sentence().await, ["!done"]);
    assert_eq!(talk.ask("/login", &["=name=admin", "=password="]).await, Reply::default());
}

#[tokio::test]
async fn the_old_login_asks_for_the_answer_to_a_challenge() {
    let router = start(|options| options.login = LoginMethod::Challenge).await;
    let mut talk = Talk::connect(router.api_addr()).await;
    let challenge = talk.ask("/login", &[]).await.ret.unwrap();
    assert_eq!(challenge.len(), 32);
    let wrong = talk.ask("/login", &["=name=admin", "=response=0000000000000000000000000000000000"]).await;
    assert_eq!(wrong.trap(), "cannot log in");
    let offered = talk.ask("/login", &["=name=admin", "=password="]).await;
    assert!(offered.ret.is_some(), "a password alone is answered with a challenge");
}

#[tokio::test]
async fn nothing_is_done_before_login() {
    let router = start(|_| {}).await;
    let mut talk = Talk::connect(router.api_addr()).await;
    assert_eq!(talk.ask("/ip/address/print", &[]).await.trap(), "not logged in");
}

#[tokio::test]
async fn quit_is_answered_with_a_bare_word_and_the_end() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    talk.send("/quit", &[]).await;
    assert_eq!(talk.sentence().await, ["!fatal", "session terminated on request"]);
    assert!(talk.next().await.is_none());
}

#[tokio::test]
async fn a_print_without_rows_says_empty_from_7_18_on() {
    for (ros, says) in [("7.17.1", false), ("7.18", true)] {
        let router = version(ros).await;
        let mut talk = Talk::admin(&router).await;
        assert_eq!(talk.ask("/ip/address/print", &["?address=203.0.113.9/32"]).await.empty, says, "{ros}");
    }
}

#[tokio::test]
async fn every_reply_carries_the_tag_of_its_command_first_or_last() {
    for (fault, position) in [(None, 1), (Some(Fault::TagLast), 2)] {
        let router = start(|options| options.faults.extend(fault)).await;
        let mut talk = Talk::admin(&router).await;
        talk.send("/ip/address/add", &["=address=10.7.0.1/24", "=interface=bridge", ".tag=a7"]).await;
        let words = talk.sentence().await;
        assert_eq!((words.len(), words[0].as_str(), words[position].as_str()), (3, "!done", ".tag=a7"));
    }
}

#[tokio::test]
async fn listen_shows_changes_until_it_is_cancelled_in_the_recorded_order() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let mut other = Talk::admin(&router).await;
    talk.send("/ip/address/listen", &[".tag=10"]).await;
    // Answered in the order of arrival: once this is done, the listen is on.
    talk.send("/system/identity/print", &["=.proplist=name", ".tag=11"]).await;
    assert_eq!(talk.sentence().await, ["!re", ".tag=11", "=name=MikroTik"]);
    assert_eq!(talk.sentence().await, ["!done", ".tag=11"]);
    let add = ["=address=1.1.1.1/32", "=interface=bridge"];
    let id = other.ask("/ip/address/add", &add).await.ret.unwrap();
    let row = talk.sentence().await;
    assert_eq!(row[..3], ["!re".to_owned(), ".tag=10".to_owned(), format!("=.id={id}")]);
    for word in ["=address=1.1.1.1/32", "=network=1.1.1.1", "=actual-interface=bridge", "=dynamic=false"] {
        assert!(row.iter().any(|w| w == word), "{word} in {row:?}");
    }
    other.ask("/ip/address/remove", &[&format!("=.id={id}")]).await;
    assert_eq!(talk.sentence().await, ["!re", ".tag=10", &format!("=.id={id}"), "=.dead=true"]);
    talk.send("/cancel", &["=tag=10", ".tag=20"]).await;
    assert_eq!(talk.sentence().await, ["!trap", ".tag=10", "=category=2", "=message=interrupted"]);
    assert_eq!(talk.sentence().await, ["!done", ".tag=20"]);
    assert_eq!(talk.sentence().await, ["!done", ".tag=10"]);
    assert!(!talk.ask("/ip/address/print", &[]).await.rows.is_empty(), "the connection stays usable");
}

#[tokio::test]
async fn a_cancel_without_a_tag_ends_all_that_runs() {
    let router = start(|options| options.plane = false).await;
    let mut talk = Talk::admin(&router).await;
    talk.send("/tool/ping", &["=address=192.0.2.1", "=interval=1h", ".tag=1"]).await;
    talk.send("/ip/route/listen", &[".tag=2"]).await;
    talk.send("/cancel", &[".tag=3"]).await;
    let mut done = Vec::new();
    while done.len() < 3 {
        let words = talk.sentence().await;
        if words[0] == "!done" {
            done.push(words[1].clone());
        }
    }
    done.sort();
    assert_eq!(done, [".tag=1", ".tag=2", ".tag=3"]);
}

#[tokio::test]
async fn a_command_does_not_wait_for_a_ping_before_it() {
    let router = start(|options| options.plane = false).await;
    let mut talk = Talk::admin(&router).await;
    talk.send("/tool/ping", &["=address=192.0.2.1", "=interval=1h", "=count=1", ".tag=1"]).await;
    talk.send("/system/identity/print", &[".tag=2"]).await;
    assert_eq!(talk.sentence().await[1], ".tag=2");
}

#[tokio::test]
async fn queries_proplist_and_count_only_choose_what_is_sent() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let rows = talk.ask("/interface/print", &["?type=ether", "?type=bridge", "?#|", "=.proplist=name"]).await.rows;
    let names: Vec<&str> = rows.iter().map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["ether1", "ether2", "ether3", "ether4", "ether5", "bridge"]);
    assert!(rows.iter().all(|r| r.len() == 1));
    let count = talk.ask("/interface/print", &["?type=ether", "=count-only="]).await;
    assert_eq!((count.ret.as_deref(), count.rows.len()), (Some("5"), 0));
    let got = talk.ask("/interface/get", &["=.id=ether2", "=value-name=type"]).await;
    assert_eq!(got.ret.as_deref(), Some("ether"));
}

#[tokio::test]
async fn users_who_are_logged_in_are_listed_and_limited() {
    let router = start(|_| {}).await;
    let mut first = Talk::admin(&router).await;
    assert!(first.ask("/ip/service/set", &["=.id=api", "=max-sessions=2"]).await.traps.is_empty());
    let second = Talk::admin(&router).await;
    assert_eq!(first.ask("/user/active/print", &["?name=admin"]).await.rows.len(), 2);
    let mut third = Talk::connect(router.api_addr()).await;
    third.send("/login", &["=name=admin", "=password="]).await;
    assert_eq!(third.sentence().await[0], "!fatal");
    assert!(third.next().await.is_none());
    drop(second);
    while router.sessions() > 1 {
        tokio::task::yield_now().await;
    }
    Talk::admin(&router).await;
}

#[tokio::test]
async fn a_windows_1252_comment_travels_as_its_bytes() {
    let router = start(|options| options.non_utf8_comment = true).await;
    let rows = router.operator("/ip/firewall/address-list/print", &[]).await.unwrap();
    let comments: Vec<_> = rows.iter().flatten().filter(|(k, _)| k == "comment").collect();
    assert!(comments.iter().any(|(_, v)| v == b"B\xFCro \x96 Z\xFCrich"), "{comments:?}");
}
