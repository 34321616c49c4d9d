//! A client without opinions: sends sentences as they stand, and returns what came.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use sitepeer::routeros::codec::{Sentence, SentenceCodec, WireError, Words};
use sitepeer::sim::{SimOptions, SimRouter};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

/// Long enough for a slow machine; what is waited for comes at once or never.
const DEADLINE: Duration = Duration::from_secs(20);

pub type Fields = BTreeMap<String, String>;

/// What one command was answered with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub rows: Vec<Fields>,
    pub traps: Vec<Fields>,
    pub ret: Option<String>,
    pub empty: bool,
}

impl Reply {
    pub fn trap(&self) -> &str {
        self.traps.first().map_or("", |trap| &trap["message"])
    }
}

pub struct Talk(Framed<TcpStream, SentenceCodec>);

impl Talk {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(Framed::new(TcpStream::connect(address).await.unwrap(), SentenceCodec::default()))
    }

    pub async fn admin(router: &SimRouter) -> Self {
        let mut talk = Self::connect(router.api_addr()).await;
        let reply = talk.ask("/login", &["=name=admin", "=password="]).await;
        assert_eq!(reply, Reply::default(), "login");
        talk
    }

    pub async fn user(router: &SimRouter, name: &str, password: &str) -> Self {
        let mut talk = Self::connect(router.api_addr()).await;
        let (name, password) = (format!("=name={name}"), format!("=password={password}"));
        assert_eq!(talk.ask("/login", &[&name, &password]).await, Reply::default(), "login");
        talk
    }

    pub async fn send(&mut self, path: &str, words: &[&str]) {
        let words = words.iter().fold(Words::new(path), Words::word);
        self.0.send(words).await.unwrap();
    }

    /// Tells whether a command is answered at all.
    pub async fn try_ask(&mut self, path: &str, words: &[&str]) -> bool {
        let words = words.iter().fold(Words::new(path), Words::word);
        self.0.send(words).await.is_ok() && self.next().await.is_some_and(|next| next.is_ok())
    }

    /// The next sentence as words, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Result<Vec<String>, WireError>> {
        let next = tokio::time::timeout(DEADLINE, self.0.next()).await.expect("no answer in time");
        Some(
            next?.map(|sentence: Sentence| sentence.words().map(|w| String::from_utf8_lossy(w).into_owned()).collect()),
        )
    }

    pub async fn sentence(&mut self) -> Vec<String> {
        self.next().await.expect("the stream ended").unwrap()
    }

    /// Sends one command without a tag and gathers its replies.
    pub async fn ask(&mut self, path: &str, words: &[&str]) -> Reply {
        self.send(path, words).await;
        let mut reply = Reply::default();
        loop {
            let words = self.sentence().await;
            let fields: Fields = words[1..]
                .iter()
                .filter_map(|word| word.strip_prefix('=')?.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
            match words[0].as_str() {
                "!re" => reply.rows.push(fields),
                "!trap" => reply.traps.push(fields),
                "!empty" => reply.empty = true,
                "!done" => {
                    reply.ret = fields.get("ret").cloned();
                    return reply;
                }
                other => panic!("{other}: {words:?}"),
            }
        }
    }

    /// Asks for one row's field.
    pub async fn field(&mut self, menu: &str, query: &str, field: &str) -> Option<String> {
        let rows = self.ask(&format!("{menu}/print"), &[query]).await.rows;
        assert_eq!(rows.len(), 1, "{menu} {query}: {rows:?}");
        rows[0].get(field).cloned()
    }
}

pub async fn start(change: impl FnOnce(&mut SimOptions)) -> SimRouter {
    let mut options = SimOptions::default();
    change(&mut options);
    SimRouter::start(options).await.unwrap()
}

/// A device of this version.
pub async fn version(version: &str) -> SimRouter {
    start(|options| options.version = version.parse().unwrap()).await
}
