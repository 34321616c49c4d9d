//! A row of a router, kept apart from the connection that read it.

use std::borrow::Cow;

use crate::domain::Marker;
use crate::routeros::Row;
use crate::routeros::menu::{Field, Menu};

/// A row as the router gave it: names and values, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    fields: Vec<(Box<str>, Box<[u8]>)>,
}

impl Entry {
    /// Makes an entry of names and values.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        Self { fields: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// Copies a row out of the buffer it was read into.
    #[must_use]
    pub fn of_row(row: &Row) -> Self {
        let pairs = row.iter().map(|(name, value)| (String::from_utf8_lossy(name).into(), value.into()));
        Self { fields: pairs.collect() }
    }

    /// Returns a value by the router's name for it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(have, _)| **have == *name).map(|(_, value)| &**value)
    }

    /// Puts a value in, over the one that was there.
    pub(super) fn put(&mut self, name: &str, value: &[u8]) {
        self.fields.retain(|(have, _)| **have != *name);
        self.fields.push((name.into(), value.into()));
    }

    /// Returns a value by our table's field, whatever the version calls it.
    #[must_use]
    pub fn value(&self, field: &Field) -> Option<&[u8]> {
        field.spellings().find_map(|name| self.get(name))
    }

    /// Returns a value as text for people; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(String::from_utf8_lossy)
    }

    /// Returns a value parsed from its text, or `None` if it is absent or malformed.
    #[must_use]
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        std::str::from_utf8(self.get(name)?).ok()?.parse().ok()
    }

    /// Tells whether a boolean field is there and true.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some(b"true" | b"yes"))
    }

    /// Returns the opaque id; empty for a singleton.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        self.get(".id").unwrap_or_default()
    }

    /// Returns the marker in the comment, if the row is ours or another site's.
    ///
    /// A dynamic row was made by the router itself and is never ours, whatever comment it copied.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        if self.is_true("dynamic") { None } else { Marker::of_comment(self.get("comment")?) }
    }

    /// Tells whether a route is in use: RouterOS prints `active`, or leaves it out and prints `inactive`.
    #[must_use]
    pub fn is_active_route(&self) -> bool {
        self.is_true("active")
            || (self.get("active").is_none() && !self.is_true("inactive") && !self.is_true("disabled"))
    }

    /// Returns the interface a route leads to, without the table or zone that may follow it.
    #[must_use]
    pub fn gateway_interface(&self) -> Option<&[u8]> {
        self.get("gateway")?.rsplit(|b| *b == b'%').next()?.split(|b| *b == b'@').next()
    }

    /// Returns the row's canonical value of a field: equal values are equal bytes.
    #[must_use]
    pub fn canonical(&self, menu: &Menu, name: &str) -> Vec<u8> {
        menu.field(name).map(|field| field.canonical(self.value(field))).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes an entry from `name=value` texts.
    pub(crate) fn entry(pairs: &[&str]) -> Entry {
        Entry::new(pairs.iter().map(|pair| pair.split_once('=').map(|(n, v)| (n, v.as_bytes())).unwrap()))
    }

    #[test]
    fn a_dynamic_row_is_never_ours() {
        assert!(entry(&[".id=*1", "comment=sitepeer:k3f9q2:ours:10.0.0.0/8"]).marker().is_some());
        assert!(entry(&[".id=*1", "comment=sitepeer:k3f9q2:ours:10.0.0.0/8", "dynamic=true"]).marker().is_none());
    }
}
