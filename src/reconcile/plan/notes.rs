//! The words behind a marker.

use super::FieldChange;
use crate::domain::Marker;
use crate::reconcile::desired::{Note, Value};
use crate::reconcile::entry::Entry;

/// Returns what a row's note says, if it has it.
#[must_use]
pub fn note<'a>(comment: &'a str, name: &str) -> Option<&'a str> {
    comment.split_whitespace().skip(1).find_map(|word| word.strip_prefix(name))
}

/// The comment with our notes as they must be, if they are not: what people wrote is kept.
pub fn renoted(marker: &Marker, notes: &[Note], entry: &Entry) -> Option<FieldChange> {
    let old = entry.text("comment").unwrap_or_default().into_owned();
    if notes.iter().all(|wanted| note(&old, wanted.name) == wanted.value.as_deref()) {
        return None;
    }
    let is_note = |word: &&str| notes.iter().any(|note| word.starts_with(note.name));
    let ours = notes.iter().filter_map(|note| Some(format!("{}{}", note.name, note.value.as_ref()?)));
    let theirs = old.split_whitespace().skip(1).filter(|word| !is_note(word)).map(str::to_owned);
    let words: Vec<String> = std::iter::once(marker.to_string()).chain(ours).chain(theirs).collect();
    Some(FieldChange { name: "comment", from: Some(old.clone()), to: Value::Plain(words.join(" ")) })
}

/// The new marker, with whatever stood behind the old one.
pub fn remarked(marker: &Marker, entry: &Entry) -> String {
    let old = entry.text("comment").unwrap_or_default().into_owned();
    match old.split_once(char::is_whitespace) {
        Some((_, behind)) => format!("{marker} {behind}"),
        None => marker.to_string(),
    }
}
