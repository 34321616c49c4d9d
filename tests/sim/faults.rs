//! Each fault does what its name says, and no more.

use std::time::{Duration, Instant};

use sitepeer::sim::{Fault, StateOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::talk::{Talk, start};

const ADD: [&str; 2] = ["=address=10.7.0.1/24", "=interface=bridge"];

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

fn has_address(router: &sitepeer::sim::SimRouter) -> bool {
    let state = router.state(StateOptions::default());
    state.rows("/ip/address").iter().any(|row| row["address"] == b"10.7.0.1/24")
}

#[tokio::test]
async fn close_after_executes_the_sentence_and_close_before_does_not() {
    for (text, executed) in [("close-after=2", true), ("close-before=2", false)] {
        let router = start(|options| options.faults = vec![fault(text)]).await;
        let mut talk = Talk::admin(&router).await;
        talk.send("/ip/address/add", &ADD).await;
        assert!(talk.next().await.is_none_or(|r| r.is_err()), "{text}: the connection ends");
        assert_eq!(has_address(&router), executed, "{text}");
        assert_eq!(router.faults_fired(), 1);
        // It struck once: the next connection is a good one.
        assert!(!Talk::admin(&router).await.ask("/ip/address/print", &[]).await.rows.is_empty());
    }
}

#[tokio::test]
async fn trap_on_write_refuses_that_write_alone() {
    let router = start(|options| options.faults = vec![fault("trap-on-write=2")]).await;
    let mut talk = Talk::admin(&router).await;
    let outcomes = [
        talk.ask("/ip/address/add", &ADD).await.traps.len(),
        talk.ask("/ip/address/add", &["=address=10.8.0.1/24", "=interface=bridge"]).await.traps.len(),
        talk.ask("/ip/address/add", &["=address=10.8.0.1/24", "=interface=bridge"]).await.traps.len(),
    ];
    assert_eq!(outcomes, [0, 1, 0]);
}

#[tokio::test]
async fn reboot_on_write_keeps_the_configuration_and_loses_the_rest() {
    let router = start(|options| options.faults = vec![fault("reboot-on-write=2")]).await;
    let mut talk = Talk::admin(&router).await;
    talk.ask("/ip/firewall/address-list/add", &["=list=x", "=address=10.1.1.1", "=timeout=1h"]).await;
    talk.send("/ip/address/add", &ADD).await;
    assert!(talk.next().await.is_none_or(|r| r.is_err()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(router.api_addr()).await.is_err() {
        assert!(Instant::now() < deadline, "the device came back");
        tokio::task::yield_now().await;
    }
    let mut talk = Talk::admin(&router).await;
    assert_eq!(talk.ask("/ip/address/print", &["?address=10.7.0.1/24"]).await.rows.len(), 1);
    assert!(talk.ask("/ip/firewall/address-list/print", &["?list=x"]).await.rows.is_empty());
}

#[tokio::test]
async fn no_answer_takes_connections_and_says_nothing() {
    let router = start(|options| options.faults = vec![Fault::NoAnswer]).await;
    let mut socket = TcpStream::connect(router.api_addr()).await.unwrap();
    socket.write_all(b"\x06/login\x0b=name=admin\x00").await.unwrap();
    let mut byte = [0];
    let silence = tokio::time::timeout(Duration::from_millis(100), socket.read(&mut byte)).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test]
async fn logins_fail_as_the_fault_says() {
    for (text, word) in [
        ("refuse-login", "=message=invalid user name or password (6)"),
        ("no-api-policy", "=message=access denied"),
        ("session-limit", "too many sessions"),
    ] {
        let router = start(|options| options.faults = vec![fault(text)]).await;
        let mut talk = Talk::connect(router.api_addr()).await;
        talk.send("/login", &["=name=admin", "=password="]).await;
        let words = talk.sentence().await;
        assert!(words.iter().any(|w| w == word), "{text}: {words:?}");
    }
}

#[tokio::test]
async fn a_huge_length_header_and_garbage_are_what_they_are_called() {
    for (text, first) in [("huge-length", [0xF0, 0xFF, 0xFF, 0xFF, 0xFF]), ("garbage", [0xF8, 0, b'H', b'T', b'T'])] {
        let router = start(|options| options.faults = vec![fault(text)]).await;
        let mut socket = TcpStream::connect(router.api_addr()).await.unwrap();
        socket.write_all(b"\x06/login\x0b=name=admin\x00").await.unwrap();
        let mut bytes = [0; 5];
        socket.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, first, "{text}");
    }
}

#[tokio::test]
async fn foreign_rows_are_there_in_their_number() {
    let router = start(|options| options.faults = vec![fault("foreign-rows"), Fault::NonUtf8Comment]).await;
    let mut talk = Talk::admin(&router).await;
    let count = talk.ask("/ip/firewall/address-list/print", &["?list=blocklist", "=count-only="]).await;
    assert_eq!(count.ret.as_deref(), Some("10000"));
    assert_eq!(talk.ask("/ip/firewall/address-list/print", &["?list=blocklist"]).await.rows.len(), 10_000);
}

#[tokio::test]
async fn a_clock_that_jumped_shows_the_wrong_date() {
    let router = start(|options| options.faults = vec![fault("clock-jump=epoch")]).await;
    let mut talk = Talk::admin(&router).await;
    let date = talk.ask("/system/clock/print", &[]).await.rows[0]["date"].clone();
    assert_eq!(date, "1970-01-01");
    talk.ask("/system/clock/set", &["=date=2026-09-18", "=time=12:00:00"]).await;
    let date = talk.ask("/system/clock/print", &[]).await.rows[0]["date"].clone();
    assert_eq!(date, "2026-09-18");
}

#[tokio::test]
async fn a_slow_late_or_chopped_link_delivers_the_same_bytes() {
    let clean = start(|_| {}).await;
    let expected = Talk::admin(&clean).await.ask("/interface/print", &["=.proplist=name,type"]).await;
    for text in ["slow=20000", "one-byte-segments", "latency=20"] {
        let router = start(|options| options.faults = vec![fault(text)]).await;
        let mut talk = Talk::admin(&router).await;
        assert_eq!(talk.ask("/interface/print", &["=.proplist=name,type"]).await, expected, "{text}");
    }
}

#[tokio::test]
async fn latency_is_paid_once_in_each_direction() {
    let router = start(|options| options.faults = vec![fault("latency=40")]).await;
    let mut talk = Talk::admin(&router).await;
    let begin = Instant::now();
    for tag in ["1", "2", "3"] {
        talk.send("/system/identity/print", &["=.proplist=name", &format!(".tag={tag}")]).await;
    }
    for _ in 0..6 {
        talk.sentence().await;
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(80), "{took:?}");
    assert!(took < Duration::from_millis(3 * 80), "commands sent together share the delay: {took:?}");
}
