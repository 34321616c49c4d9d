//! Somebody between us and the router who changes what either says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use sitepeer::routeros::codec::{SentenceCodec, Words};
use sitepeer::sim::SimRouter;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::codec::Framed;

/// A sentence, word by word.
pub type Said = Vec<Vec<u8>>;

/// What becomes of a command on its way to the router.
pub enum Fate {
    Pass,
    /// The router never hears of it; these are the answers, without tags.
    Answer(Vec<Said>),
}

/// A go-between; dropping it ends it.
pub struct Meddler {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Meddler {
    /// `on_command` sees each command; `on_reply` sees each sentence of an answer, with the command's path, and returns what
    /// is handed on in its place.
    pub async fn start(
        router: &SimRouter,
        on_command: impl FnMut(&Said) -> Fate + Send + 'static,
        on_reply: impl FnMut(&str, Said) -> Vec<Said> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (listener.local_addr().unwrap(), router.api_addr());
        let (on_command, on_reply) = (Arc::new(Mutex::new(on_command)), Arc::new(Mutex::new(on_reply)));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let router = TcpStream::connect(to).await.unwrap();
                connections.spawn(between(client, router, Arc::clone(&on_command), Arc::clone(&on_reply)));
            }
        });
        Self { address, task }
    }

    /// Changes answers alone.
    pub async fn replies(router: &SimRouter, on_reply: impl FnMut(&str, Said) -> Vec<Said> + Send + 'static) -> Self {
        Self::start(router, |_| Fate::Pass, on_reply).await
    }
}

async fn between(
    client: TcpStream,
    router: TcpStream,
    on_command: Arc<Mutex<impl FnMut(&Said) -> Fate>>,
    on_reply: Arc<Mutex<impl FnMut(&str, Said) -> Vec<Said>>>,
) {
    let mut client = Framed::new(client, SentenceCodec::default());
    let mut router = Framed::new(router, SentenceCodec::default());
    let mut paths: HashMap<Vec<u8>, String> = HashMap::new();
    loop {
        tokio::select! {
            command = client.next() => {
                let Some(Ok(command)) = command else { return };
                let said: Said = command.words().map(<[u8]>::to_vec).collect();
                let tag = command.tag().unwrap_or_default().to_vec();
                paths.insert(tag.clone(), String::from_utf8_lossy(command.first()).into_owned());
                let fate = (on_command.lock().unwrap())(&said);
                match fate {
                    Fate::Pass => if router.send(words(&said)).await.is_err() { return },
                    Fate::Answer(answers) => for mut answer in answers {
                        answer.insert(1, [b".tag=".as_slice(), &tag].concat());
                        if client.send(words(&answer)).await.is_err() { return }
                    },
                }
            }
            reply = router.next() => {
                let Some(Ok(reply)) = reply else { return };
                let path = paths.get(reply.tag().unwrap_or_default()).cloned().unwrap_or_default();
                let handed_on = (on_reply.lock().unwrap())(&path, reply.words().map(<[u8]>::to_vec).collect());
                for said in handed_on {
                    if client.send(words(&said)).await.is_err() { return }
                }
            }
        }
    }
}

fn words(said: &Said) -> Words {
    said[1..].iter().fold(Words::new(&said[0]), Words::word)
}

pub fn said(words: &[&str]) -> Said {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Whether a sentence is a row.
pub fn is_row(said: &Said) -> bool {
    said[0] == b"!re"
}

/// Puts another value into a row's field, or the field into the row.
pub fn with(said: Said, field: &str, value: &[u8]) -> Said {
    let mut said = without(said, field);
    said.push([b"=", field.as_bytes(), b"=", value].concat());
    said
}

/// Takes a field out of a row.
pub fn without(said: Said, field: &str) -> Said {
    let begin = format!("={field}=");
    said.into_iter().filter(|word| !word.starts_with(begin.as_bytes())).collect()
}
