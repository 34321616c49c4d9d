//! Why the store did not do what was asked.

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing, or it is out of the actor's scope.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `instance`, `peer`, …
        what: &'static str,
        /// As it was asked for.
        id: String,
    },
    /// A value is not allowed, or two do not go together.
    #[error("{detail}")]
    Invalid {
        /// The field, such as `subnets[2]`.
        field: String,
        /// What is wrong with it.
        detail: String,
        /// A code of [`crate::api::code`].
        code: &'static str,
        /// The way out.
        hint: Option<String>,
    },
    /// Something else has it already, or a limit is reached; names what is in the way.
    #[error("{detail}")]
    Conflict {
        /// The field, such as `hostname`.
        field: Option<String>,
        /// What is in the way.
        detail: String,
        /// A code of [`crate::api::code`].
        code: &'static str,
        /// The way out.
        hint: Option<String>,
    },
    /// The thing's state does not allow it.
    #[error("{detail}")]
    State {
        /// What state it is in, and which it would have to be in.
        detail: String,
    },
    /// `if_match` names another version.
    #[error("{what} {id} was changed meanwhile: it is at version {now}")]
    Changed {
        /// `instance`, `peer`, …
        what: &'static str,
        /// Which.
        id: String,
        /// Its version now.
        now: i64,
    },
    /// The idempotency key stood for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// An enrolment token cannot be used, and why.
    #[error("{detail}")]
    Token {
        /// `token-spent`, `token-expired` or `token-revoked`, or `unauthenticated` for one that is not known.
        code: &'static str,
        /// In words.
        detail: String,
    },
    /// It was done too often lately.
    #[error("{detail}")]
    TooOften {
        /// What, how often, and in which time.
        detail: String,
        /// Seconds until it may be done again.
        retry_secs: u64,
    },
    /// The credential was revoked.
    #[error("this credential was revoked")]
    Revoked,
    /// The database is locked, away or full.
    #[error("the store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database is not what it should be: it stops here, and is never taken for an empty one.
    #[error("the store at {path} cannot be used")]
    Corrupt {
        /// File or URL without password.
        path: String,
        /// The database's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
