//! Connections: kept, replaced, refused; nothing secret shows.

use std::{collections::BTreeMap, sync::Arc};

use sitepeer::{
    domain::Secret,
    uplink::{Connect, Hub, HubUrl, Method, Retry, SendOptions, Stream, Trust, UplinkError},
};
use tokio::{io::DuplexStream, net::TcpListener, sync::mpsc};

use crate::fake::{CREDENTIAL, Line, accept, hub, json};

type Map = BTreeMap<String, u32>;

#[tokio::test]
async fn one_connection_serves_one_request_after_the_other() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut line = accept(&listener).await;
        for _ in 0..3 {
            line.hear().await.unwrap();
            line.say(json("{}")).await;
        }
        line
    };
    let asking = async {
        for _ in 0..3 {
            hub.get::<Map>("/v1/x").await.unwrap();
        }
    };
    futures_util::join!(asking, serving);
}

#[tokio::test]
async fn a_long_poll_does_not_hold_up_what_is_sent_meanwhile() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut first = accept(&listener).await;
        let poll = first.hear().await.unwrap();
        assert!(poll.path.contains("desired"));
        let mut second = accept(&listener).await;
        second.hear().await.unwrap();
        second.say(json("{}")).await;
        first.say(json("{}")).await;
        (first, second)
    };
    let polling = hub.poll::<Map>("/v1/agent/desired?revision=0&wait=50");
    let (polled, posted, _lines) = futures_util::join!(polling, hub.post::<_, Map>("/v1/agent/reports", &1), serving);
    assert!(polled.unwrap().is_some());
    posted.unwrap();
}

/// The hub closes the kept connection as soon as the second request comes.
async fn close_at_the_second(listener: &TcpListener) -> bool {
    let mut line = accept(listener).await;
    line.hear().await.unwrap();
    line.say(json("{}")).await;
    line.hear().await.unwrap();
    drop(line);
    let again = tokio::time::timeout(std::time::Duration::from_millis(300), listener.accept()).await;
    let Ok(Ok((stream, _))) = again else { return false };
    let mut line = Line::new(stream);
    line.hear().await.unwrap();
    line.say(json("{}")).await;
    true
}

#[tokio::test]
async fn a_get_over_a_connection_that_went_is_asked_again_once() {
    let (listener, hub) = hub().await;
    let asking = async {
        hub.get::<Map>("/v1/x").await.unwrap();
        hub.get::<Map>("/v1/x").await
    };
    let (got, came_again) = futures_util::join!(asking, close_at_the_second(&listener));
    got.unwrap();
    assert!(came_again);
}

#[tokio::test]
async fn a_post_that_may_have_been_done_is_not_sent_again() {
    let (listener, hub) = hub().await;
    let asking = async {
        hub.get::<Map>("/v1/x").await.unwrap();
        hub.post::<_, Map>("/v1/x", &1).await
    };
    let (got, came_again) = futures_util::join!(asking, close_at_the_second(&listener));
    assert_eq!(got.unwrap_err().retry(), Retry::Now);
    assert!(!came_again);
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_is_sent_again() {
    let (listener, hub) = hub().await;
    let asking = async {
        hub.get::<Map>("/v1/x").await.unwrap();
        let options = SendOptions { idempotency_key: Some("k".to_owned()), ..SendOptions::default() };
        hub.send(Method::POST, "/v1/x", Some(&1), &options).await
    };
    let (got, came_again) = futures_util::join!(asking, close_at_the_second(&listener));
    assert_eq!(got.unwrap().status, 200);
    assert!(came_again);
}

#[tokio::test]
async fn a_post_over_a_connection_that_was_closed_while_idle_goes_over_a_new_one() {
    let (listener, hub) = hub().await;
    let (gone, was_gone) = tokio::sync::oneshot::channel();
    let serving = async {
        let mut line = accept(&listener).await;
        line.hear().await.unwrap();
        line.say(json("{}")).await;
        drop(line);
        gone.send(()).unwrap();
        let mut line = accept(&listener).await;
        line.hear().await.unwrap();
        line.say(json("{}")).await;
        line
    };
    let asking = async {
        hub.get::<Map>("/v1/x").await.unwrap();
        was_gone.await.unwrap();
        // The client's task has to see the end; it is ready to be read, so one turn of the loop is enough.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        hub.post::<_, Map>("/v1/x", &1).await.unwrap();
    };
    futures_util::join!(asking, serving);
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection_and_the_next_one_opens_another() {
    let (listener, hub) = hub().await;
    let serving = async {
        let mut first = accept(&listener).await;
        first.hear().await.unwrap();
        first.closed().await;
        let mut second = accept(&listener).await;
        second.hear().await.unwrap();
        second.say(json("{}")).await;
        second
    };
    let asking = async {
        let dropped = tokio::time::timeout(std::time::Duration::from_millis(50), hub.get::<Map>("/v1/x")).await;
        assert!(dropped.is_err());
        hub.get::<Map>("/v1/x").await.unwrap();
    };
    futures_util::join!(asking, serving);
}

#[tokio::test]
async fn nobody_there_is_said_with_the_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let url: HubUrl = format!("http://{place}").parse().unwrap();
    let error = Hub::new(url, &Trust::Public, None).unwrap().get::<Map>("/v1/x").await.unwrap_err();
    assert!(matches!(error, UplinkError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&place.to_string()) && error.hint().is_some());
    assert_eq!(error.retry(), Retry::Later);
}

#[tokio::test]
async fn a_credential_with_a_line_break_is_not_sent_and_shows_nowhere() {
    let (_listener, hub) = hub().await;
    let hub = hub.with_credential(Secret::new(format!("{CREDENTIAL}\r\nx: y")));
    let error = hub.get::<Map>("/v1/x").await.unwrap_err();
    assert!(matches!(error, UplinkError::Credential));
    assert!(!format!("{error:?} {error} {hub:?} {:?}", error.hint()).contains("sp_agt"));
}

#[tokio::test]
async fn a_path_that_is_none_is_not_sent() {
    let (_listener, hub) = hub().await;
    for path in ["v1/x", "/v1/\r\nx: y", "http://evil.example/", "/v1/a b"] {
        let error = hub.get::<Map>(path).await.unwrap_err();
        assert!(matches!(error, UplinkError::Unsendable { .. }), "{path:?}: {error}");
    }
}

/// Streams within this process.
struct Inside(mpsc::Sender<DuplexStream>);

#[async_trait::async_trait]
impl Connect for Inside {
    async fn connect(&self) -> Result<Box<dyn Stream>, UplinkError> {
        let (near, far) = tokio::io::duplex(1 << 16);
        self.0.send(far).await.map_err(|why| UplinkError::Lost { why: Box::new(why) })?;
        Ok(Box::new(near))
    }

    fn place(&self) -> String {
        "this process".to_owned()
    }
}

#[tokio::test]
async fn the_same_client_speaks_over_any_stream() {
    let (sender, mut streams) = mpsc::channel(1);
    let hub = Hub::over(Arc::new(Inside(sender)), None);
    let serving = async {
        let mut line = Line::new(streams.recv().await.unwrap());
        let heard = line.hear().await.unwrap();
        assert!(!heard.headers.contains_key("authorization"));
        line.say(json(r#"{"a":1}"#)).await;
        line
    };
    let (got, _line) = futures_util::join!(hub.get::<Map>("/v1/x"), serving);
    assert_eq!(got.unwrap().len(), 1);
    drop(streams);
    assert_eq!(hub.place(), "this process");
}
