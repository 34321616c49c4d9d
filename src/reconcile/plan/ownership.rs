//! Which rows are ours beyond doubt.

use std::collections::BTreeMap;

use crate::domain::{Marker, Role, SiteId};
use crate::reconcile::desired::{DesiredRow, Value};
use crate::reconcile::entry::Entry;
use crate::reconcile::observe::Observed;
use crate::routeros::menu::{self, Menu};

/// A row that is ours.
#[derive(Clone, Debug)]
pub struct OwnRow<'a> {
    /// Where it is.
    pub menu: &'static Menu,
    /// What its comment says.
    pub marker: Marker,
    /// What it says.
    pub entry: &'a Entry,
}

/// A doubt about the ownership of rows: reported, and nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// `WinBox` copies comments along with rows.
    #[error("{count} rows of {path} carry the marker {marker}")]
    Twice {
        /// The menu.
        path: &'static str,
        /// The marker.
        marker: Marker,
        /// How many rows have it.
        count: usize,
    },
    /// The marker says one thing and the row another.
    #[error("a row of {path} carries the marker {marker}, but its {field} is {value:?}")]
    NotWhatItSays {
        /// The menu.
        path: &'static str,
        /// The marker.
        marker: Marker,
        /// The field that tells.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// A marker in a menu where such a row cannot be.
    #[error("a row of {path} carries the marker {marker}, which has no place in that menu")]
    WrongMenu {
        /// The menu.
        path: &'static str,
        /// The marker.
        marker: Marker,
    },
    /// A role of a newer version.
    #[error("a row of {path} carries the marker {marker}, whose role this version of sitepeer does not know")]
    UnknownRole {
        /// The menu.
        path: &'static str,
        /// The marker.
        marker: Marker,
    },
}

impl Ambiguity {
    /// Returns the way out, for people.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownRole { .. } => "a newer sitepeer made this row: use that version, or its `remove`",
            _ => "look at these rows; take the comment off, or remove, the one that sitepeer did not make",
        }
    }
}

/// Returns a site's rows in the order of menus and rows.
///
/// `desired` says what identifies a row that is wanted; with none, as for a removal, the marker's key alone does.
///
/// # Errors
/// Every doubt there is.
pub fn own_rows<'a>(
    site: &SiteId,
    desired: &[DesiredRow],
    observed: &'a Observed,
) -> Result<Vec<OwnRow<'a>>, Vec<Ambiguity>> {
    let rows: Vec<OwnRow<'a>> = observed
        .marked()
        .filter(|(_, _, marker)| marker.site == *site)
        .map(|(menu, entry, marker)| OwnRow { menu, marker, entry })
        .collect();
    let mut doubts = duplicates(&rows);
    for row in &rows {
        let interface = row
            .marker
            .generation()
            .and_then(|generation| interface_name(&rows, &Marker::of_tunnel(site, Role::Interface, generation)));
        doubts.extend(doubt(row, desired, interface, observed));
    }
    if doubts.is_empty() { Ok(rows) } else { Err(doubts) }
}

/// Returns the present names of our interfaces, whatever they should be.
pub fn interface_names<'a>(rows: &[OwnRow<'a>]) -> impl Iterator<Item = &'a [u8]> {
    let interfaces = rows.iter().filter(|row| row.marker.role == Role::Interface && row.menu == &menu::WIREGUARD);
    interfaces.filter_map(|row| row.entry.get("name"))
}

/// Returns the present name of the interface with a marker.
pub(super) fn interface_name<'a>(rows: &[OwnRow<'a>], marker: &Marker) -> Option<&'a [u8]> {
    rows.iter().find(|row| row.marker == *marker && row.menu == &menu::WIREGUARD)?.entry.get("name")
}

fn duplicates(rows: &[OwnRow<'_>]) -> Vec<Ambiguity> {
    let mut seen: BTreeMap<(&'static str, &Marker), usize> = BTreeMap::new();
    for row in rows {
        *seen.entry((row.menu.path, &row.marker)).or_default() += 1;
    }
    let twice = seen.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|((path, marker), count)| Ambiguity::Twice { path, marker: marker.clone(), count }).collect()
}

fn doubt(row: &OwnRow<'_>, desired: &[DesiredRow], interface: Option<&[u8]>, observed: &Observed) -> Option<Ambiguity> {
    let (path, marker) = (row.menu.path, row.marker.clone());
    let wanted = desired.iter().find(|wanted| wanted.marker == row.marker && wanted.menu == row.menu);
    if let Role::Unknown(_) = marker.role {
        // A removal takes it out; a plan cannot know what it is for.
        return (!desired.is_empty()).then_some(Ambiguity::UnknownRole { path, marker });
    }
    if !menus_of(&marker.role).contains(&path) {
        return Some(Ambiguity::WrongMenu { path, marker });
    }
    let not = |field: &'static str| {
        let value = row.entry.text(field).unwrap_or_default().into_owned();
        Some(Ambiguity::NotWhatItSays { path, marker: marker.clone(), field, value })
    };
    if let (Some(field), Some(key)) = (key_field(&marker.role), &marker.key) {
        let meant = row.menu.field(field).map(|f| f.canonical(Some(key.as_bytes())));
        if meant != Some(row.entry.canonical(row.menu, field)) {
            return not(field);
        }
    }
    for field in wanted.map_or(&[][..], |wanted| wanted.identity) {
        let value = wanted.and_then(|w| w.wants(field)).map(Value::as_bytes);
        let meant = row.menu.field(field).map(|f| f.canonical(value));
        let have = row.entry.canonical(row.menu, field);
        // Our interface by its old name, or what RouterOS shows once that is gone: drift, to be put back.
        let is_there = |name: &[u8]| observed.rows(&menu::INTERFACE).iter().any(|row| row.get("name") == Some(name));
        let was_ours = *field == "interface" && (interface == Some(have.as_slice()) || !is_there(&have));
        if meant.as_ref() != Some(&have) && !was_ours {
            return not(field);
        }
    }
    None
}

/// The field that a role's key repeats.
fn key_field(role: &Role) -> Option<&'static str> {
    match role {
        Role::Route => Some("dst-address"),
        Role::Address | Role::Ours | Role::Theirs => Some("address"),
        _ => None,
    }
}

/// Where rows of a role can be.
fn menus_of(role: &Role) -> &'static [&'static str] {
    match role {
        Role::Interface => &["/interface/wireguard"],
        Role::Peer => &["/interface/wireguard/peers"],
        Role::InterfaceList => &["/interface/list"],
        Role::ListMember => &["/interface/list/member"],
        Role::Address => &["/ip/address", "/ipv6/address"],
        Role::Route => &["/ip/route", "/ipv6/route"],
        Role::Ours | Role::Theirs | Role::Lock => &["/ip/firewall/address-list", "/ipv6/firewall/address-list"],
        Role::ForwardIn | Role::ForwardOut | Role::InputPort | Role::InputIcmp => {
            &["/ip/firewall/filter", "/ipv6/firewall/filter"]
        }
        Role::NoNat => &["/ip/firewall/nat", "/ipv6/firewall/nat"],
        Role::Mss => &["/ip/firewall/mangle", "/ipv6/firewall/mangle"],
        // Not in a menu whose rows are planned.
        Role::Guard | Role::Unknown(_) => &[],
    }
}
