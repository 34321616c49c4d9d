//! A sentence as one piece of memory, and the builder of one.

use std::fmt;

use bytes::Bytes;

use super::{WireError, length::put_length, length::take_length};

/// Parts of attribute names whose values are never shown: passwords and keys, and the scripts and
/// files that may hold them.
const SECRET_PARTS: [&[u8]; 11] = [
    b"password",
    b"passphrase",
    b"private-key",
    b"preshared-key",
    b"pre-shared-key",
    b"secret",
    b"response",
    b"source",
    b"contents",
    b"script",
    b"on-event",
];

/// Says whether values under this attribute name have to stay out of logs.
#[must_use]
pub fn is_secret_key(key: &[u8]) -> bool {
    SECRET_PARTS.iter().any(|part| key.windows(part.len()).any(|window| window == *part))
}

/// Writes a word for a log: values of secret attributes as `***`, other bytes escaped.
pub(crate) fn show_word(word: &[u8], secret: bool, out: &mut String) {
    let (key, value) = split_attribute(word).unwrap_or((b"", b""));
    if !key.is_empty() && !value.is_empty() && (secret || is_secret_key(key)) {
        out.push('=');
        out.push_str(&key.escape_ascii().to_string());
        out.push_str("=***");
    } else {
        out.push_str(&word.escape_ascii().to_string());
    }
}

/// Splits `=key=value`; a word without a second `=` is a key with nothing in it.
pub(crate) fn split_attribute(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = word.strip_prefix(b"=")?;
    Some(match memchr::memchr(b'=', rest) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, b""),
    })
}

/// Walks the words of a whole sentence.
#[derive(Debug, Clone)]
pub(crate) struct WordIter<'a>(&'a [u8]);

impl<'a> WordIter<'a> {
    /// Starts at the front of a sentence's bytes.
    pub(crate) fn new(sentence: &'a [u8]) -> Self {
        Self(sentence)
    }
}

impl<'a> Iterator for WordIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first()?;
        let (length, prefix) = if first < 0x80 {
            (usize::from(first), 1)
        } else {
            let (length, prefix) = take_length(self.0).ok()??;
            (length as usize, prefix)
        };
        if length == 0 {
            return None;
        }
        let word = self.0.get(prefix..prefix + length)?;
        self.0 = &self.0[prefix + length..];
        Some(word)
    }
}

/// One whole, well-formed sentence: its encoded bytes in one refcounted piece of memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentence(Bytes);

impl Sentence {
    /// Takes bytes that a [`super::Scanner`] found to be one sentence.
    pub(crate) fn from_scanned(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Goes through the words.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        WordIter::new(&self.0)
    }

    /// Returns the first word: the command's path, or the reply word (`!re`, `!done`, …).
    #[must_use]
    pub fn first(&self) -> &[u8] {
        WordIter::new(&self.0).next().unwrap_or_default()
    }

    /// Returns the value of the first `=key=value`.
    #[must_use]
    pub fn attr(&self, key: &str) -> Option<&[u8]> {
        self.attrs().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// Goes through the `=key=value` words, in order.
    pub fn attrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.words().filter_map(split_attribute)
    }

    /// Goes through the query words, each without its `?`.
    pub fn queries(&self) -> impl Iterator<Item = &[u8]> {
        self.words().skip(1).filter_map(|word| word.strip_prefix(b"?"))
    }

    /// Returns the value of `.tag`, wherever in the sentence it stands.
    #[must_use]
    pub fn tag(&self) -> Option<&[u8]> {
        self.words().filter_map(|word| word.strip_prefix(b".tag=")).last()
    }

    /// Gives up the encoded bytes.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Returns the encoded bytes, zero word at the end included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_words(&self.0))
    }
}

/// Shows an encoded sentence for a log, secrets replaced.
pub(crate) fn show_words(sentence: &[u8]) -> String {
    let mut shown = String::new();
    for word in WordIter::new(sentence) {
        if !shown.is_empty() {
            shown.push(' ');
        }
        show_word(word, false, &mut shown);
    }
    shown
}

/// Builds a sentence word by word.
#[derive(Clone, Default)]
pub struct Words {
    bytes: Vec<u8>,
    /// The length of a word that no prefix can express.
    overlong: Option<usize>,
}

impl Words {
    /// Begins with the first word.
    #[must_use]
    pub fn new(first: impl AsRef<[u8]>) -> Self {
        Self::default().word(first)
    }

    /// Adds a word as it stands. An empty word is left out: it would end the sentence.
    #[must_use]
    pub fn word(mut self, word: impl AsRef<[u8]>) -> Self {
        self.put(&[word.as_ref()]);
        self
    }

    /// Adds `=key=value`.
    #[must_use]
    pub fn attr(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.put(&[b"=", key.as_bytes(), b"=", value.as_ref()]);
        self
    }

    /// Adds `.tag=tag`.
    #[must_use]
    pub fn tag(mut self, tag: impl AsRef<[u8]>) -> Self {
        self.put(&[b".tag=", tag.as_ref()]);
        self
    }

    /// Ends the sentence.
    ///
    /// # Errors
    /// [`WireError::WordTooLong`] if a word is longer than a length prefix can say.
    pub fn finish(mut self) -> Result<Sentence, WireError> {
        if let Some(length) = self.overlong {
            return Err(WireError::WordTooLong { length, limit: u32::MAX as usize });
        }
        self.bytes.push(0);
        Ok(Sentence(Bytes::from(self.bytes)))
    }

    /// Appends one word made of `parts`.
    fn put(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        match u32::try_from(length) {
            Ok(0) => {}
            Ok(short) => {
                put_length(&mut self.bytes, short);
                for part in parts {
                    self.bytes.extend_from_slice(part);
                }
            }
            Err(_) => self.overlong = Some(length),
        }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_words(&self.bytes))
    }
}
