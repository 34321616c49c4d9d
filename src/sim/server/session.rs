//! One connection: sentences in, replies out, commands in the order of their arrival.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::codec::FramedRead;

use super::Shared;
use super::armed::{Fate, WriteFate};
use super::link::Stream;
use super::login::{Attempt, attempt};
use super::reply::{Out, ReplyError};
use super::running;
use crate::domain::RouterOsVersion;
use crate::routeros::codec::{Limits, SentenceCodec};
use crate::sim::device::{Answer, Refusal, Request, Viewer};
use crate::sim::faults::Fault;

/// Pieces of replies that wait for the socket.
const REPLIES_WAITING: usize = 32;
/// Commands of one session that run on at the same time. A real limit is not known; this one keeps a client's fault small.
const MAX_RUNNING: usize = 64;
/// How long the last replies may take to leave a connection that ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// `!empty` came with this release. *Source*: manual, API.
const EMPTY_SINCE: RouterOsVersion = RouterOsVersion::new(7, 18, 0);
/// What a device takes in a sentence. 61,440 bytes were taken, 102,400 closed the connection. *Source*: `MikroDash`, 7.24.4.
const LIMITS: Limits = Limits { word: 64 << 10, sentence: 256 << 10, words: 1024 };

/// Where a connection comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) via: &'static str,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// What a sentence means for the connection.
enum Next {
    GoOn,
    Close,
    /// The connection ends without what was said last.
    Cut,
}

struct Session {
    shared: Arc<Shared>,
    out: Out,
    ends: Ends,
    viewer: Option<Viewer>,
    entry: Option<u32>,
    challenge: Option<String>,
    running: HashMap<Vec<u8>, JoinHandle<()>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
        if let Some(entry) = self.entry {
            self.shared.device().log_out(entry);
            // Safe mode may end with it.
            self.shared.rows_changed.notify_one();
        }
    }
}

/// Serves a connection until it ends.
pub(super) async fn run(shared: Arc<Shared>, stream: Box<dyn Stream>, ends: Ends) {
    let (mut reader, writer) = tokio::io::split(stream);
    if shared.faults().has(|f| *f == Fault::NoAnswer) {
        return swallow(&mut reader).await;
    }
    let (bytes, waiting) = mpsc::channel(REPLIES_WAITING);
    let abrupt = Arc::new(AtomicBool::new(false));
    let output = tokio::spawn(write(writer, waiting, Arc::clone(&abrupt)));
    let tag_last = shared.faults().has(|f| *f == Fault::TagLast);
    let out = Out { bytes, tag_last };
    let mut session =
        Session { shared, out, ends, viewer: None, entry: None, challenge: None, running: HashMap::new() };
    let cut = serve(&mut session, reader).await;
    abrupt.store(cut, Ordering::Relaxed);
    drop(session);
    let abort = output.abort_handle();
    if tokio::time::timeout(DRAIN_DEADLINE, output).await.is_err() {
        abort.abort();
    }
}

async fn serve(session: &mut Session, reader: ReadHalf<Box<dyn Stream>>) -> bool {
    let mut sentences = FramedRead::new(reader, SentenceCodec::with_limits(LIMITS));
    while let Some(sentence) = sentences.next().await {
        let sentence = match sentence {
            Ok(sentence) => sentence,
            Err(error) => {
                tracing::debug!(%error, "a sentence that no device takes");
                return true;
            }
        };
        // What comes while the session is cut off is lost, and a session that missed something is at its end.
        if !session.shared.gate.borrow().established {
            session.shared.until(|gate| gate.established).await;
            return true;
        }
        match session.take(&Request::of(&sentence)).await {
            Ok(Next::GoOn) => {}
            Ok(Next::Close) => return false,
            Ok(Next::Cut) => return true,
            Err(error) => {
                tracing::debug!(%error, "a reply was not sent");
                return true;
            }
        }
    }
    false
}

async fn swallow(reader: &mut ReadHalf<Box<dyn Stream>>) {
    let mut sink = [0_u8; 1024];
    while matches!(reader.read(&mut sink).await, Ok(n) if n > 0) {}
}

/// Writes what earlier commands said, then ends the stream: properly, or as a cut line does.
async fn write(mut writer: WriteHalf<Box<dyn Stream>>, mut waiting: mpsc::Receiver<Bytes>, abrupt: Arc<AtomicBool>) {
    while let Some(bytes) = waiting.recv().await {
        let written = async {
            writer.write_all(&bytes).await?;
            if waiting.is_empty() { writer.flush().await } else { Ok(()) }
        };
        if let Err(error) = written.await {
            return tracing::debug!(%error, "the client is gone");
        }
    }
    if !abrupt.load(Ordering::Relaxed)
        && let Err(error) = writer.shutdown().await
    {
        tracing::debug!(%error, "the client was gone already");
    }
}

impl Session {
    /// Takes one sentence, with the fault that waits for it.
    async fn take(&mut self, request: &Request) -> Result<Next, ReplyError> {
        let fate = self.shared.faults().sentence();
        match fate {
            Fate::Execute => self.handle(request).await,
            Fate::CloseBefore => Ok(Next::Cut),
            Fate::CloseAfter => {
                // Executed for what it changes; what it says goes nowhere.
                let (bytes, nowhere) = mpsc::channel(1);
                drop(nowhere);
                let out = std::mem::replace(&mut self.out.bytes, bytes);
                let handled = self.handle(request).await;
                self.out.bytes = out;
                match handled {
                    Ok(_) | Err(ReplyError::Closed) => Ok(Next::Cut),
                    Err(error) => Err(error),
                }
            }
            Fate::HugeLength => {
                self.out.raw(Bytes::from_static(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF, b'!', b'r', b'e'])).await?;
                Ok(Next::GoOn)
            }
            Fate::Garbage => {
                self.out.raw(Bytes::from_static(b"\xF8\x00HTTP/1.1 400 Bad Request\r\n\r\n")).await?;
                Ok(Next::GoOn)
            }
        }
    }

    async fn handle(&mut self, request: &Request) -> Result<Next, ReplyError> {
        let tag = request.tag.as_deref();
        match (request.path.as_str(), self.viewer.clone()) {
            ("/quit", _) => {
                self.out.fatal("session terminated on request").await?;
                Ok(Next::Close)
            }
            ("/login", _) => self.log_in(request).await,
            (_, None) => self.refuse(tag, &Refusal::NotLoggedIn).await,
            ("/cancel", Some(_)) => self.cancel(request).await,
            (_, Some(viewer)) => self.execute(request, &viewer).await,
        }
    }

    async fn refuse(&self, tag: Option<&[u8]>, refusal: &Refusal) -> Result<Next, ReplyError> {
        let trap = self.shared.device().texts.trap(refusal);
        self.out.trap(tag, &trap).await?;
        self.out.done(tag, None).await?;
        Ok(Next::GoOn)
    }

    async fn log_in(&mut self, request: &Request) -> Result<Next, ReplyError> {
        let tag = request.tag.as_deref();
        let attempt = {
            let device = self.shared.device();
            let faults = self.shared.faults();
            attempt(&device, &faults, self.ends.via, self.challenge.take().as_deref(), request)
        };
        match attempt {
            Attempt::Challenge(challenge) => {
                self.out.done(tag, Some(challenge.as_bytes())).await?;
                self.challenge = Some(challenge);
                Ok(Next::GoOn)
            }
            Attempt::Refused(refusal) => self.refuse(tag, &refusal).await,
            Attempt::Full(reason) => {
                self.out.fatal(reason).await?;
                Ok(Next::Close)
            }
            Attempt::In(user) => {
                {
                    let mut device = self.shared.device();
                    if let Some(entry) = self.entry.take() {
                        device.log_out(entry);
                    }
                    let from = format!("api:{user}@{}", self.ends.remote.ip());
                    let entry = device.log_in(&user, self.ends.via, self.ends.local, self.ends.remote);
                    self.viewer = Some(Viewer { session: Some(entry), from, ..device.viewer(&user) });
                    self.entry = Some(entry);
                }
                self.out.done(tag, None).await?;
                Ok(Next::GoOn)
            }
        }
    }

    async fn execute(&mut self, request: &Request, viewer: &Viewer) -> Result<Next, ReplyError> {
        let tag = request.tag.as_deref();
        let writes = is_write(request);
        let fate = if writes { self.shared.faults().write() } else { WriteFate::Execute };
        if fate == WriteFate::Trap {
            return self.refuse(tag, &Refusal::WriteFault).await;
        }
        if !writes {
            self.shared.uplink.refresh(&self.shared, &request.path).await;
        }
        let answer = self.shared.device().run(viewer, request);
        if writes && answer.is_ok() {
            self.shared.note(&viewer.user, request);
        }
        if writes {
            self.shared.uplink.apply(&self.shared).await;
            if !self.shared.gate.borrow().established {
                // It cut its own session off: the answer does not get out, and by then the other side has given up.
                self.shared.until(|gate| gate.established).await;
                return Ok(Next::Cut);
            }
        }
        if fate == WriteFate::Reboot {
            return Ok(self.reboot());
        }
        match answer {
            Err(refusal) => self.refuse(tag, &refusal).await,
            Ok(Answer::Done(ret)) => {
                self.out.done(tag, ret.as_deref()).await?;
                Ok(Next::GoOn)
            }
            Ok(Answer::Rows(rows)) => {
                let says_empty = self.shared.device().options.version >= EMPTY_SINCE;
                if rows.is_empty() && says_empty {
                    self.out.empty(tag).await?;
                }
                self.out.rows(tag, &rows).await?;
                self.out.done(tag, None).await?;
                Ok(Next::GoOn)
            }
            Ok(Answer::Reboot) => Ok(self.reboot()),
            Ok(Answer::Listen { rules, wanted }) => {
                let listening = running::Listening { rules, wanted, viewer: viewer.clone() };
                let changes = self.shared.device().subscribe();
                let task = running::listen(
                    Arc::clone(&self.shared),
                    self.out.clone(),
                    request.tag.clone(),
                    listening,
                    changes,
                );
                self.start(request, task).await
            }
            Ok(Answer::Ping(spec)) => {
                let task = running::ping(Arc::clone(&self.shared), self.out.clone(), request.tag.clone(), spec);
                self.start(request, task).await
            }
        }
    }

    fn reboot(&self) -> Next {
        let shared = Arc::clone(&self.shared);
        // Not awaited: the reboot ends this session too.
        tokio::spawn(async move { shared.reboot().await });
        Next::Cut
    }

    /// Starts a command that runs on beside others.
    async fn start(
        &mut self,
        request: &Request,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Next, ReplyError> {
        self.running.retain(|_, handle| !handle.is_finished());
        if self.running.len() >= MAX_RUNNING {
            return self.refuse(request.tag.as_deref(), &Refusal::TooManyCommands).await;
        }
        let tag = request.tag.clone().unwrap_or_default();
        if let Some(older) = self.running.insert(tag, tokio::spawn(task)) {
            older.abort();
        }
        Ok(Next::GoOn)
    }

    /// *Source*: recorded order: `!trap` of the cancelled, `!done` of `/cancel`, `!done` of the cancelled.
    async fn cancel(&mut self, request: &Request) -> Result<Next, ReplyError> {
        let tags: Vec<Vec<u8>> = match request.get("tag") {
            Some(tag) => vec![tag.to_vec()],
            None => self.running.keys().cloned().collect(),
        };
        let mut cancelled = Vec::new();
        for tag in tags {
            let Some(handle) = self.running.remove(&tag) else { continue };
            handle.abort();
            // One that ended by itself has said so already.
            if handle.await.is_err_and(|ended| ended.is_cancelled()) {
                cancelled.push(tag);
            }
        }
        let trap = self.shared.device().texts.trap(&Refusal::Interrupted);
        let shown = |tag: &Vec<u8>| (!tag.is_empty()).then(|| tag.clone());
        for tag in &cancelled {
            self.out.trap(shown(tag).as_deref(), &trap).await?;
        }
        self.out.done(request.tag.as_deref(), None).await?;
        for tag in &cancelled {
            self.out.done(shown(tag).as_deref(), None).await?;
        }
        Ok(Next::GoOn)
    }
}

fn is_write(request: &Request) -> bool {
    let (menu, command) = request.split();
    !(menu == "/tool/ping" || matches!(command, "print" | "getall" | "listen" | "get" | "reboot"))
}
