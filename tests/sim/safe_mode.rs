//! Safe mode: whose it is, and what becomes of everybody's changes.

use std::time::Duration;

use sitepeer::sim::{SimRouter, StateOptions};

use crate::talk::{Talk, start, version};

fn noted(router: &SimRouter) -> Vec<String> {
    let state = router.state(StateOptions::default());
    let rows = state.rows("/ip/firewall/address-list").iter();
    let ours = rows.filter(|row| row.get("list").is_some_and(|list| list == b"noted"));
    ours.map(|row| String::from_utf8(row["address"].clone()).unwrap()).collect()
}

async fn note(talk: &mut Talk, address: &str) {
    let address = format!("=address={address}");
    let reply = talk.ask("/ip/firewall/address-list/add", &["=list=noted", &address]).await;
    assert!(reply.traps.is_empty(), "{reply:?}");
}

async fn refusal(talk: &mut Talk, path: &str, words: &[&str]) -> String {
    talk.ask(path, words).await.trap().to_owned()
}

async fn gone(router: &SimRouter, sessions: usize) {
    while router.sessions() > sessions {
        tokio::task::yield_now().await;
    }
    router.pass_time(Duration::ZERO).await;
}

#[tokio::test]
async fn the_end_of_its_session_undoes_what_anybody_changed() {
    let router = start(|_| {}).await;
    let (mut holder, mut other) = (Talk::admin(&router).await, Talk::admin(&router).await);
    note(&mut holder, "10.0.0.1").await;
    assert!(holder.ask("/safe-mode/take", &[]).await.traps.is_empty());
    note(&mut holder, "10.0.0.2").await;
    note(&mut other, "10.0.0.3").await;
    let (own, seen) = (holder.ask("/safe-mode/print", &[]).await, other.ask("/safe-mode/print", &[]).await);
    assert_eq!((own.rows[0]["current"].as_str(), seen.rows[0]["current"].as_str()), ("true", "false"));
    assert_eq!((seen.rows[0]["enabled"].as_str(), seen.rows[0]["user"].as_str()), ("true", "admin"));
    drop(holder);
    gone(&router, 1).await;
    assert_eq!(noted(&router), ["10.0.0.1"]);
    assert_eq!(other.ask("/safe-mode/print", &[]).await.rows[0]["enabled"], "false");
}

#[tokio::test]
async fn only_its_session_lets_go_of_it_or_undoes_it() {
    let router = start(|_| {}).await;
    let (mut holder, mut other) = (Talk::admin(&router).await, Talk::admin(&router).await);
    holder.ask("/safe-mode/take", &["=on-error=abort"]).await;
    note(&mut holder, "10.0.0.2").await;
    for (path, words) in [
        ("/safe-mode/take", &[][..]),
        ("/safe-mode/take", &["=on-error=abort"]),
        ("/safe-mode/release", &[]),
        ("/safe-mode/unroll", &[]),
    ] {
        assert!(refusal(&mut other, path, words).await.contains("safe mode is"), "{path}");
    }
    assert!(holder.ask("/safe-mode/release", &[]).await.traps.is_empty());
    drop(holder);
    gone(&router, 1).await;
    assert_eq!(noted(&router), ["10.0.0.2"], "let go of, it stays");
    other.ask("/safe-mode/take", &[]).await;
    note(&mut other, "10.0.0.4").await;
    other.ask("/safe-mode/unroll", &[]).await;
    assert_eq!(noted(&router), ["10.0.0.2"]);
}

#[tokio::test]
async fn one_action_too_many_ends_it_without_undoing() {
    let router = start(|_| {}).await;
    let mut holder = Talk::admin(&router).await;
    holder.ask("/safe-mode/take", &[]).await;
    for n in 1..=100 {
        note(&mut holder, &format!("10.0.0.{n}")).await;
    }
    assert_eq!(holder.ask("/safe-mode/print", &[]).await.rows[0]["enabled"], "true");
    note(&mut holder, "10.0.1.1").await;
    assert_eq!(holder.ask("/safe-mode/print", &[]).await.rows[0]["enabled"], "false");
    drop(holder);
    gone(&router, 0).await;
    assert_eq!(noted(&router).len(), 101);
}

#[tokio::test]
async fn it_came_with_7_18() {
    let (before, since) = (version("7.17.1").await, version("7.18").await);
    let mut talk = Talk::admin(&before).await;
    assert_eq!(refusal(&mut talk, "/safe-mode/print", &[]).await, "no such command prefix");
    let mut talk = Talk::admin(&since).await;
    assert!(talk.ask("/safe-mode/take", &[]).await.traps.is_empty());
}
