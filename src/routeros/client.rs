//! The handle that asks: cheap to clone, many calls at once.
//!
//! It writes nothing to the socket itself; the task in [`super::connection`] does.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, TryAcquireError, mpsc},
    time::timeout,
};

use super::{
    command::{Command, MAX_SENT_WORD_BYTES},
    connection::{self, Batch, Deliverer, Mail, Mailbox, Request, SOFT_QUEUED_BYTES, Signals},
    error::{CallError, Loss},
    row::Row,
};

/// How long a command may go without a sentence from the router, unless the handle says otherwise.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// How many deadlines the whole of a collected answer may take: a router that sends a row now and then must not hold
/// the caller for ever.
pub const WHOLE_ANSWER_DEADLINES: u32 = 10;

/// The most rows of a reply that is collected. A full BGP table is about this; nothing sitepeer asks for comes near.
pub const MAX_REPLY_ROWS: usize = 1_000_000;

/// The most bytes of a reply that is collected.
pub const MAX_REPLY_BYTES: usize = 256 << 20;

/// The longest command that is sent, in bytes. RouterOS closes the connection over sentences it finds too long.
pub const MAX_SENT_BYTES: usize = 4 * MAX_SENT_WORD_BYTES;

/// `!done`: the command has ended and was not refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// What the command returns: the `.id` of what `add` made, the output of `/execute =as-string=`.
    pub ret: Option<Bytes>,
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The rows, in the router's order.
    pub rows: Vec<Row>,
    /// The end.
    pub done: Done,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Ours.
    pub local: SocketAddr,
    /// The router's.
    pub peer: SocketAddr,
}

/// What a connection has cost the router: commands, and bytes before TLS. Tags and the ends of sentences are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Commands sent.
    pub commands: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Bytes of the answers.
    pub received_bytes: u64,
}

impl Usage {
    /// What was added since an earlier moment of the same connection.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            commands: self.commands.saturating_sub(before.commands),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
        }
    }
}

/// A connection to a router, for asking. Clones share it; it ends with the last clone and the last [`Call`].
#[derive(Debug, Clone)]
pub struct Client {
    handle: Arc<Handle>,
    deadline: Duration,
}

#[derive(Debug)]
struct Handle {
    requests: mpsc::Sender<Request>,
    signals: Arc<Signals>,
    ends: Ends,
}

impl Client {
    /// Speaks the API over a stream that is connected already, and starts the task that owns it.
    ///
    /// Nobody is logged in yet. Has to be called within a tokio runtime.
    pub fn over<S>(stream: S, ends: Ends) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, signals) = connection::start(stream);
        Self { handle: Arc::new(Handle { requests, signals, ends }), deadline: COMMAND_DEADLINE }
    }

    /// Returns a handle whose commands may go this long without a row or the end. [`Duration::MAX`] waits for ever, as
    /// `listen` has to.
    ///
    /// The time counts anew with every row, and not while a stream's rows wait to be taken. What is collected by
    /// [`Client::call`] has to be whole within [`WHOLE_ANSWER_DEADLINES`] times this.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { handle: self.handle.clone(), deadline }
    }

    /// Asks, and returns all rows once the router is done.
    ///
    /// # Errors
    /// [`CallError`]; never a part of the rows.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the command on the router; the connection stays usable. Whether the command did
    /// its work before that is not known.
    pub async fn call(&self, command: &Command) -> Result<Reply, CallError> {
        let mut call = self.start(command, self.deadline.checked_mul(WHOLE_ANSWER_DEADLINES)).await?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = call.next_batch().await {
            let batch = batch?;
            bytes += batch.bytes_left();
            if bytes > MAX_REPLY_BYTES || rows.len() + batch.rows_left() > MAX_REPLY_ROWS {
                return Err(CallError::ReplyTooLong { rows: MAX_REPLY_ROWS, bytes: MAX_REPLY_BYTES });
            }
            rows.extend(batch);
        }
        Ok(Reply { rows, done: call.done.take().unwrap_or_default() })
    }

    /// Asks, and returns the rows as they come. Memory stays bounded however many there are.
    ///
    /// # Errors
    /// [`CallError`] if the command could not be sent. What the router says to it comes from [`Call::next`].
    ///
    /// # Cancel safety
    /// Dropping the future or the [`Call`] cancels the command on the router; the connection stays usable.
    pub async fn stream(&self, command: &Command) -> Result<Call, CallError> {
        self.start(command, None).await
    }

    async fn start(&self, command: &Command, whole: Option<Duration>) -> Result<Call, CallError> {
        let length = command.encoded_words().len();
        if command.longest_word() > MAX_SENT_WORD_BYTES || length > MAX_SENT_BYTES {
            let word = command.longest_word();
            let (length, limit) =
                if word > MAX_SENT_WORD_BYTES { (word, MAX_SENT_WORD_BYTES) } else { (length, MAX_SENT_BYTES) };
            return Err(CallError::CommandTooLong { length, limit });
        }
        let permit = self.permit().await?;
        let mailbox = Arc::new(Mailbox::default());
        let request = Request {
            mailbox: Deliverer(mailbox.clone()),
            command: command.clone(),
            permit,
            limit: self.deadline,
            whole,
        };
        // Permits are as many as the channel has places: a full channel would be our own mistake, a closed one is not.
        match self.handle.requests.try_send(request) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.handle.signals.why_ended()),
            Err(mpsc::error::TrySendError::Full(request)) => self.within(self.handle.requests.send(request)).await?,
        }
        Ok(Call { mailbox, handle: self.handle.clone(), batch: Batch::default(), state: Progress::Running, done: None })
    }

    /// Waits until one more command may be outstanding.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, CallError> {
        let permits = &self.handle.signals.permits;
        match permits.clone().try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::Closed) => Err(self.handle.signals.why_ended()),
            Err(TryAcquireError::NoPermits) => self.within(permits.clone().acquire_owned()).await,
        }
    }

    async fn within<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, CallError> {
        match timeout(self.deadline, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(self.handle.signals.why_ended()),
            Err(_) => Err(CallError::Deadline { after: self.deadline }),
        }
    }

    /// Our end of the connection.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.ends.local
    }

    /// The router's end of the connection.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.handle.ends.peer
    }

    /// How many times something was sent while no answer was outstanding: what the network's round-trip time counts
    /// for. Commands that were sent together count once.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.handle.signals.round_trips()
    }

    /// What this connection has cost the router so far, all clones together.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.handle.signals.usage()
    }

    /// Ends the connection, for all clones, and does not wait for that.
    pub fn end(&self) {
        self.handle.signals.close();
    }

    /// Ends the connection, for all clones. Calls still running get [`CallError::Closed`].
    ///
    /// Takes no longer than [`connection::CLOSE_DEADLINE`].
    ///
    /// # Cancel safety
    /// The connection ends all the same.
    pub async fn close(self) {
        self.handle.signals.close();
        self.handle.requests.closed().await;
    }
}

/// A command whose rows are still coming.
#[derive(Debug)]
pub struct Call {
    mailbox: Arc<Mailbox>,
    handle: Arc<Handle>,
    batch: Batch,
    state: Progress,
    done: Option<Done>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Ended,
}

impl Call {
    /// Returns the next row, or `None` after the end. An error is the end, too: what came before it is not the whole
    /// answer.
    ///
    /// # Errors
    /// [`CallError`], once.
    ///
    /// # Cancel safety
    /// No row is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Row, CallError>> {
        if let Some(row) = self.batch.next() {
            return Some(Ok(row));
        }
        match self.next_batch().await? {
            Ok(batch) => {
                self.batch = batch;
                self.batch.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Returns the end once [`Call::next`] has returned `None` and no error before.
    #[must_use]
    pub fn done(&self) -> Option<&Done> {
        self.done.as_ref()
    }

    async fn next_batch(&mut self) -> Option<Result<Batch, CallError>> {
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, CallError>>> {
        if self.state == Progress::Ended {
            return Poll::Ready(None);
        }
        match ready!(self.mailbox.poll_take(cx, SOFT_QUEUED_BYTES)) {
            Mail::Rows { batch, resume } => {
                if resume {
                    self.handle.signals.room();
                }
                Poll::Ready(Some(Ok(batch)))
            }
            Mail::End(end) => {
                self.state = Progress::Ended;
                Poll::Ready(match end {
                    Ok(done) => {
                        self.done = Some(done);
                        None
                    }
                    Err(CallError::ConnectionLost { how: Loss::Stopped }) => Some(Err(self.handle.signals.why_ended())),
                    Err(error) => Some(Err(error)),
                })
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.state == Progress::Running && self.mailbox.abandon() {
            self.handle.signals.abandoned();
        }
    }
}
