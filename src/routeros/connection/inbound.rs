//! What was read: cut into runs of rows and single replies, without copying rows.
//!
//! The buffer is read into in large pieces and handed out by reference. It starts small, because an agent on a router has
//! little memory, and grows while reads fill it. Once everything that was handed out of it is gone, it is used again.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use super::{mailbox::Batch, tags::Tag};
use crate::domain::shown;
use crate::routeros::{
    codec::{Limits, Scanned, Scanner, Sentence, show_words, take_length},
    error::Nonsense,
};

/// How much is read at once, to begin with.
const FIRST_CHUNK_BYTES: usize = 8 << 10;

/// How much is read at once, at most. More makes reading no faster and memory dearer.
const MAX_CHUNK_BYTES: usize = 256 << 10;

/// A run of rows shorter than this is copied, so that a kept row does not keep a whole buffer.
const COPIED_BYTES: usize = 4 << 10;

/// How much of what is no reply is shown.
const SHOWN_START_BYTES: usize = 40;

/// One thing that came from the router.
#[derive(Debug)]
pub(super) enum Piece {
    /// Consecutive rows of one command.
    Rows(Tag, Batch),
    /// A bare `!done`: by far the most frequent of the others, and there is nothing in it to keep.
    Done(Tag),
    /// Any other reply.
    Reply(Reply),
}

/// A reply that is not a row.
#[derive(Debug)]
pub(super) struct Reply {
    /// The whole of it; the first word is the reply word.
    pub(super) sentence: Sentence,
    /// Its tag, if it has one that we could have written.
    pub(super) tag: Result<Tag, Nonsense>,
}

/// The bytes read and not yet handed out: a run of rows, then perhaps a reply, then what is not yet looked at. Not `Debug`:
/// the bytes hold secrets.
pub(super) struct Inbound {
    buffer: BytesMut,
    /// How much to read at once.
    chunk: usize,
    scanner: Scanner,
    /// The tag of the run at the front of the buffer, if there is one.
    run: Option<Tag>,
    /// Where the rows of the run end; the last is where the run does.
    ends: Vec<usize>,
    /// The sentence after the run, already looked at, that does not belong to it.
    held: Option<Scanned>,
}

impl Inbound {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            buffer: BytesMut::new(),
            chunk: FIRST_CHUNK_BYTES,
            scanner: Scanner::new(limits),
            run: None,
            ends: Vec::new(),
            held: None,
        }
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let room = self.buffer.capacity() - self.buffer.len();
        if room < self.chunk / 8 {
            self.buffer.reserve(self.chunk);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let read = poll_read_buf(stream, cx, &mut self.buffer);
        if matches!(read, Poll::Ready(Ok(count)) if count >= room.min(self.chunk)) {
            self.chunk = (self.chunk * 2).min(MAX_CHUNK_BYTES);
        }
        read
    }

    /// Whether a sentence has begun and not ended.
    pub(super) fn is_mid_sentence(&self) -> bool {
        self.scanner.is_mid_sentence() || !self.buffer.is_empty()
    }

    /// What the buffer takes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Lets the buffer go: the load that it was made for is over.
    pub(super) fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.chunk = FIRST_CHUNK_BYTES;
        }
    }

    /// Takes the next piece, or `None` if more has to be read first.
    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, Nonsense> {
        loop {
            let start = self.ends.last().copied().unwrap_or(0);
            let held = self.held.take();
            let found = if held.is_some() { held } else { self.look_at(start)? };
            let Some(found) = found else {
                check_begins_like_a_reply(&self.buffer[start..])?;
                return Ok(self.take_run());
            };
            let sentence = &self.buffer[start..start + found.length];
            let kind = Kind::of(sentence, &found);
            let mut tag = tag_of(sentence, &found);
            if kind == Kind::Row {
                let row_tag = tag?;
                if self.run.is_none_or(|run| run == row_tag) {
                    self.run = Some(row_tag);
                    self.ends.push(start + found.length);
                    continue;
                }
                tag = Ok(row_tag);
            }
            if let Some(run) = self.take_run() {
                self.held = Some(found);
                return Ok(Some(run));
            }
            return Ok(Some(match (kind, tag) {
                (Kind::Empty, _) => {
                    self.buffer.advance(found.length);
                    continue;
                }
                (Kind::BareDone, Ok(tag)) => {
                    self.buffer.advance(found.length);
                    Piece::Done(tag)
                }
                (_, tag) => Piece::Reply(Reply { sentence: Sentence::from_scanned(self.cut(found.length)), tag }),
            }));
        }
    }

    /// Looks at the sentence at `start`, if it is whole.
    fn look_at(&mut self, start: usize) -> Result<Option<Scanned>, Nonsense> {
        let bytes = &self.buffer[start..];
        let found = self.scanner.scan(bytes).map_err(|error| Nonsense::Wire(error.into()))?;
        if let Some(found) = &found {
            tracing::trace!(sentence = %show_words(&bytes[..found.length]), "received");
        }
        Ok(found)
    }

    /// Hands the run out.
    fn take_run(&mut self) -> Option<Piece> {
        let tag = self.run.take()?;
        let expected = self.ends.len();
        let ends = std::mem::replace(&mut self.ends, Vec::with_capacity(if expected > 16 { expected } else { 0 }));
        let length = ends.last().copied()?;
        Some(Piece::Rows(tag, Batch::new(self.cut(length), ends)))
    }

    /// Takes the first `length` bytes: by copy if they are few, so that the buffer stays ours.
    fn cut(&mut self, length: usize) -> Bytes {
        if length < COPIED_BYTES {
            let bytes = Bytes::copy_from_slice(&self.buffer[..length]);
            self.buffer.advance(length);
            bytes
        } else {
            self.buffer.split_to(length).freeze()
        }
    }
}

/// What has to be known of a sentence before anybody looks into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No word at all; means nothing.
    Empty,
    Row,
    /// `!done` with a tag and nothing else.
    BareDone,
    Other,
}

impl Kind {
    #[inline]
    fn of(sentence: &[u8], found: &Scanned) -> Self {
        if sentence.starts_with(b"\x03!re") {
            Self::Row
        } else if found.words == 2 && sentence.starts_with(b"\x05!done") {
            Self::BareDone
        } else if found.words == 0 {
            Self::Empty
        } else {
            Self::Other
        }
    }
}

/// Refuses what cannot become a reply before all of it has come: another protocol's greeting would otherwise be waited
/// for as a very long word.
fn check_begins_like_a_reply(bytes: &[u8]) -> Result<(), Nonsense> {
    let Ok(Some((length, prefix))) = take_length(bytes) else {
        return Ok(());
    };
    match bytes.get(prefix) {
        Some(b'!') | None => Ok(()),
        Some(_) if length == 0 => Ok(()),
        Some(_) if matches!(bytes, [0x15 | 0x16, 0x03, ..]) => Err(Nonsense::Tls),
        Some(_) => Err(Nonsense::NotAReply(shown(&bytes[..bytes.len().min(SHOWN_START_BYTES)]))),
    }
}

/// The tag of a sentence, or why it has none of ours.
#[inline]
fn tag_of(sentence: &[u8], found: &Scanned) -> Result<Tag, Nonsense> {
    match &found.tag {
        Some(range) => {
            let value = &sentence[range.clone()];
            Tag::parse(value).ok_or_else(|| Nonsense::UnknownTag(shown(value)))
        }
        None => Err(untagged(sentence)),
    }
}

#[cold]
fn untagged(sentence: &[u8]) -> Nonsense {
    let first = crate::routeros::codec::WordIter::new(sentence).next().unwrap_or_default();
    Nonsense::Untagged(shown(first))
}
