//! The words behind a marker.
//!
//! A comment is bytes: RouterOS declares no encoding, and what people wrote goes back as it came.

use super::FieldChange;
use crate::domain::Marker;
use crate::reconcile::desired::{Note, Value};
use crate::reconcile::entry::Entry;

/// The words behind the marker.
fn words(comment: &[u8]) -> impl Iterator<Item = &[u8]> {
    comment.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).skip(1)
}

/// Returns what a row's note says, if it has it.
#[must_use]
pub fn note<'a>(comment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    words(comment).find_map(|word| word.strip_prefix(name.as_bytes()))
}

/// The comment with our notes as they must be, if they are not: what people wrote is kept.
pub fn renoted(marker: &Marker, notes: &[Note], entry: &Entry) -> Option<FieldChange> {
    let old = entry.get("comment").unwrap_or_default();
    if notes.iter().all(|wanted| note(old, wanted.name) == wanted.value.as_deref().map(str::as_bytes)) {
        return None;
    }
    let is_note = |word: &&[u8]| notes.iter().any(|note| word.starts_with(note.name.as_bytes()));
    let ours = notes.iter().filter_map(|note| Some(format!("{}{}", note.name, note.value.as_ref()?).into_bytes()));
    let theirs = words(old).filter(|word| !is_note(word)).map(<[u8]>::to_vec);
    let all: Vec<Vec<u8>> = std::iter::once(marker.to_string().into_bytes()).chain(ours).chain(theirs).collect();
    let from = Some(String::from_utf8_lossy(old).into_owned());
    Some(FieldChange { name: "comment", from, to: Value::Bytes(all.join(&b' ')) })
}

/// The new marker, with whatever stood behind the old one.
pub fn remarked(marker: &Marker, entry: &Entry) -> Vec<u8> {
    let old = entry.get("comment").unwrap_or_default();
    let behind = old.iter().position(u8::is_ascii_whitespace).and_then(|at| old.get(at..)).unwrap_or_default();
    [marker.to_string().as_bytes(), behind].concat()
}
