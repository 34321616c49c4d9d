//! A command as it will go over the wire: path, attributes, queries.
//!
//! It is encoded as it is built and never again, so that sending it many times costs no more than a
//! copy. Values given as [`Command::secret`] are shown as `***` and wiped when the last copy goes.

use std::{fmt, sync::Arc};

use zeroize::Zeroize;

use super::codec::{MAX_LENGTH_BYTES, WordIter, put_length, show_word};

/// The longest word we send. A `/file/set` of 102,400 bytes makes RouterOS close the connection
/// without a word of why.
/// *Source*: observed on 7.24.4 (`SecOps-7/MikroDash`).
pub const MAX_SENT_WORD_BYTES: usize = 64 << 10;

/// One command. Cheap to clone.
#[derive(Clone)]
pub struct Command(Arc<Encoded>);

#[derive(Clone, Default)]
struct Encoded {
    /// The words, without tag and end.
    bytes: Vec<u8>,
    /// How many words there are.
    words: usize,
    /// Which of them have values that must not be shown.
    secrets: Vec<usize>,
    /// The length of the longest word.
    longest: usize,
}

impl Command {
    /// Begins a command: `/ip/address/print`.
    #[must_use]
    pub fn new(path: &str) -> Self {
        let mut encoded = Encoded::default();
        encoded.put(&[path.as_bytes()]);
        Self(Arc::new(encoded))
    }

    /// Adds `=key=value`.
    #[must_use]
    pub fn attr(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.encoded().put(&[b"=", key.as_bytes(), b"=", value.as_ref()]);
        self
    }

    /// Adds `=key=value` whose value is shown nowhere and wiped on drop.
    #[must_use]
    pub fn secret(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        let encoded = self.encoded();
        encoded.secrets.push(encoded.words);
        encoded.put(&[b"=", key.as_bytes(), b"=", value.as_ref()]);
        self
    }

    /// Adds a query word, with its question mark: `?comment=x`, `?#|`.
    #[must_use]
    pub fn query(mut self, word: &str) -> Self {
        self.encoded().put(&[word.as_bytes()]);
        self
    }

    /// Asks for these fields only: `=.proplist=a,b,c`.
    #[must_use]
    pub fn proplist(self, fields: &[&str]) -> Self {
        self.attr(".proplist", fields.join(","))
    }

    /// Returns the path: `/ip/address/print`.
    #[must_use]
    pub fn path(&self) -> &str {
        let first = WordIter::new(&self.0.bytes).next().unwrap_or_default();
        std::str::from_utf8(first).unwrap_or_default()
    }

    /// The encoded words, without tag and end.
    pub(super) fn encoded_words(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether a copy of the encoded words has to be wiped.
    pub(super) fn holds_secrets(&self) -> bool {
        !self.0.secrets.is_empty()
    }

    /// The length of the longest word, in bytes.
    pub(super) fn longest_word(&self) -> usize {
        self.0.longest
    }

    fn encoded(&mut self) -> &mut Encoded {
        Arc::make_mut(&mut self.0)
    }
}

impl Encoded {
    fn put(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.longest = self.longest.max(length);
        // A word over MAX_SENT_WORD_BYTES makes the command unsendable: it is not even kept.
        if length == 0 || length > MAX_SENT_WORD_BYTES {
            return;
        }
        let Ok(short) = u32::try_from(length) else {
            return;
        };
        self.make_room(length + MAX_LENGTH_BYTES);
        self.words += 1;
        put_length(&mut self.bytes, short);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Grows without leaving a copy of a secret in freed memory.
    fn make_room(&mut self, more: usize) {
        let need = self.bytes.len() + more;
        if need > self.bytes.capacity() {
            let mut grown = Vec::with_capacity(need.max(self.bytes.capacity() * 2));
            grown.extend_from_slice(&self.bytes);
            self.wipe();
            self.bytes = grown;
        }
    }

    fn wipe(&mut self) {
        if !self.secrets.is_empty() {
            self.bytes.zeroize();
        }
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::new();
        for (index, word) in WordIter::new(&self.0.bytes).enumerate() {
            if index > 0 {
                shown.push(' ');
            }
            show_word(word, self.0.secrets.contains(&index), &mut shown);
        }
        f.write_str(&shown)
    }
}
