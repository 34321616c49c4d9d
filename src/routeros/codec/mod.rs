//! Bytes to sentences and back: the framing of the RouterOS API, for both ends of it.
//!
//! A sentence is words, each with its length before it, up to a word of length zero. Words are
//! bytes: no charset is declared, so none is assumed. This module knows neither commands nor
//! replies, opens no socket and keeps no state beyond a half-arrived sentence.
//!
//! *Source*: MikroTik manual, "API"; the transcripts retyped in `tests/golden/`.

mod length;
mod scan;
mod sentence;

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

pub use length::{MAX_LENGTH_BYTES, put_length, take_length};
pub use scan::{Scanned, Scanner};
pub use sentence::{Sentence, Words, is_secret_key};
pub(crate) use sentence::{WordIter, show_word, show_words, split_attribute};

/// The longest word taken from a router. The longest it has reason to send is a file's contents or
/// a script, some hundred KiB; a length beyond this is an attack or another protocol.
pub const MAX_WORD_BYTES: usize = 16 << 20;

/// The longest sentence. One word of the greatest length and a row's worth of others.
pub const MAX_SENTENCE_BYTES: usize = MAX_WORD_BYTES + (1 << 20);

/// The most words in a sentence. The widest menus have under 200 attributes.
pub const MAX_SENTENCE_WORDS: usize = 4_096;

/// What one sentence may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a word.
    pub word: usize,
    /// Bytes in a sentence, length prefixes included.
    pub sentence: usize,
    /// Words in a sentence.
    pub words: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { word: MAX_WORD_BYTES, sentence: MAX_SENTENCE_BYTES, words: MAX_SENTENCE_WORDS }
    }
}

/// Why bytes are not (acceptable) sentences. The connection cannot go on after any of these.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A first byte that no length has; from 0xF8 on it is reserved for control bytes.
    #[error("reserved control byte 0x{0:02X} where a word's length should be")]
    ControlByte(u8),
    /// A word longer than we take.
    #[error("a word of {length} bytes, more than the {limit} accepted")]
    WordTooLong {
        /// What its prefix claims, in bytes.
        length: usize,
        /// What is accepted, in bytes.
        limit: usize,
    },
    /// A sentence longer than we take.
    #[error("a sentence of more than {limit} bytes")]
    SentenceTooLong {
        /// What is accepted, in bytes.
        limit: usize,
    },
    /// More words in a sentence than we take.
    #[error("a sentence of more than {limit} words")]
    TooManyWords {
        /// What is accepted.
        limit: usize,
    },
    /// The stream ended inside a sentence.
    #[error("the stream ended inside a sentence")]
    CutShort,
    /// The socket failed.
    #[error("reading or writing failed")]
    Io(#[from] std::io::Error),
}

/// A tokio codec for sentences, the same for client and server.
///
/// Decoding hands over the sentence's bytes without copying them; empty sentences are left out.
#[derive(Debug)]
pub struct SentenceCodec {
    scanner: Scanner,
}

impl SentenceCodec {
    /// Makes a codec with its own limits.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { scanner: Scanner::new(limits) }
    }
}

impl Default for SentenceCodec {
    fn default() -> Self {
        Self::with_limits(Limits::default())
    }
}

impl Decoder for SentenceCodec {
    type Item = Sentence;
    type Error = WireError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Sentence>, WireError> {
        while let Some(found) = self.scanner.scan(source)? {
            let bytes = source.split_to(found.length).freeze();
            if found.words > 0 {
                return Ok(Some(Sentence::from_scanned(bytes)));
            }
        }
        Ok(None)
    }

    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Sentence>, WireError> {
        match self.decode(source)? {
            Some(sentence) => Ok(Some(sentence)),
            None if source.is_empty() => Ok(None),
            None => Err(WireError::CutShort),
        }
    }
}

impl Encoder<Sentence> for SentenceCodec {
    type Error = WireError;

    fn encode(&mut self, sentence: Sentence, out: &mut BytesMut) -> Result<(), WireError> {
        out.extend_from_slice(sentence.as_bytes());
        Ok(())
    }
}

impl Encoder<Words> for SentenceCodec {
    type Error = WireError;

    fn encode(&mut self, words: Words, out: &mut BytesMut) -> Result<(), WireError> {
        out.extend_from_slice(words.finish()?.as_bytes());
        Ok(())
    }
}
