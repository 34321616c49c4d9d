//! What can go wrong with a call, and what the caller may do about it.
//!
//! Text that came from a router is shown only through [`crate::domain::shown`].

use std::{fmt, io, sync::Arc, time::Duration};

use super::codec::{MAX_SENTENCE_BYTES, WireError};

/// The most traps kept of one command. RouterOS sends one or two; the rest are only counted.
pub const MAX_TRAPS: usize = 16;

/// One `!trap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// Its category, which many traps do not have (`failure: …`, `not enough permissions (9)`).
    pub category: Option<u8>,
    /// The router's words, fit to be shown.
    pub message: String,
}

/// A command the router refused: every `!trap` it sent before `!done`, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The traps, at most [`MAX_TRAPS`].
    pub traps: Vec<Trap>,
    /// How many more there were.
    pub left_out: usize,
}

impl Refusal {
    /// Says whether one of the messages contains `text`.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        self.traps.iter().any(|trap| trap.message.contains(text))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, trap) in self.traps.iter().enumerate() {
            f.write_str(if index > 0 { "; " } else { "" })?;
            f.write_str(&trap.message)?;
        }
        if self.left_out > 0 {
            write!(f, "; and {} more", self.left_out)?;
        }
        Ok(())
    }
}

/// How a connection came to an end that nobody asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Loss {
    /// The router closed it between two sentences.
    #[error("closed by the router")]
    Closed,
    /// It ended inside a sentence.
    #[error("cut off inside a sentence")]
    CutShort,
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[source] Arc<io::Error>),
    /// The task that owned the socket was stopped, with its runtime.
    #[error("the program is stopping")]
    Stopped,
}

/// Bytes from the router that are not the API, or not an answer to anything asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Nonsense {
    /// Not sentences, or larger than is accepted.
    #[error("the bytes are no acceptable sentence")]
    Wire(#[source] Arc<WireError>),
    /// A sentence that does not begin with a reply word.
    #[error("\"{0}\" is not how a reply begins")]
    NotAReply(String),
    /// TLS, where the API in the clear was expected.
    #[error("it answers with TLS")]
    Tls,
    /// A reply without a tag; all our commands have one.
    #[error("an {0} without a tag, which answers nothing that was asked")]
    Untagged(String),
    /// A reply with a tag that was never given out.
    #[error("a reply with the tag \"{0}\", which was never given out")]
    UnknownTag(String),
}

/// Why a call gave no (whole) answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The router refused the command; the connection is fine.
    #[error("the router refused: {0}")]
    Refused(Refusal),
    /// The router ended the session, with these words.
    #[error("the router ended the session: {message}")]
    Fatal {
        /// The router's words, fit to be shown.
        message: String,
    },
    /// The connection went before the answer was whole. Whether the command ran is not known.
    #[error("connection lost")]
    ConnectionLost {
        /// How.
        #[source]
        how: Loss,
    },
    /// No sentence came for this long while one was waited for. The command was cancelled.
    #[error("no answer within {} s", after.as_secs_f32())]
    Deadline {
        /// The deadline of the call.
        after: Duration,
    },
    /// What came is not the API. The connection is closed.
    #[error("what the router sent makes no sense")]
    Garbage {
        /// What came.
        #[source]
        what: Nonsense,
    },
    /// The rows were not taken while other calls of the connection went on; this one was cancelled.
    #[error("rows were left unread until {queued} bytes had come in, and others were waiting")]
    SlowReader {
        /// Bytes that had been waiting to be taken.
        queued: usize,
    },
    /// More rows or bytes than a collected reply may have. The command was cancelled.
    #[error("the answer is longer than {rows} rows or {bytes} bytes")]
    ReplyTooLong {
        /// The most rows.
        rows: usize,
        /// The most bytes.
        bytes: usize,
    },
    /// The command itself is too long; nothing was sent.
    #[error("the command has {length} bytes in one word or in all, the most that may be sent is {limit}")]
    CommandTooLong {
        /// Its length, in bytes.
        length: usize,
        /// What may be sent, in bytes.
        limit: usize,
    },
    /// This side closed the connection.
    #[error("the connection was closed by this side")]
    Closed,
}

/// When trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once, over a new connection.
    Now,
    /// After a while.
    Later,
    /// Not without a change of something.
    Never,
}

impl CallError {
    /// Says when trying again makes sense. Whether it is safe, the caller has to know: a command
    /// whose connection was lost may have run.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::ConnectionLost { .. } | Self::Closed => Retry::Now,
            Self::Fatal { .. } | Self::Deadline { .. } => Retry::Later,
            Self::Refused(refusal) if refusal.mentions("timeout") || refusal.mentions("busy") => Retry::Later,
            Self::Refused(_)
            | Self::Garbage { .. }
            | Self::SlowReader { .. }
            | Self::ReplyTooLong { .. }
            | Self::CommandTooLong { .. } => Retry::Never,
        }
    }

    /// Returns what the router refused with, if that is what happened.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns what the user may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Refused(refusal) if refusal.mentions("not enough permissions") => {
                "give the user's group the policy that is missing: /user/group set <group> policy=…".into()
            }
            Self::SlowReader { .. } => {
                "take the rows as they come, ask for fewer fields, or give this command a connection of its own".into()
            }
            Self::ReplyTooLong { .. } => "ask for fewer rows or fields, or read them as a stream".into(),
            Self::Deadline { .. } => "the router may be overloaded or gone; a longer deadline may help".into(),
            Self::Garbage { what: Nonsense::Wire(error) } if matches!(**error, WireError::WordTooLong { .. }) => {
                format!("is this the API's port? nothing over {MAX_SENTENCE_BYTES} bytes is taken in one piece")
            }
            Self::Garbage { .. } => "is this the API's port (8728, or 8729 for apis://)?".into(),
            _ => return None,
        })
    }
}
