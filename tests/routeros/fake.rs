//! A router under the test's hand: it hears sentences and says what the test wants, byte by byte if need be.
//!
//! It encodes by itself, so that a mistake in our encoder is not repeated here.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use sitepeer::{
    domain::Secret,
    routeros::{
        Access, Client,
        client::Ends,
        codec::{Sentence, SentenceCodec},
        target::{Deadlines, Plaintext},
        tls::Trust,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
};
use tokio_util::codec::Decoder;

/// Bytes in flight between client and fake router.
const PIPE_BYTES: usize = 1 << 20;

pub struct Fake<S = DuplexStream> {
    pub stream: S,
    codec: SentenceCodec,
    heard: BytesMut,
}

/// A client and the router it is connected to; nobody logs in.
pub fn pair() -> (Client, Fake) {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    (Client::over(near, ends()), Fake::new(far))
}

pub fn ends() -> Ends {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Ends { local: nowhere, peer: nowhere }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Fake<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, codec: SentenceCodec::default(), heard: BytesMut::new() }
    }

    /// The next sentence of the client, or `None` once it has closed.
    pub async fn hear(&mut self) -> Option<Sentence> {
        loop {
            if let Some(sentence) = self.codec.decode(&mut self.heard).expect("the client speaks the API") {
                return Some(sentence);
            }
            if self.stream.read_buf(&mut self.heard).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Hears a command and returns its tag word.
    pub async fn tag(&mut self) -> String {
        let command = self.hear().await.expect("a command");
        format!(".tag={}", std::str::from_utf8(command.tag().expect("a tag")).unwrap())
    }

    pub async fn say(&mut self, words: &[&str]) {
        self.raw(&encode(words)).await;
    }

    /// Sends bytes. That the client may have hung up by now is its affair.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Answers everything with a bare `!done` until the client closes.
    pub async fn agree(mut self) {
        while let Some(command) = self.hear().await {
            let tag = command.tag().map(|tag| format!(".tag={}", std::str::from_utf8(tag).unwrap()));
            match tag {
                Some(tag) => self.say(&["!done", &tag]).await,
                None => self.say(&["!done"]).await,
            }
        }
    }
}

/// A sentence as bytes.
pub fn encode(words: &[&str]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    encode_bytes(&words)
}

pub fn encode_bytes(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        match word.len() {
            length @ 0..=0x7F => bytes.push(u8::try_from(length).unwrap()),
            length => bytes.extend_from_slice(&(u16::try_from(length).unwrap() | 0x8000).to_be_bytes()),
        }
        bytes.extend_from_slice(word);
    }
    bytes.push(0);
    bytes
}

/// A TCP port on loopback and what gets a client into it, with deadlines short enough to wait for.
pub async fn listen(scheme: &str) -> (TcpListener, Access) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let short = Duration::from_millis(500);
    let access = Access {
        url: format!("{scheme}://admin@127.0.0.1:{port}").parse().unwrap(),
        password: Secret::new("bench".into()),
        trust: Trust::None,
        plaintext: Plaintext::Refuse,
        deadlines: Deadlines { connect: short, tls: short, login: short, command: short },
    };
    (listener, access)
}

/// The next connection to the port.
pub async fn accept(listener: &TcpListener) -> Fake<TcpStream> {
    Fake::new(listener.accept().await.unwrap().0)
}
