//! What is to be written: sentences of many calls, gathered and sent in one write.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;
use zeroize::Zeroize;

use super::tags::Tag;
use crate::routeros::{codec::put_length, command::Command};

/// The buffer is let go when it is empty and larger than this.
const KEPT_BYTES: usize = 16 << 10;

/// Encoded sentences on their way out. Not `Debug`: they hold passwords.
#[derive(Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    written: usize,
    /// The bytes hold a secret and are wiped once written.
    secret: bool,
    /// Written to the stream, not yet flushed by it (TLS).
    unflushed: bool,
}

impl Outbound {
    /// Bytes not yet written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Adds a command.
    pub(super) fn command(&mut self, command: &Command, tag: Tag) {
        let words = command.encoded_words();
        if command.holds_secrets() {
            self.secret = true;
            self.make_room(words.len() + TAG_ROOM);
        }
        self.bytes.extend_from_slice(words);
        self.end_with(tag);
    }

    /// Adds `/cancel` of the command `victim`.
    pub(super) fn cancel(&mut self, victim: Tag, tag: Tag) {
        self.word(b"/cancel");
        self.word(format!("=tag={victim}").as_bytes());
        self.end_with(tag);
    }

    /// Writes and flushes as much as the stream takes.
    pub(super) fn poll_write(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let count = ready!(stream.as_mut().poll_write(cx, &self.bytes[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
        }
        self.reset();
        if self.unflushed {
            ready!(stream.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What the buffer takes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Lets the buffer go, unless something is still to be written.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    fn word(&mut self, word: &[u8]) {
        put_length(&mut self.bytes, u32::try_from(word.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(word);
    }

    /// Adds the tag and the zero word.
    fn end_with(&mut self, tag: Tag) {
        let mut digits = [0_u8; TAG_ROOM];
        let digits = tag.digits(&mut digits);
        put_length(&mut self.bytes, u32::try_from(b".tag=".len() + digits.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(b".tag=");
        self.bytes.extend_from_slice(digits);
        self.bytes.push(0);
    }

    /// Grows without leaving a copy of a secret in freed memory.
    fn make_room(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            let mut grown = Vec::with_capacity((self.bytes.len() + more) * 2);
            grown.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = grown;
        }
    }

    fn reset(&mut self) {
        if std::mem::take(&mut self.secret) {
            self.bytes.zeroize();
        }
        self.bytes.clear();
        self.written = 0;
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.reset();
    }
}

/// Room for a tag word and the end of the sentence.
const TAG_ROOM: usize = 32;
