//! Reply sentences, and the channel by which a session's commands send them.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::routeros::codec::{Sentence, WireError, Words};
use crate::sim::device::{Trap, View};

/// Rows are sent in pieces of about this size, so that a long print needs no second copy of itself.
const CHUNK_BYTES: usize = 32 << 10;

/// Why a reply could not be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("the connection is gone")]
    Closed,
    #[error("a reply does not fit into a sentence")]
    Wire(#[from] WireError),
}

/// The way out of a session, shared by its commands.
#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) bytes: mpsc::Sender<Bytes>,
    /// `.tag` stands last in the sentence instead of second.
    pub(super) tag_last: bool,
}

impl Out {
    fn sentence(
        &self,
        word: &str,
        tag: Option<&[u8]>,
        fill: impl FnOnce(Words) -> Words,
    ) -> Result<Sentence, WireError> {
        let mut words = Words::new(word);
        if let (Some(tag), false) = (tag, self.tag_last) {
            words = words.tag(tag);
        }
        words = fill(words);
        if let (Some(tag), true) = (tag, self.tag_last) {
            words = words.tag(tag);
        }
        words.finish()
    }

    pub(super) async fn raw(&self, bytes: impl Into<Bytes>) -> Result<(), ReplyError> {
        self.bytes.send(bytes.into()).await.map_err(|_| ReplyError::Closed)
    }

    async fn send(&self, sentence: Sentence) -> Result<(), ReplyError> {
        self.raw(sentence.into_bytes()).await
    }

    pub(super) async fn done(&self, tag: Option<&[u8]>, ret: Option<&[u8]>) -> Result<(), ReplyError> {
        let fill = |words: Words| match ret {
            Some(ret) => words.attr("ret", ret),
            None => words,
        };
        self.send(self.sentence("!done", tag, fill)?).await
    }

    pub(super) async fn empty(&self, tag: Option<&[u8]>) -> Result<(), ReplyError> {
        self.send(self.sentence("!empty", tag, |words| words)?).await
    }

    pub(super) async fn trap(&self, tag: Option<&[u8]>, trap: &Trap) -> Result<(), ReplyError> {
        let fill = |words: Words| match trap.category {
            Some(category) => words.attr("category", category.to_string()).attr("message", &trap.message),
            None => words.attr("message", &trap.message),
        };
        self.send(self.sentence("!trap", tag, fill)?).await
    }

    /// The reason is a bare word. *Source*: recorded `!fatal` `session terminated on request`.
    pub(super) async fn fatal(&self, reason: &str) -> Result<(), ReplyError> {
        self.send(Words::new("!fatal").word(reason).finish()?).await
    }

    pub(super) async fn row(&self, tag: Option<&[u8]>, row: &View) -> Result<(), ReplyError> {
        self.send(self.row_sentence(tag, row)?).await
    }

    fn row_sentence(&self, tag: Option<&[u8]>, row: &View) -> Result<Sentence, WireError> {
        self.sentence("!re", tag, |words| row.0.iter().fold(words, |words, (name, value)| words.attr(name, value)))
    }

    pub(super) async fn rows(&self, tag: Option<&[u8]>, rows: &[View]) -> Result<(), ReplyError> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        for row in rows {
            chunk.extend_from_slice(self.row_sentence(tag, row)?.as_bytes());
            if chunk.len() >= CHUNK_BYTES {
                self.raw(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_BYTES))).await?;
            }
        }
        if chunk.is_empty() { Ok(()) } else { self.raw(chunk).await }
    }
}
