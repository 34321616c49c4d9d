//! What a device refuses, in RouterOS's words.

use std::collections::HashMap;

use serde::Deserialize;

use crate::sim::schema::{BadValue, SchemaError};

const TEXTS: &str = include_str!("../data/errors.json");

/// A `!trap` as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The number of `=category=`, where RouterOS sends one.
    pub category: Option<u8>,
    /// The text of `=message=`.
    pub message: String,
}

/// Why a command is refused; `data/errors.json` has the words of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoSuchItem,
    NoSuchCommand,
    NoSuchMenu,
    UnknownParameter(String),
    MissingArgument(String),
    Value(BadValue, String),
    NoPermission,
    NotLoggedIn,
    BadLogin,
    BadChallenge,
    AccessDenied,
    Interrupted,
    TooManyCommands,
    DynamicItem,
    BuiltinItem,
    ResolveFailed,
    WriteFault,
    DeviceMode,
    SafeModeHeld,
    SafeModeNotHeld,
    /// A script that ended before its end, in its own words.
    Script(String),
    Same(Same),
}

/// What is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Same {
    Address,
    Interface,
    ListEntry,
    Entry,
    Name,
    User,
}

impl Refusal {
    fn key(&self) -> (&'static str, &str) {
        match self {
            Self::NoSuchItem => ("no-such-item", ""),
            Self::NoSuchCommand => ("no-such-command", ""),
            Self::NoSuchMenu => ("no-such-menu", ""),
            Self::UnknownParameter(name) => ("unknown-parameter", name),
            Self::MissingArgument(name) => ("missing-argument", name),
            Self::Value(why, name) => (value_key(*why), name),
            Self::NoPermission => ("no-permission", ""),
            Self::NotLoggedIn => ("not-logged-in", ""),
            Self::BadLogin => ("bad-login", ""),
            Self::BadChallenge => ("bad-challenge", ""),
            Self::AccessDenied => ("access-denied", ""),
            Self::Interrupted => ("interrupted", ""),
            Self::TooManyCommands => ("too-many-commands", ""),
            Self::DynamicItem => ("dynamic-item", ""),
            Self::BuiltinItem => ("builtin-item", ""),
            Self::ResolveFailed => ("resolve-failed", ""),
            Self::WriteFault => ("write-fault", ""),
            Self::DeviceMode => ("device-mode", ""),
            Self::SafeModeHeld => ("safe-mode-held", ""),
            Self::SafeModeNotHeld => ("safe-mode-not-held", ""),
            Self::Script(words) => ("script", words),
            Self::Same(same) => (same_key(*same), ""),
        }
    }
}

fn value_key(why: BadValue) -> &'static str {
    match why {
        BadValue::Invalid => "invalid-value",
        BadValue::NoMatch => "no-match",
        BadValue::Ambiguous => "ambiguous",
        BadValue::MacRequired => "mac-required",
        BadValue::RangeExpected => "range-expected",
        BadValue::RangeWithoutStart => "range-without-start",
    }
}

fn same_key(same: Same) -> &'static str {
    match same {
        Same::Address => "same-address",
        Same::Interface => "same-interface",
        Same::ListEntry => "same-list-entry",
        Same::Entry => "same-entry",
        Same::Name => "same-name",
        Same::User => "same-user",
    }
}

#[derive(Deserialize)]
struct TextFile {
    errors: Vec<TextEntry>,
}

#[derive(Deserialize)]
struct TextEntry {
    id: String,
    category: Option<u8>,
    text: String,
}

/// The words of every refusal.
pub(crate) struct Texts(HashMap<String, (Option<u8>, String)>);

impl Texts {
    /// Reads the texts built into the program.
    ///
    /// # Errors
    /// [`SchemaError::Json`] if they are malformed.
    pub(crate) fn load() -> Result<Self, SchemaError> {
        let file: TextFile = serde_json::from_str(TEXTS)?;
        Ok(Self(file.errors.into_iter().map(|e| (e.id, (e.category, e.text))).collect()))
    }

    pub(crate) fn trap(&self, refusal: &Refusal) -> Trap {
        let (id, name) = refusal.key();
        match self.0.get(id) {
            Some((category, text)) => {
                Trap { category: *category, message: text.replace("<name>", name).replace("<arg>", name) }
            }
            None => Trap { category: None, message: format!("failure: {id}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_text() {
        let texts = Texts::load().unwrap();
        let values = [
            BadValue::Invalid,
            BadValue::NoMatch,
            BadValue::Ambiguous,
            BadValue::MacRequired,
            BadValue::RangeExpected,
            BadValue::RangeWithoutStart,
        ];
        let sames = [Same::Address, Same::Interface, Same::ListEntry, Same::Entry, Same::Name, Same::User];
        let plain = [
            Refusal::NoSuchItem,
            Refusal::NoSuchCommand,
            Refusal::NoSuchMenu,
            Refusal::UnknownParameter("x".into()),
            Refusal::MissingArgument("x".into()),
            Refusal::NoPermission,
            Refusal::NotLoggedIn,
            Refusal::BadLogin,
            Refusal::BadChallenge,
            Refusal::AccessDenied,
            Refusal::Interrupted,
            Refusal::TooManyCommands,
            Refusal::DynamicItem,
            Refusal::BuiltinItem,
            Refusal::ResolveFailed,
            Refusal::WriteFault,
            Refusal::DeviceMode,
            Refusal::SafeModeHeld,
            Refusal::SafeModeNotHeld,
            Refusal::Script("x".into()),
        ];
        let all =
            plain.into_iter().chain(values.map(|v| Refusal::Value(v, "x".into()))).chain(sames.map(Refusal::Same));
        for refusal in all {
            assert!(texts.0.contains_key(refusal.key().0), "{refusal:?}");
            assert!(!texts.trap(&refusal).message.contains('<'), "{refusal:?}");
        }
    }
}
