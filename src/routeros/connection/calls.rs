//! The outstanding commands: who gets which reply, who has waited too long, whose command is to be cancelled.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep},
};

use super::{
    HARD_QUEUED_BYTES, Request, SOFT_QUEUED_BYTES,
    inbound::{Piece, Reply},
    mailbox::{Batch, Deliverer},
    outbound::Outbound,
    tags::{Found, Tag, Tags},
};
use crate::domain::shown;
use crate::routeros::{
    client::Done,
    codec::Sentence,
    error::{CallError, MAX_TRAPS, Nonsense, Refusal, Trap},
};

/// What a tag was given out for.
#[derive(Debug)]
enum Entry {
    /// A call that waits for its replies. Behind a pointer: the table keeps the places of all that ever ran at once.
    Call(Box<Running>),
    /// A command nobody waits for any more: its replies are swallowed until its `!done`. It keeps its permit, so that
    /// a router that never ends cancelled commands is not given ever more of them.
    Draining { _permit: OwnedSemaphorePermit },
    /// A `/cancel`.
    Cancel,
}

#[derive(Debug)]
struct Running {
    mailbox: Deliverer,
    permit: OwnedSemaphorePermit,
    /// How long it may go without a row or trap.
    limit: Duration,
    /// When the last one came.
    seen: Instant,
    /// When the whole answer has to be there, and how long that was from the start.
    whole: Option<(Instant, Duration)>,
    traps: Vec<Trap>,
    traps_left_out: usize,
}

/// The outstanding commands of a connection.
#[derive(Debug)]
pub(super) struct Calls {
    tags: Tags<Entry>,
    /// Entries that are calls.
    live: usize,
    /// Those of them that may be silent for ever.
    listening: usize,
    /// Some mailbox was full when last looked at.
    any_full: bool,
    /// When the next deadline is looked at; never later than the first that may pass.
    timer: Option<Pin<Box<Sleep>>>,
    /// Replies to commands that had ended, and reply words nobody knows. Neither is passed on.
    late: u64,
    unknown: u64,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self { tags: Tags::new(), live: 0, listening: 0, any_full: false, timer: None, late: 0, unknown: 0 }
    }

    /// Whether no command is outstanding, `/cancel`s and cancelled ones included.
    pub(super) fn is_idle(&self) -> bool {
        self.tags.len() == 0
    }

    /// Whether nobody waits for an answer that has to come: there is no call, or none but those that listen.
    pub(super) fn is_quiet(&self) -> bool {
        self.live == self.listening
    }

    /// Sends a command and waits for its replies from now on. Says whether it was sent.
    pub(super) fn start(&mut self, request: Request, now: Instant, out: &mut Outbound) -> bool {
        let Request { mailbox, command, permit, limit, whole } = request;
        if mailbox.is_abandoned() {
            return false;
        }
        let whole = whole.and_then(|whole| Some((now.checked_add(whole)?, whole)));
        let running =
            Box::new(Running { mailbox, permit, limit, seen: now, whole, traps: Vec::new(), traps_left_out: 0 });
        // Permits are fewer than tags: the table is never full.
        let Ok(tag) = self.tags.give(Entry::Call(running)) else {
            return false;
        };
        self.live += 1;
        self.listening += usize::from(limit == Duration::MAX);
        tracing::trace!(%tag, ?command, "sent");
        out.command(&command, tag);
        self.look_by(now.checked_add(limit));
        true
    }

    /// Gives a piece of what was read to whom it belongs.
    pub(super) fn deliver(&mut self, piece: Piece, now: Instant, out: &mut Outbound) -> Result<(), Nonsense> {
        match piece {
            Piece::Rows(tag, batch) => self.rows(tag, batch, now, out),
            Piece::Done(tag) => match self.tags.find(tag) {
                Found::NeverGiven => Err(never_given(tag)),
                Found::Ended => self.count_late(tag),
                Found::Outstanding(_) => {
                    self.finish(tag, None);
                    Ok(())
                }
            },
            Piece::Reply(reply) => self.reply(reply, now),
        }
    }

    fn rows(&mut self, tag: Tag, batch: Batch, now: Instant, out: &mut Outbound) -> Result<(), Nonsense> {
        // Alone, a slow call only slows itself: the connection pauses before this much has come in.
        let most = if self.live > 1 { HARD_QUEUED_BYTES } else { usize::MAX };
        match self.tags.find(tag) {
            Found::Outstanding(Entry::Call(call)) => {
                call.seen = now;
                match call.mailbox.put(batch, most) {
                    Ok(queued) => self.any_full |= queued >= SOFT_QUEUED_BYTES,
                    Err(queued) => self.give_up(tag, Some(CallError::SlowReader { queued }), out),
                }
                Ok(())
            }
            Found::Outstanding(Entry::Draining { .. } | Entry::Cancel) => Ok(()),
            Found::Ended => self.count_late(tag),
            Found::NeverGiven => Err(never_given(tag)),
        }
    }

    fn reply(&mut self, reply: Reply, now: Instant) -> Result<(), Nonsense> {
        let sentence = reply.sentence;
        let word = sentence.first();
        if !word.starts_with(b"!") {
            return Err(Nonsense::NotAReply(shown(word)));
        }
        let tag = reply.tag?;
        let entry = match self.tags.find(tag) {
            Found::Outstanding(entry) => entry,
            Found::Ended => return self.count_late(tag),
            Found::NeverGiven => return Err(never_given(tag)),
        };
        match (word, entry) {
            (b"!done", _) => self.finish(tag, Some(&sentence)),
            (b"!trap", Entry::Call(call)) => call.trap(&sentence, now),
            (b"!trap" | b"!empty", _) => {}
            (word, _) => {
                // `!empty` was new in 7.18: a word nobody knows yet must not end a connection.
                self.unknown += 1;
                if self.unknown == 1 {
                    tracing::warn!(word = %shown(word), "unknown reply word skipped");
                }
            }
        }
        Ok(())
    }

    /// Ends a command: its `!done` has come.
    fn finish(&mut self, tag: Tag, sentence: Option<&Sentence>) {
        if let Some(Entry::Call(call)) = self.tags.end(tag) {
            self.gone(call.limit);
            let end = if call.traps.is_empty() {
                let ret = sentence.and_then(|sentence| sentence.attr("ret"));
                Ok(Done { ret: ret.map(bytes::Bytes::copy_from_slice) })
            } else {
                Err(CallError::Refused(Refusal { traps: call.traps, left_out: call.traps_left_out }))
            };
            call.mailbox.end(end);
        }
    }

    /// Cancels a command on the router, and swallows what still comes of it.
    fn give_up(&mut self, tag: Tag, why: Option<CallError>, out: &mut Outbound) {
        let Found::Outstanding(entry) = self.tags.find(tag) else {
            return;
        };
        let running = match std::mem::replace(entry, Entry::Cancel) {
            Entry::Call(running) => running,
            other => {
                *entry = other;
                return;
            }
        };
        *entry = Entry::Draining { _permit: running.permit };
        self.gone(running.limit);
        if let Some(why) = why {
            tracing::debug!(%tag, %why, "call given up");
            running.mailbox.end(Err(why));
        }
        if let Ok(own) = self.tags.give(Entry::Cancel) {
            out.cancel(tag, own);
        }
    }

    /// Cancels the commands of calls that were dropped.
    pub(super) fn sweep(&mut self, out: &mut Outbound) {
        self.give_up_where(out, |call| call.mailbox.is_abandoned().then_some(None));
    }

    /// Gives up every call for which `why` says so.
    fn give_up_where(&mut self, out: &mut Outbound, mut why: impl FnMut(&mut Running) -> Option<Option<CallError>>) {
        let mut given_up = Vec::new();
        for (tag, entry) in self.tags.iter_mut() {
            if let Entry::Call(call) = entry
                && let Some(why) = why(call)
            {
                given_up.push((tag, why));
            }
        }
        for (tag, why) in given_up {
            self.give_up(tag, why, out);
        }
    }

    /// Whether to stop reading: every call there is has enough to read. None of them loses anything by it.
    pub(super) fn are_all_full(&mut self) -> bool {
        if !self.any_full {
            return false;
        }
        let (mut full, mut calls) = (0, 0);
        for (_, entry) in self.tags.iter_mut() {
            if let Entry::Call(call) = entry {
                calls += 1;
                full += usize::from(call.mailbox.queued_or_stall(SOFT_QUEUED_BYTES) >= SOFT_QUEUED_BYTES);
            }
        }
        self.any_full = full > 0;
        full > 0 && full == calls
    }

    /// Gives up the calls that got no sentence within their deadline. Time that a call spends not taking what is
    /// there, or in which nothing is read, does not count.
    pub(super) fn poll_deadlines(&mut self, cx: &mut Context<'_>, paused: bool, out: &mut Outbound) {
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx) == Poll::Pending {
                return;
            }
            self.timer = None;
            let now = Instant::now();
            let mut next: Option<Instant> = None;
            self.give_up_where(out, |call| {
                if paused || call.mailbox.queued() > 0 {
                    call.seen = now;
                }
                let (due, after) = call.due()?;
                if due <= now {
                    return Some(Some(CallError::Deadline { after }));
                }
                next = Some(next.map_or(due, |next| next.min(due)));
                None
            });
            self.look_by(next);
        }
    }

    /// Sees to it that deadlines are looked at by `due`.
    fn look_by(&mut self, due: Option<Instant>) {
        let Some(due) = due else {
            return;
        };
        match &mut self.timer {
            Some(timer) if timer.deadline() <= due => {}
            Some(timer) => timer.as_mut().reset(due),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(due))),
        }
    }

    /// Ends every call with the same error.
    pub(super) fn fail(&mut self, why: &CallError) {
        for entry in self.tags.drain() {
            if let Entry::Call(call) = entry {
                call.mailbox.end(Err(why.clone()));
            }
        }
        (self.live, self.listening) = (0, 0);
    }

    /// A call with this deadline is one no longer.
    fn gone(&mut self, limit: Duration) {
        self.live -= 1;
        self.listening -= usize::from(limit == Duration::MAX);
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several outcomes of a reply, all of this type")]
    fn count_late(&mut self, tag: Tag) -> Result<(), Nonsense> {
        self.late += 1;
        if self.late == 1 {
            tracing::warn!(%tag, "reply to a command that had ended, left out");
        }
        Ok(())
    }
}

impl Running {
    /// When its next deadline passes, and how long that one is.
    fn due(&self) -> Option<(Instant, Duration)> {
        let quiet = self.seen.checked_add(self.limit).map(|due| (due, self.limit));
        match (quiet, self.whole) {
            (Some(quiet), Some(whole)) => Some(if quiet.0 <= whole.0 { quiet } else { whole }),
            (quiet, whole) => quiet.or(whole),
        }
    }

    fn trap(&mut self, sentence: &Sentence, now: Instant) {
        if self.traps.len() == MAX_TRAPS {
            self.traps_left_out += 1;
            return;
        }
        self.seen = now;
        let category = sentence.attr("category").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let message = match sentence.attr("message") {
            Some(message) => shown(message),
            None => format!("no reason given ({sentence:?})"),
        };
        self.traps.push(Trap { category, message });
    }
}

fn never_given(tag: Tag) -> Nonsense {
    Nonsense::UnknownTag(tag.to_string())
}
