//! One `!re`: the attributes of an item, as the router sent them.
//!
//! A row is a piece of the buffer it was read into, shared with its neighbours and never copied.
//! Attributes are found by walking the words, which for rows of some twenty attributes is quicker
//! than building a map would be.

use std::{borrow::Cow, fmt};

use bytes::Bytes;

use super::codec::{Sentence, WordIter, show_words, split_attribute};

/// One `!re` sentence. Cheap to keep (32 bytes beside its own) and to drop.
///
/// A row keeps alive the buffer that it was read into; [`Row::detach`] makes one that stands alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Row(Bytes);

impl Row {
    /// Takes the bytes of one whole sentence.
    pub(super) fn from_sentence_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Returns the value of an attribute, as the bytes the router sent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let key = key.as_bytes();
        self.words().find_map(|word| {
            let rest = word.strip_prefix(b"=")?.strip_prefix(key)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"=") }
        })
    }

    /// Returns the value of an attribute for people to read: what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key).map(String::from_utf8_lossy)
    }

    /// Goes through the attributes in the router's order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.words().filter_map(split_attribute)
    }

    /// Returns the same row in memory of its own, for one that is kept long after its neighbours.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    fn words(&self) -> WordIter<'_> {
        WordIter::new(&self.0)
    }
}

impl From<Sentence> for Row {
    fn from(sentence: Sentence) -> Self {
        Self(sentence.into_bytes())
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_words(&self.0))
    }
}
