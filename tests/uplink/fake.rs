//! A hub under the test's hand: it hears requests and says what the test wants, byte by byte if need be.
//!
//! It reads and writes HTTP by itself, so that a mistake in our client is not repeated here.

use std::{collections::BTreeMap, time::Duration};

use sitepeer::{
    domain::Secret,
    uplink::{Deadlines, Hub, HubUrl, Trust},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Longest wait of a test for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One request as it came.
#[derive(Debug)]
pub struct Heard {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// One connection of the client.
pub struct Line<S = TcpStream> {
    pub stream: S,
    heard: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, heard: Vec::new() }
    }

    /// The next request, or `None` once the client has closed.
    pub async fn hear(&mut self) -> Option<Heard> {
        let end = loop {
            if let Some(end) = self.heard.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.heard.drain(..end).collect()).expect("a head is text");
        let mut lines = head.lines();
        let mut first = lines.next().expect("a request line").split(' ');
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.heard.len() < length {
            self.more().await?;
        }
        let word = |word: Option<&str>| word.expect("a request line").to_owned();
        Some(Heard {
            method: word(first.next()),
            path: word(first.next()),
            headers,
            body: self.heard.drain(..length).collect(),
        })
    }

    async fn more(&mut self) -> Option<()> {
        // One who is silent for so long is as good as gone.
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.heard)).await;
        read.is_ok_and(|count| count.is_ok_and(|count| count > 0)).then_some(())
    }

    pub async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("the client reads");
        self.stream.flush().await.expect("the client reads");
    }

    /// Says as much as the client takes; it may go away meanwhile.
    pub async fn say_what_it_takes(&mut self, text: &[u8]) -> bool {
        self.stream.write_all(text).await.is_ok()
    }

    /// Waits until the client closes.
    pub async fn closed(&mut self) {
        while self.more().await.is_some() {}
    }
}

/// A whole answer with this media type.
pub fn answer(status: &str, media_type: &str, more_headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n{more_headers}\r\n{body}",
        body.len()
    )
}

pub fn json(body: &str) -> String {
    answer("200 OK", "application/json", "", body)
}

pub fn problem(status: u16, code: &str, more_headers: &str) -> String {
    let body = format!(
        r#"{{"type":"about:blank","title":"T","status":{status},"detail":"the detail","code":"{code}","hint":"the way out"}}"#
    );
    answer(&format!("{status} T"), "application/problem+json", more_headers, &body)
}

pub const CREDENTIAL: &str = "sp_agt_k3f9q2x7_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA";

/// A listener, and a client that speaks to it in the clear with short deadlines.
pub async fn hub() -> (TcpListener, Hub) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url: HubUrl = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
    let hub = Hub::new(url, &Trust::Public, Some(Secret::new(CREDENTIAL.to_owned()))).expect("a hub");
    (listener, hub.with_deadlines(short()))
}

pub fn short() -> Deadlines {
    let patience = Duration::from_millis(400);
    Deadlines { connect: Duration::from_secs(5), head: patience, body: patience }
}

pub async fn accept(listener: &TcpListener) -> Line {
    let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("the client connects");
    Line::new(accepted.expect("a connection").0)
}
