//! Where one call's replies wait for whoever asked: the connection puts in, the call takes out.
//!
//! Rows come as runs of the read buffer, so that one lock and one wake serve hundreds of them.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::routeros::{
    client::Done,
    error::{CallError, Loss},
    row::Row,
};

/// Consecutive `!re` sentences of one call, in one piece of memory.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Bytes,
    /// Where the rows end.
    ends: Vec<usize>,
    /// The next row to be taken, and where it begins.
    next: usize,
    start: usize,
}

impl Batch {
    /// Takes `bytes`, which are whole sentences that end at `ends`.
    pub(super) fn new(bytes: Bytes, ends: Vec<usize>) -> Self {
        Self { bytes, ends, next: 0, start: 0 }
    }

    /// Bytes not yet taken.
    pub(crate) fn bytes_left(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Rows not yet taken.
    pub(crate) fn rows_left(&self) -> usize {
        self.ends.len() - self.next
    }
}

impl fmt::Debug for Batch {
    /// Says how much it is and not what: rows hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows of {} bytes", self.rows_left(), self.bytes_left())
    }
}

impl Iterator for Batch {
    type Item = Row;

    #[inline]
    fn next(&mut self) -> Option<Row> {
        let end = *self.ends.get(self.next)?;
        let start = std::mem::replace(&mut self.start, end);
        self.next += 1;
        let bytes = if self.next == self.ends.len() {
            // The last row takes the batch's own share of the buffer with it.
            std::mem::take(&mut self.bytes).split_off(start)
        } else {
            self.bytes.slice(start..end)
        };
        if self.bytes.is_empty() {
            (self.start, self.next) = (0, 0);
            self.ends = Vec::new();
        }
        Some(Row::from_sentence_bytes(bytes))
    }
}

/// What a call finds in its mailbox.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Rows. `resume` says that the connection waits for this call to make room.
    Rows { batch: Batch, resume: bool },
    /// The end; nothing comes after it.
    End(Result<Done, CallError>),
}

/// One call's mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Bytes in `batches`.
    queued: usize,
    /// Set once, when no more will come.
    end: Option<Result<Done, CallError>>,
    /// Whether `end` was set, even if it has been taken since.
    ended: bool,
    /// Who waits for mail.
    reader: Option<Waker>,
    /// The call was dropped.
    abandoned: bool,
    /// The connection reads no further until this call makes room.
    stalled: bool,
}

impl Mailbox {
    /// Takes the next batch or the end, or leaves word of who waits.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, room_below: usize) -> Poll<Mail> {
        let mut state = self.lock();
        if let Some(batch) = state.batches.pop_front() {
            state.queued -= batch.bytes_left();
            let resume = state.stalled && state.queued < room_below;
            state.stalled &= !resume;
            return Poll::Ready(Mail::Rows { batch, resume });
        }
        if let Some(end) = state.end.take() {
            return Poll::Ready(Mail::End(end));
        }
        if !state.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Puts rows in and returns how many bytes are waiting now.
    ///
    /// # Errors
    /// Puts nothing in, and returns what was waiting already, if that was `limit` bytes or more.
    pub(super) fn put(&self, batch: Batch, limit: usize) -> Result<usize, usize> {
        let mut state = self.lock();
        if state.abandoned || state.ended {
            return Ok(0);
        }
        if state.queued >= limit {
            return Err(state.queued);
        }
        state.queued += batch.bytes_left();
        let queued = state.queued;
        state.batches.push_back(batch);
        wake(state);
        Ok(queued)
    }

    /// Puts the end in; what came before it can still be taken. A second end is ignored.
    pub(super) fn end(&self, end: Result<Done, CallError>) {
        let mut state = self.lock();
        if !state.ended {
            state.ended = true;
            state.end = Some(end);
            wake(state);
        }
    }

    /// Marks the call as dropped and lets its rows go. Says whether the command is still running.
    pub(crate) fn abandon(&self) -> bool {
        let mut state = self.lock();
        state.abandoned = true;
        state.queued = 0;
        let batches = std::mem::take(&mut state.batches);
        let running = !state.ended;
        drop(state);
        drop(batches);
        running
    }

    /// Whether the call was dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Bytes waiting to be taken.
    pub(super) fn queued(&self) -> usize {
        self.lock().queued
    }

    /// As [`Mailbox::queued`], and asks for a sign once there is room again.
    pub(super) fn queued_or_stall(&self, full: usize) -> usize {
        let mut state = self.lock();
        state.stalled = state.queued >= full;
        state.queued
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock; if something did, the state is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a mailbox that the connection holds. However it goes, the call hears of it.
#[derive(Debug)]
pub(crate) struct Deliverer(pub(crate) Arc<Mailbox>);

impl Drop for Deliverer {
    fn drop(&mut self) {
        self.0.end(Err(CallError::ConnectionLost { how: Loss::Stopped }));
    }
}

impl std::ops::Deref for Deliverer {
    type Target = Mailbox;

    fn deref(&self) -> &Mailbox {
        &self.0
    }
}

/// Wakes the reader, after the lock is gone.
fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}
