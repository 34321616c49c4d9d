//! The task that owns the socket. Everything that is read or written goes through here.
//!
//! Requests come in over one bounded channel, whose permits also bound what is outstanding on the router; replies go out
//! to each call's own mailbox. The task ends when the last [`crate::routeros::Client`] and call is gone, when one of them closes it,
//! or when the connection does. However it ends, every call hears of it.
//!
//! One slow reader must not stop the others, and memory has to stay bounded: see [`SOFT_QUEUED_BYTES`].

mod calls;
mod inbound;
mod mailbox;
mod outbound;
mod tags;

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Sleep},
};

use self::{
    calls::Calls,
    inbound::{Inbound, Piece},
    outbound::Outbound,
};
use super::{
    client::Usage,
    codec::Limits,
    command::Command,
    error::{CallError, Loss, Nonsense},
};
use crate::domain::shown;

pub(super) use mailbox::{Batch, Deliverer, Mail, Mailbox};

/// The most commands outstanding on one connection. RouterOS runs each as a job of its own; more than this has been seen
/// to gain nothing, and the router's memory is the smaller one.
pub const MAX_OUTSTANDING: usize = 256;

/// Bytes of unread rows from which a call counts as full. While every call is full nothing more is read, so that TCP holds
/// the router back and nothing is lost.
pub const SOFT_QUEUED_BYTES: usize = 512 << 10;

/// Bytes of unread rows from which a full call is given up ([`CallError::SlowReader`]) because others are waiting.
pub const HARD_QUEUED_BYTES: usize = 4 << 20;

/// How long the end of a connection may take: writing what is left, and TLS's good-bye.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Bytes read before the task lets others run, so that rows are taken while they are in the cache.
const TURN_BYTES: usize = 64 << 10;

/// Calls that are answered before the task lets them run. Their next commands are then on the way to the router while the
/// answers that came with theirs are still being given out.
const PORTION: usize = 16;

/// A command to be sent.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) mailbox: Deliverer,
    pub(super) command: Command,
    pub(super) permit: OwnedSemaphorePermit,
    /// How long it may go without a row.
    pub(super) limit: Duration,
    /// How long it may take in all.
    pub(super) whole: Option<Duration>,
}

/// What the handles and the task tell each other beside requests and replies.
#[derive(Debug)]
pub(super) struct Signals {
    /// Wakes the task.
    task: AtomicWaker,
    /// A call was dropped before its end.
    abandoned: AtomicBool,
    /// Somebody closes the connection.
    close: AtomicBool,
    round_trips: AtomicU64,
    commands: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    /// Why the connection ended.
    ended: OnceLock<CallError>,
    /// One for each command that may be outstanding.
    pub(super) permits: Arc<Semaphore>,
}

impl Signals {
    fn new() -> Self {
        Self {
            task: AtomicWaker::new(),
            abandoned: AtomicBool::new(false),
            close: AtomicBool::new(false),
            round_trips: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            ended: OnceLock::new(),
            permits: Arc::new(Semaphore::new(MAX_OUTSTANDING)),
        }
    }

    /// Says that a call was dropped.
    pub(super) fn abandoned(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Says that a call made room in its mailbox.
    pub(super) fn room(&self) {
        self.task.wake();
    }

    /// Asks for the end.
    pub(super) fn close(&self) {
        self.close.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Why the connection ended, as far as is known.
    pub(super) fn why_ended(&self) -> CallError {
        self.ended.get().cloned().unwrap_or(CallError::ConnectionLost { how: Loss::Stopped })
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// What was asked so far, and how much was said.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            commands: self.commands.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
        }
    }

    fn asked(&self, command: &Command) {
        let bytes = u64::try_from(command.encoded_words().len()).unwrap_or(u64::MAX);
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn heard(&self, bytes: usize) {
        self.received_bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Starts the task on the current runtime.
pub(super) fn start<S>(stream: S) -> (mpsc::Sender<Request>, Arc<Signals>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, sender) = Connection::new(stream);
    let signals = connection.ending.0.clone();
    tokio::spawn(connection);
    (sender, signals)
}

/// What became of an attempt to read.
enum Step {
    /// So many bytes were read.
    GoOn(usize),
    /// Others should run first; this task has been woken again.
    Breathe,
    /// Nothing can be read now.
    Wait,
    Broken(CallError),
}

/// Why the task stops.
enum Stop {
    Broken(CallError),
    /// All handles are gone, or one of them closed the connection.
    Asked,
}

struct Connection<S> {
    stream: S,
    inbound: Inbound,
    outbound: Outbound,
    calls: Calls,
    requests: mpsc::Receiver<Request>,
    /// Requests just taken from the channel.
    taken: Vec<Request>,
    /// Not all that was read has been given out.
    unsorted: bool,
    /// Runs once the end was asked for.
    last_words: Option<Pin<Box<Sleep>>>,
    ending: Ending,
}

/// Sees to it that nobody waits for a connection that is gone, whatever ended it.
struct Ending(Arc<Signals>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.ended.set(CallError::ConnectionLost { how: Loss::Stopped });
        self.0.permits.close();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connection<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.last_words.is_none() {
            match this.turn(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Stop::Asked) => {
                    this.end(CallError::Closed);
                    this.last_words = Some(Box::pin(tokio::time::sleep(CLOSE_DEADLINE)));
                }
                Poll::Ready(Stop::Broken(why)) => {
                    tracing::debug!(%why, "connection ended");
                    this.end(why);
                    return Poll::Ready(());
                }
            }
        }
        this.poll_close(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S) -> (Self, mpsc::Sender<Request>) {
        let (sender, requests) = mpsc::channel(MAX_OUTSTANDING);
        let connection = Self {
            stream,
            inbound: Inbound::new(Limits::default()),
            outbound: Outbound::default(),
            calls: Calls::new(),
            requests,
            taken: Vec::new(),
            unsorted: false,
            last_words: None,
            ending: Ending(Arc::new(Signals::new())),
        };
        (connection, sender)
    }

    /// Does whatever can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let signals = self.ending.0.clone();
        signals.task.register(cx.waker());
        let mut read = 0;
        loop {
            if signals.abandoned.swap(false, Ordering::AcqRel) {
                self.calls.sweep(&mut self.outbound);
            }
            let asked = self.take_requests(cx).is_ready() || signals.close.load(Ordering::Acquire);
            if let Poll::Ready(Err(error)) = self.outbound.poll_write(Pin::new(&mut self.stream), cx) {
                return Poll::Ready(Stop::Broken(lost(error)));
            }
            if asked {
                return Poll::Ready(Stop::Asked);
            }
            let paused = self.calls.are_all_full();
            let step = if paused { Step::Wait } else { self.read(cx, read) };
            match step {
                Step::GoOn(count) => {
                    read += count;
                    continue;
                }
                Step::Broken(why) => return Poll::Ready(Stop::Broken(why)),
                // Of a thousand connections most are in this state: what the next answer needs is made for it.
                Step::Wait if self.calls.is_quiet() => self.shrink(),
                Step::Breathe | Step::Wait => {}
            }
            let before = self.outbound.len();
            self.calls.poll_deadlines(cx, paused, &mut self.outbound);
            if self.outbound.len() == before {
                return Poll::Pending;
            }
        }
    }

    /// Takes requests and encodes them; ready when there will be no more.
    fn take_requests(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(count) = self.requests.poll_recv_many(cx, &mut self.taken, MAX_OUTSTANDING) {
            if count == 0 {
                return Poll::Ready(());
            }
            let now = Instant::now();
            let was_idle = self.calls.is_idle();
            let mut sent = false;
            for request in self.taken.drain(..) {
                self.ending.0.asked(&request.command);
                sent |= self.calls.start(request, now, &mut self.outbound);
            }
            if sent && was_idle {
                self.ending.0.round_trips.fetch_add(1, Ordering::Relaxed);
            }
        }
        Poll::Pending
    }

    /// Reads once, if all that was read before is given out, and gives out a portion of it.
    fn read(&mut self, cx: &mut Context<'_>, read_before: usize) -> Step {
        let mut count = 0;
        if !self.unsorted {
            if read_before >= TURN_BYTES {
                // Defers this task behind whoever was woken, which `wake_by_ref` would not.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Step::Breathe;
            }
            count = match self.inbound.poll_fill(Pin::new(&mut self.stream), cx) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(Err(error)) => return Step::Broken(lost(error)),
                Poll::Ready(Ok(0)) => {
                    let how = if self.inbound.is_mid_sentence() { Loss::CutShort } else { Loss::Closed };
                    return Step::Broken(CallError::ConnectionLost { how });
                }
                Poll::Ready(Ok(count)) => count,
            };
            self.ending.0.heard(count);
        }
        match self.sort() {
            Ok(ended) => self.unsorted = ended >= PORTION,
            Err(why) => return Step::Broken(why),
        }
        if self.unsorted {
            cx.waker().wake_by_ref();
            return Step::Breathe;
        }
        Step::GoOn(count)
    }

    /// Gives out what was read, until [`PORTION`] calls have ended by it. Returns how many have.
    fn sort(&mut self) -> Result<usize, CallError> {
        let now = Instant::now();
        let mut ended = 0;
        while ended < PORTION {
            let Some(piece) = self.inbound.next_piece().map_err(garbage)? else {
                break;
            };
            if let Some(message) = fatal(&piece) {
                return Err(CallError::Fatal { message });
            }
            ended += usize::from(!matches!(piece, Piece::Rows(..)));
            self.calls.deliver(piece, now, &mut self.outbound).map_err(garbage)?;
        }
        Ok(ended)
    }

    /// Keeps no buffers while nothing is to come.
    fn shrink(&mut self) {
        self.inbound.shrink();
        self.outbound.shrink();
        self.taken = Vec::new();
    }

    /// Tells everybody.
    fn end(&mut self, why: CallError) {
        self.requests.close();
        self.ending.0.permits.close();
        self.calls.fail(&why);
        let _ = self.ending.0.ended.set(why);
        // Whoever is still in the channel hears of it as the requests are dropped.
        while self.requests.try_recv().is_ok() {}
    }

    /// Writes what is left and says good-bye, within [`CLOSE_DEADLINE`].
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let in_time = self.last_words.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_pending());
        if in_time {
            match self.outbound.poll_write(Pin::new(&mut self.stream), cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

/// The words of a `!fatal`, which has them bare or as `=message=`.
fn fatal(piece: &Piece) -> Option<String> {
    let Piece::Reply(reply) = piece else {
        return None;
    };
    let sentence = &reply.sentence;
    if sentence.first() != b"!fatal" {
        return None;
    }
    let bare = || sentence.words().skip(1).find(|word| !word.starts_with(b".tag="));
    Some(shown(sentence.attr("message").or_else(bare).unwrap_or(b"no reason given")))
}

fn lost(error: io::Error) -> CallError {
    let how = match error.kind() {
        io::ErrorKind::UnexpectedEof => Loss::CutShort,
        _ => Loss::Socket(Arc::new(error)),
    };
    CallError::ConnectionLost { how }
}

fn garbage(what: Nonsense) -> CallError {
    CallError::Garbage { what }
}

#[cfg(test)]
mod tests;
