//! Rows as the device keeps them: ordered, with ids that are never used twice.

use std::time::Instant;

/// The first id of rows that RouterOS makes itself in `/ip/route`. *Source*: REST samples show `*80000001`.
pub(crate) const FIRST_DYNAMIC_ROUTE: u32 = 0x8000_0001;

/// The configured fields of a row, in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_slice())
    }

    /// The value if it is UTF-8, which all but comments and scripts are.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value.as_bytes())
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self.0.iter_mut().find(|(k, _)| k == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Sets a field that has no value yet.
    pub(crate) fn set_default(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.0.retain(|(k, _)| k != name);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_slice()))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = (&str, &mut Vec<u8>)> {
        self.0.iter_mut().map(|(k, v)| (k.as_str(), v))
    }
}

/// Who made a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A user: it can be changed.
    Configured,
    /// RouterOS, from what the key names; it goes when that goes.
    Dynamic(String),
    /// It came with the system and stays.
    Builtin,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: u32,
    pub(crate) fields: Fields,
    pub(crate) origin: Origin,
    /// When it removes itself: an address-list entry with a timeout.
    pub(crate) expires: Option<Instant>,
}

impl Item {
    pub(crate) fn is_dynamic(&self) -> bool {
        matches!(self.origin, Origin::Dynamic(_))
    }

    pub(crate) fn is_enabled(&self) -> bool {
        !self.fields.is("disabled", "true")
    }
}

/// The rows of one menu.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    items: Vec<Item>,
    next: u32,
    next_dynamic: Option<u32>,
}

impl Table {
    pub(crate) fn new(first: u32) -> Self {
        Self { items: Vec::new(), next: first, next_dynamic: None }
    }

    /// Gives rows of RouterOS's own a range of ids of their own.
    pub(crate) fn with_dynamic_from(mut self, first: u32) -> Self {
        self.next_dynamic = Some(first);
        self
    }

    /// Adds a row before the one at `index`, or at the end, and returns its id.
    pub(crate) fn insert(&mut self, index: Option<usize>, fields: Fields, origin: Origin) -> u32 {
        let is_dynamic = matches!(origin, Origin::Dynamic(_));
        let counter = match &mut self.next_dynamic {
            Some(next) if is_dynamic => next,
            _ => &mut self.next,
        };
        let id = *counter;
        *counter = counter.wrapping_add(1);
        self.insert_with_id(index, id, fields, origin);
        id
    }

    pub(crate) fn insert_with_id(&mut self, index: Option<usize>, id: u32, fields: Fields, origin: Origin) {
        let at = index.unwrap_or(self.items.len()).min(self.items.len());
        self.items.insert(at, Item { id, fields, origin, expires: None });
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(crate) fn items_mut(&mut self) -> &mut [Item] {
        &mut self.items
    }

    pub(crate) fn position(&self, id: u32) -> Option<usize> {
        self.items.iter().position(|item| item.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.id == id)
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Item> {
        self.position(id).map(|at| self.items.remove(at))
    }

    /// Moves rows before another, or to the end, keeping their order.
    pub(crate) fn relocate(&mut self, ids: &[u32], before: Option<u32>) {
        let moved: Vec<Item> = ids.iter().filter_map(|id| self.remove(*id)).collect();
        let at = before.and_then(|id| self.position(id)).unwrap_or(self.items.len());
        self.items.splice(at..at, moved);
    }

    /// Makes the rows what they were in an earlier copy of this table; returns the rows that changed, and whether they are gone.
    pub(crate) fn go_back_to(&mut self, earlier: &Self) -> Vec<(u32, bool)> {
        let now = std::mem::replace(&mut self.items, earlier.items.clone());
        let of = |items: &[Item], id: u32| items.iter().find(|item| item.id == id).map(|item| item.fields.clone());
        let ids: std::collections::BTreeSet<u32> = now.iter().chain(&self.items).map(|item| item.id).collect();
        let changed = ids.into_iter().filter(|id| of(&now, *id) != of(&self.items, *id));
        changed.map(|id| (id, of(&self.items, id).is_none())).collect()
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Item) -> bool) {
        self.items.retain(keep);
    }
}

/// An id as the API writes it.
pub(crate) fn show_id(id: u32) -> String {
    format!("*{id:X}")
}

pub(crate) fn parse_id(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix('*')?, 16).ok()
}
