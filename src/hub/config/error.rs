//! Why a hub's settings are refused.

use std::fmt;

use crate::config::{FileError, Place};

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// The file, and where in it.
    File(Place),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => place.fmt(f),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// Why a hub's settings are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubConfigError {
    /// The file cannot be read.
    #[error("cannot read the hub's config")]
    File(#[source] FileError),
    /// Not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// The TOML parser's words.
        message: String,
    },
    /// A key that nothing reads.
    #[error("{origin}: unknown key `{key}`")]
    Unknown {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// The way out.
        hint: String,
    },
    /// A value that is wrong, or does not go with another.
    #[error("{origin}: `{key}`: {problem}")]
    Value {
        /// Where.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// The way out.
        hint: Option<String>,
    },
    /// A file that a value names cannot be used.
    #[error("{origin}: `{key}`")]
    Named {
        /// Where it is named.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: FileError,
    },
}

impl HubConfigError {
    /// Returns a short word for machines, which stays.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(error) | Self::Named { source: error, .. } => error.code(),
            Self::Syntax { .. } => "config-syntax",
            Self::Unknown { .. } => "config-unknown-key",
            Self::Value { .. } => "config-value",
        }
    }

    /// Returns the way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) | Self::Named { source: error, .. } => error.hint(),
            Self::Syntax { .. } => None,
            Self::Unknown { hint, .. } => Some(hint.clone()),
            Self::Value { hint, .. } => hint.clone(),
        }
    }
}
