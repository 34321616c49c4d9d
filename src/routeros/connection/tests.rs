use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::routeros::codec::Words;

/// A connection that is moved on by hand, and the router's end of it.
struct Scene {
    connection: Connection<DuplexStream>,
    requests: mpsc::Sender<Request>,
    router: DuplexStream,
}

impl Scene {
    fn new() -> Self {
        let (router, stream) = duplex(1 << 20);
        let (connection, requests) = Connection::new(stream);
        Self { connection, requests, router }
    }

    /// Asks; the tag of the first command is 0, that of the next one 1.
    fn ask(&self, limit: Duration) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        let permit = self.connection.ending.0.permits.clone().try_acquire_owned().unwrap();
        let (mail, command) = (Deliverer(mailbox.clone()), Command::new("/interface/print"));
        self.requests.try_send(Request { mailbox: mail, command, permit, limit, whole: None }).unwrap();
        mailbox
    }

    async fn answer(&mut self, word: &str, tag: &str, length: usize) {
        let sentence = Words::new(word).attr("comment", "x".repeat(length)).tag(tag).finish().unwrap();
        self.router.write_all(sentence.as_bytes()).await.unwrap();
    }

    /// Does whatever can be done now.
    async fn turn(&mut self) {
        while pin!(&mut self.connection).now_or_never().is_none() && self.connection.unsorted {
            tokio::task::yield_now().await;
        }
    }

    fn kept(&self) -> usize {
        let Connection { inbound, outbound, taken, .. } = &self.connection;
        inbound.capacity() + outbound.capacity() + taken.capacity()
    }
}

#[tokio::test]
async fn what_only_listens_keeps_no_buffers_and_hears_all_the_same() {
    let mut scene = Scene::new();
    let listening = scene.ask(Duration::MAX);
    let asking = scene.ask(Duration::from_secs(30));
    scene.turn().await;
    scene.answer("!re", "1", 60_000).await;
    scene.turn().await;
    assert!(scene.kept() > 0, "the rest of the answer is to come");
    scene.answer("!done", "1", 0).await;
    scene.turn().await;
    assert!(asking.queued() > 60_000);
    assert_eq!(scene.kept(), 0);

    scene.answer("!re", "0", 10).await;
    scene.turn().await;
    assert!(listening.queued() > 10);
    assert_eq!(scene.kept(), 0);
}

#[tokio::test]
async fn half_a_sentence_is_kept_while_it_only_listens() {
    let mut scene = Scene::new();
    let listening = scene.ask(Duration::MAX);
    scene.turn().await;
    let sentence = Words::new("!re").attr("comment", "halved").tag("0").finish().unwrap();
    let (first, rest) = sentence.as_bytes().split_at(9);
    scene.router.write_all(first).await.unwrap();
    scene.turn().await;
    assert_eq!(listening.queued(), 0);
    scene.router.write_all(rest).await.unwrap();
    scene.turn().await;
    assert_eq!(listening.queued(), sentence.as_bytes().len());
    assert_eq!(scene.kept(), 0);
}
