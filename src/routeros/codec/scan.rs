//! Finds where a sentence ends, and its `.tag` on the way, in one walk over the length prefixes.
//!
//! The walk is resumed where the bytes ran out: a sentence that comes one byte at a time is still
//! looked at once. Nothing is copied and nothing is allocated here.

use std::ops::Range;

use super::{Limits, WireError, length::take_length};

/// The front of the word that carries a tag. It has no `=` before it, unlike every attribute.
const TAG: &[u8] = b".tag=";

/// A whole sentence at the front of the bytes given to [`Scanner::scan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its bytes, the zero word at the end included.
    pub length: usize,
    /// How many words it has; 0 for an empty sentence.
    pub words: usize,
    /// Where the value of its last `.tag` stands.
    pub tag: Option<Range<usize>>,
}

/// The state of a walk between two reads.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    /// Where the next length prefix begins, from the start of the sentence.
    at: usize,
    words: usize,
    tag: Option<Range<usize>>,
}

impl Scanner {
    /// Starts at the beginning of a sentence.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, at: 0, words: 0, tag: None }
    }

    /// Whether a sentence has begun and not ended.
    #[must_use]
    pub fn is_mid_sentence(&self) -> bool {
        self.at > 0
    }

    /// Walks on through `bytes`, which begin where the current sentence begins.
    ///
    /// `Ok(None)` asks for more bytes; the next call has to bring the same ones and more.
    ///
    /// # Errors
    /// [`WireError`] when a limit is passed (by the length alone: the word need not come) or a
    /// reserved control byte stands where a length should. There is no going on after that.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<Scanned>, WireError> {
        let mut at = self.at;
        while let Some(&first) = bytes.get(at) {
            let (length, prefix) = if first < 0x80 {
                (usize::from(first), 1)
            } else {
                match take_length(&bytes[at..])? {
                    Some((length, prefix)) => (length as usize, prefix),
                    None => break,
                }
            };
            if length == 0 {
                return Ok(Some(self.finish(at + prefix)));
            }
            let start = at + prefix;
            let end = start + length;
            if length > self.limits.word || end > self.limits.sentence {
                return Err(self.over(length));
            }
            let Some(word) = bytes.get(start..end) else {
                break;
            };
            if word[0] == b'.' && word.starts_with(TAG) {
                self.tag = Some(start + TAG.len()..end);
            }
            self.words += 1;
            if self.words > self.limits.words {
                return Err(WireError::TooManyWords { limit: self.limits.words });
            }
            at = end;
        }
        self.at = at;
        Ok(None)
    }

    fn finish(&mut self, length: usize) -> Scanned {
        self.at = 0;
        Scanned { length, words: std::mem::take(&mut self.words), tag: self.tag.take() }
    }

    fn over(&self, length: usize) -> WireError {
        if length > self.limits.word {
            WireError::WordTooLong { length, limit: self.limits.word }
        } else {
            WireError::SentenceTooLong { limit: self.limits.sentence }
        }
    }
}
