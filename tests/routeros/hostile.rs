//! What answers is not a router, or not a friendly one: each has its own error, within its deadline.

use std::time::{Duration, Instant};

use sitepeer::routeros::{
    Access, CallError, ConnectError, connect,
    error::Nonsense,
    login::LoginError,
    target::{FailureClass, Step},
};
use tokio::net::TcpListener;

use crate::fake::{accept, encode, listen};

/// More than the deadlines of [`listen`] together.
const SOON: Duration = Duration::from_secs(5);

/// Sends `bytes` to whoever connects, at once, and then keeps the connection open if `stay`.
async fn greet(listener: TcpListener, bytes: Vec<u8>, stay: bool) {
    let mut router = accept(&listener).await;
    router.raw(&bytes).await;
    if stay {
        while router.hear().await.is_some() {}
    }
}

async fn connect_to(bytes: &[u8], stay: bool) -> ConnectError {
    let (listener, access) = listen("api").await;
    let server = tokio::spawn(greet(listener, bytes.to_vec(), stay));
    let error = fail(&access).await;
    server.abort();
    error
}

async fn fail(access: &Access) -> ConnectError {
    let began = Instant::now();
    let error = connect(access).await.expect_err("nobody logs in here");
    assert!(began.elapsed() < SOON, "{error:?} took {:?}", began.elapsed());
    assert_eq!(error.class(), FailureClass::Unreachable);
    assert!(!format!("{error:?} {error} {:?}", error.hint()).contains("bench"), "the password was shown");
    error
}

#[tokio::test]
async fn another_protocol_is_known_by_its_first_bytes() {
    for greeting in
        [&b"SSH-2.0-ROSSSH\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 router FTP server\r\n", b"\x7f\x00\x00"]
    {
        let error = connect_to(greeting, true).await;
        assert!(matches!(error, ConnectError::Garbage(Nonsense::NotAReply(_))), "{error:?}");
        assert!(error.hint().unwrap().contains("8728"));
    }
}

#[tokio::test]
async fn a_4_gib_length_header_is_refused_at_once() {
    let error = connect_to(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF], true).await;
    assert!(matches!(error, ConnectError::Garbage(Nonsense::Wire(_))), "{error:?}");
}

#[tokio::test]
async fn a_reserved_control_byte_is_refused_at_once() {
    let error = connect_to(&[0xF8, 0x00], true).await;
    assert!(matches!(error, ConnectError::Garbage(Nonsense::Wire(_))), "{error:?}");
}

#[tokio::test]
async fn tls_on_the_port_of_the_clear_is_named() {
    // The alert a TLS server sends to what is no handshake.
    for stay in [true, false] {
        let error = connect_to(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46], stay).await;
        assert!(matches!(error, ConnectError::SpeaksTls), "{error:?}");
        assert!(error.hint().unwrap().contains("apis://"));
    }
}

#[tokio::test]
async fn a_connection_closed_at_once_names_what_may_be_behind_it() {
    let error = connect_to(&[], false).await;
    assert!(matches!(error, ConnectError::Closed), "{error:?}");
    let hint = error.hint().unwrap();
    assert!(["max-sessions", "available-from", "firewall", "8729"].iter().all(|cause| hint.contains(cause)), "{hint}");
}

#[tokio::test]
async fn a_router_that_never_answers_the_login_is_given_up() {
    let error = connect_to(&[], true).await;
    assert!(matches!(error, ConnectError::Timeout { step: Step::Login, .. }), "{error:?}");
}

#[tokio::test]
async fn a_router_that_drips_bytes_is_given_up_too() {
    let (listener, access) = listen("api").await;
    let server = tokio::spawn(async move {
        let mut router = accept(&listener).await;
        router.hear().await;
        for byte in b"\x08!rarely!".iter().cycle() {
            router.raw(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let error = fail(&access).await;
    assert!(matches!(error, ConnectError::Timeout { step: Step::Login, .. } | ConnectError::Garbage(_)), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn rows_in_answer_to_a_login_are_not_collected() {
    let (listener, access) = listen("api").await;
    let server = tokio::spawn(async move {
        let mut router = accept(&listener).await;
        let tag = router.tag().await;
        let row = encode(&["!re", &tag, "=a=b"]).repeat(1_000);
        loop {
            router.raw(&row).await;
            tokio::task::yield_now().await;
        }
    });
    let error = fail(&access).await;
    assert!(matches!(error, ConnectError::Login(LoginError::Strange)), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn a_router_that_stops_inside_a_sentence_is_a_lost_connection() {
    let error = connect_to(b"\x05!do", false).await;
    let ConnectError::Login(LoginError::Call(CallError::ConnectionLost { .. })) = error else {
        panic!("{error:?}");
    };
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_named() {
    let (listener, access) = listen("api").await;
    drop(listener);
    let error = fail(&access).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("/ip/service"));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let (_listener, mut access) = listen("api").await;
    access.url = "api://no-such-router.invalid".parse().unwrap();
    access.deadlines.connect = Duration::from_secs(4);
    let error = fail(&access).await;
    assert!(
        matches!(error, ConnectError::Unresolvable { .. } | ConnectError::Timeout { step: Step::Resolve, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_connection_reset_after_the_login_fails_the_call_not_the_program() {
    let (listener, access) = listen("api").await;
    let server = tokio::spawn(async move {
        let mut router = accept(&listener).await;
        let tag = router.tag().await;
        router.say(&["!done", &tag]).await;
        router.hear().await;
    });
    let client = connect(&access).await.unwrap();
    let error = client.call(&sitepeer::routeros::Command::new("/x")).await.unwrap_err();
    assert!(matches!(error, CallError::ConnectionLost { .. }), "{error:?}");
    server.await.unwrap();
}
