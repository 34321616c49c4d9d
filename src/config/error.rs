//! Why a site config is refused.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::domain::SiteConflict;

use super::FileError;

/// Where in a file something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// Finds line and column of a byte offset in a file's text.
    #[must_use]
    pub fn at(file: &Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// What kind of refusal a [`ConfigError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigClass {
    /// The file cannot be read or understood.
    Malformed,
    /// It is understood, and doing what it says could cut a network off.
    Safety,
}

/// Why a site config is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The site config itself cannot be read.
    #[error("cannot read the site config")]
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
    #[error("{place}: unknown key `{key}`")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key with its table.
        key: String,
        /// The way out.
        hint: String,
    },
    /// A key that must be there is not.
    #[error("{place}: `{key}` is missing")]
    Missing {
        /// The table it is missing from.
        place: Place,
        /// The key with its table.
        key: String,
        /// The way out.
        hint: String,
    },
    /// A value that is wrong.
    #[error("{place}: `{key}`: {problem}")]
    Value {
        /// Where.
        place: Place,
        /// The key with its table.
        key: String,
        /// What is wrong.
        problem: String,
        /// The way out.
        hint: Option<String>,
    },
    /// A file that the config names cannot be used.
    #[error("{place}: `{key}`")]
    SecretFile {
        /// Where it is named.
        place: Place,
        /// The key with its table.
        key: String,
        /// Why.
        source: FileError,
    },
    /// A safety rule.
    #[error("{place}")]
    Conflict {
        /// Where.
        place: Place,
        /// Which rule, and the prefixes.
        source: SiteConflict,
    },
}

impl ConfigError {
    /// Tells a malformed config from one that a safety rule refuses.
    #[must_use]
    pub fn class(&self) -> ConfigClass {
        match self {
            Self::Conflict { .. } => ConfigClass::Safety,
            _ => ConfigClass::Malformed,
        }
    }

    /// Returns a short word for machines, which stays.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(error) | Self::SecretFile { source: error, .. } => error.code(),
            Self::Syntax { .. } => "config-syntax",
            Self::UnknownKey { .. } => "config-unknown-key",
            Self::Missing { .. } => "config-missing-key",
            Self::Value { .. } => "config-value",
            Self::Conflict { source: SiteConflict::Broad { .. }, .. } => "broad-route",
            Self::Conflict { .. } => "overlap",
        }
    }

    /// Returns the way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) | Self::SecretFile { source: error, .. } => error.hint(),
            Self::Syntax { .. } => None,
            Self::UnknownKey { hint, .. } | Self::Missing { hint, .. } => Some(hint.clone()),
            Self::Value { hint, .. } => hint.clone(),
            Self::Conflict { source, .. } => Some(way_out(source)),
        }
    }
}

fn way_out(conflict: &SiteConflict) -> String {
    match conflict {
        SiteConflict::Broad { .. } => {
            "name the networks that are really meant: a broad route takes the router's own traffic into the tunnel"
                .into()
        }
        SiteConflict::AdvertiseReach { .. } => {
            "a network is either behind this site or reached through the hub: take it out of one of the lists".into()
        }
        SiteConflict::AdvertiseTunnel { .. } => {
            "give the tunnel a network that no site uses, or take the prefix out".into()
        }
        SiteConflict::SameTunnel(_) => "give the second tunnel a generation, a hub key and a port of its own".into(),
        SiteConflict::EndpointInTunnel { .. } => {
            "the way to the hub must not lead through its own tunnel: narrow `subnets.reach`".into()
        }
    }
}
