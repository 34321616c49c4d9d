//! What is made of answers: good ones, refusals, and things that are no answer of a hub.

use std::{collections::BTreeMap, time::Duration};

use sitepeer::{
    api::{MAX_REPLY_BYTES, Problem, code},
    uplink::{Method, Retry, SendOptions, Step, UplinkError},
};

use crate::fake::{CREDENTIAL, Heard, accept, answer, hub, json, problem};

type Map = BTreeMap<String, u32>;

/// Lets the hub say `text` to one GET, and returns what the client made of it.
async fn get(text: &str) -> Result<Map, UplinkError> {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut line = accept(&listener).await;
        line.hear().await.unwrap();
        line.say(text).await;
        line
    };
    let (got, _line) = futures_util::join!(hub.get::<Map>("/v1/x"), serving);
    got
}

#[tokio::test]
async fn a_request_carries_host_credential_and_body_and_the_answer_is_read() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut line = accept(&listener).await;
        let heard: Heard = line.hear().await.unwrap();
        line.say(json(r#"{"a":1}"#)).await;
        (heard, line)
    };
    let (got, (heard, _line)) = futures_util::join!(hub.post::<_, Map>("/v1/x?y=1", &["b"]), serving);
    assert_eq!(got.unwrap(), Map::from([("a".to_owned(), 1)]));
    assert_eq!((heard.method.as_str(), heard.path.as_str()), ("POST", "/v1/x?y=1"));
    assert_eq!(heard.body, br#"["b"]"#);
    let header = |name: &str| heard.headers.get(name).map(String::as_str);
    assert_eq!(header("host"), Some(listener.local_addr().unwrap().to_string().as_str()));
    assert_eq!(header("authorization"), Some(format!("Bearer {CREDENTIAL}").as_str()));
    assert_eq!(header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn options_become_headers_and_etag_and_location_come_back() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut line = accept(&listener).await;
        let heard = line.hear().await.unwrap();
        line.say(answer("201 Created", "application/json", "etag: \"3\"\r\nlocation: /v1/x/1\r\n", "{}")).await;
        (heard, line)
    };
    let options = SendOptions { if_match: Some("\"2\"".to_owned()), idempotency_key: Some("once".to_owned()) };
    let sending = hub.send(Method::PATCH, "/v1/x", Some(&1), &options);
    let (reply, (heard, _line)) = futures_util::join!(sending, serving);
    let reply = reply.unwrap();
    assert_eq!((reply.status, reply.etag.as_deref(), reply.location.as_deref()), (201, Some("\"3\""), Some("/v1/x/1")));
    assert_eq!(heard.headers.get("if-match").map(String::as_str), Some("\"2\""));
    assert_eq!(heard.headers.get("idempotency-key").map(String::as_str), Some("once"));
}

#[tokio::test]
async fn nothing_is_an_answer_where_nothing_is_asked_for() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut line = accept(&listener).await;
        line.hear().await.unwrap();
        line.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        line.hear().await.unwrap();
        line.say("HTTP/1.1 304 Not Modified\r\n\r\n").await;
        line.hear().await.unwrap();
        line.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        line
    };
    let asking = async {
        hub.post::<_, ()>("/v1/agent/applied", &1).await.unwrap();
        assert!(hub.poll::<Map>("/v1/agent/desired?revision=1&wait=1").await.unwrap().is_none());
        hub.get::<Map>("/v1/x").await.unwrap_err()
    };
    let (error, _line) = futures_util::join!(asking, serving);
    assert!(matches!(error, UplinkError::Garbage { status: 204, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_in_chunks_is_one_answer() {
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n\
        transfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":2}\r\n0\r\n\r\n";
    assert_eq!(get(chunked).await.unwrap(), Map::from([("a".to_owned(), 2)]));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code_and_hint_and_when_to_come_again() {
    let error = get(&problem(409, code::PORT_TAKEN, "")).await.unwrap_err();
    assert!(error.is_refused_with(code::PORT_TAKEN));
    assert_eq!(error.retry(), Retry::Never);
    assert_eq!(error.hint().as_deref(), Some("the way out"));
    assert_eq!(error.to_string(), "the hub refused (port-taken): the detail");
    for status in [429, 503] {
        let error = get(&problem(status, code::RATE_LIMITED, "retry-after: 7\r\n")).await.unwrap_err();
        assert_eq!((error.retry(), error.retry_after()), (Retry::Later, Some(Duration::from_secs(7))));
    }
    let far = get(&problem(429, code::RATE_LIMITED, "retry-after: 99999999\r\n")).await.unwrap_err();
    assert_eq!(far.retry_after(), Some(Duration::from_hours(1)));
    let nonsense = get(&problem(429, code::RATE_LIMITED, "retry-after: -1\r\n")).await.unwrap_err();
    assert_eq!((nonsense.retry(), nonsense.retry_after()), (Retry::Later, None));
}

#[tokio::test]
async fn the_status_that_came_counts_not_the_one_in_the_body() {
    let body = problem(200, "x", "").split_once("\r\n\r\n").unwrap().1.to_owned();
    let error = get(&answer("403 Forbidden", "application/problem+json", "", &body)).await.unwrap_err();
    assert_eq!(error.problem().map(|problem| problem.status), Some(403));
}

#[tokio::test]
async fn the_words_of_a_hostile_hub_are_bounded_and_cannot_write_to_a_terminal() {
    let problem = Problem {
        kind: "about:blank".into(),
        title: String::new(),
        status: 403,
        detail: format!("\u{1b}[2J{}", "x".repeat(10_000)),
        code: "a\r\nb".into(),
        hint: Some("\u{202e}".into()),
        field: None,
    };
    let body = serde_json::to_string(&problem).unwrap();
    let error = get(&answer("403 Forbidden", "application/problem+json", "", &body)).await.unwrap_err();
    let shown = format!("{error} {}", error.hint().unwrap());
    assert!(!shown.contains(['\u{1b}', '\r', '\n', '\u{202e}']) && shown.len() < 1000, "{shown:?}");
}

#[tokio::test]
async fn what_is_no_hub_is_said_to_be_none_with_its_first_words() {
    let error = get(&answer("200 OK", "text/html", "", "<html>\u{7}welcome")).await.unwrap_err();
    let UplinkError::Garbage { status: 200, said, .. } = &error else { panic!("{error}") };
    assert_eq!(said, "<html>\\u{7}welcome");
    assert_eq!(error.retry(), Retry::Never);
    let proxy = get(&answer("502 Bad Gateway", "text/html", "retry-after: 3\r\n", "<html>")).await.unwrap_err();
    assert_eq!((proxy.retry(), proxy.retry_after()), (Retry::Later, Some(Duration::from_secs(3))));
    for text in ["SSH-2.0-OpenSSH_9.6\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n", "HTTP/1.1 200\u{ff}\r\n\r\n"] {
        let error = get(text).await.unwrap_err();
        assert!(matches!(error, UplinkError::Garbage { status: 0, .. }), "{text:?}: {error:?}");
    }
}

#[tokio::test]
async fn json_that_is_not_what_was_asked_for_is_garbage_and_is_not_repeated() {
    let error = get(&json(r#"{"a":"sp_tok_secret"}"#)).await.unwrap_err();
    let UplinkError::Garbage { said, .. } = &error else { panic!("{error}") };
    assert!(said.contains("expected u32"), "{said}");
    assert!(matches!(get(&json("{")).await.unwrap_err(), UplinkError::Garbage { .. }));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_place_is_named() {
    let error = get("HTTP/1.1 308 Permanent Redirect\r\nlocation: https://evil.example\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap_err();
    assert!(matches!(&error, UplinkError::Moved { status: 308, to } if to == "https://evil.example"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_given_up_before_it_is_read() {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", MAX_REPLY_BYTES + 1);
    assert!(matches!(get(&head).await.unwrap_err(), UplinkError::TooLong));
}

#[tokio::test]
async fn chunks_without_end_are_given_up() {
    let (listener, hub) = hub().await;
    let hub = hub.with_deadlines(sitepeer::uplink::Deadlines::default());
    let serving = async {
        let mut line = accept(&listener).await;
        line.hear().await.unwrap();
        line.say("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
        let mut said = 0;
        while said < 64 && line.say_what_it_takes(&chunk).await {
            said += 1;
        }
        said
    };
    let (got, said) = futures_util::join!(hub.get::<Map>("/v1/x"), serving);
    assert!(matches!(got.unwrap_err(), UplinkError::TooLong));
    assert!(said < 64, "all of it was read");
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut line = accept(&listener).await;
        line.hear().await.unwrap();
        line.say("HTTP/1.1 200 OK\r\n").await;
        let mut said = 0;
        while said < 1000 && line.say_what_it_takes(format!("x-{said}: {}\r\n", "y".repeat(1000)).as_bytes()).await {
            said += 1;
        }
        said
    };
    let (got, said) = futures_util::join!(hub.get::<Map>("/v1/x"), serving);
    assert!(matches!(got.unwrap_err(), UplinkError::Garbage { status: 0, .. }));
    assert!(said < 1000, "all of it was read");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_lost_and_not_taken_for_whole() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut line = accept(&listener).await;
        line.hear().await.unwrap();
        line.say("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{}").await;
    };
    let (got, ()) = futures_util::join!(hub.get::<Map>("/v1/x"), serving);
    let error = got.unwrap_err();
    assert!(matches!(error, UplinkError::Lost { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Now);
}

#[tokio::test]
async fn a_hub_that_says_nothing_or_never_ends_is_too_slow() {
    for (text, late) in [
        ("", Step::Head),
        ("HTTP/1.1 200 OK\r\ncontent-", Step::Head),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{", Step::Body),
    ] {
        let error = get(text).await.unwrap_err();
        assert!(matches!(error, UplinkError::Timeout { step, .. } if step == late), "{text:?}: {error}");
        assert_eq!(error.retry(), Retry::Later);
    }
}
