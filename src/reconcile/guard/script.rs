//! Lines of a script that puts a router back.
//!
//! Every line is wrapped so that one that fails does not stop those behind it, and says the same when it is run again. Names and
//! comments stand in quotes as [`quote`] writes them; what stands outside quotes comes from our tables.

use crate::reconcile::entry::Entry;
use crate::render::quote;
use crate::routeros::menu::{Access, Field, Kind, Menu};

/// How a script finds a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// By its comment, which no other row of the menu has.
    Comment(Vec<u8>),
    /// By its id: a row of others without a comment of its own.
    Id(String),
}

impl Who {
    /// Returns how to find a row among those of its menu.
    pub(super) fn of(row: &Entry, rows: &[Entry]) -> Self {
        let comment = row.get("comment").unwrap_or_default();
        let alike = rows.iter().filter(|other| other.get("comment") == Some(comment)).count();
        if comment.is_empty() || alike > 1 {
            Self::Id(String::from_utf8_lossy(row.id()).into_owned())
        } else {
            Self::Comment(comment.to_vec())
        }
    }

    /// The expression for the row; nothing is found where it is gone.
    pub(super) fn found(&self, menu: &Menu) -> String {
        let path = menu.path;
        match self {
            Self::Comment(comment) => format!("[{path}/find where comment={}]", quote(comment)),
            // An id is the router's own word, `*` and digits: `observe` takes no other.
            Self::Id(id) => format!("[{path}/find where .id={}]", plain_id(id)),
        }
    }
}

/// Whatever could end the word is left out: the row is then not found, which harms nothing.
fn plain_id(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '*').collect()
}

/// One command that may fail.
pub(super) fn line(command: &str) -> String {
    format!(":do {{ {command} }} on-error={{}}\n")
}

/// `name="value"` as the console takes it.
pub(super) fn argument(field: Option<&Field>, name: &str, value: &[u8]) -> String {
    let said: &[u8] = match (field.map(|field| field.kind), value) {
        (Some(Kind::Bool), b"true") => b"yes",
        (Some(Kind::Bool), b"false") => b"no",
        _ => value,
    };
    format!("{name}={}", quote(said))
}

/// All that a row says and that can be written again.
pub(super) fn arguments(menu: &Menu, row: &Entry) -> String {
    let writable = menu.fields.iter().filter(|field| matches!(field.access, Access::Config | Access::Matcher));
    let said = writable.filter_map(|field| {
        let spelled = field.spellings().find_map(|name| Some((name, row.get(name)?)));
        spelled.map(|(name, value)| argument(Some(field), name, value))
    });
    said.collect::<Vec<_>>().join(" ")
}
