//! One table per RouterOS menu: its path, its fields with their types, and what changed between versions.
//!
//! Adding a menu adds a table, not code. Field names are RouterOS's own; where a version has another name for a field,
//! the table says so and [`Field::name_on`] answers for a device. *Source:* the menus' schemas of 7.9 to 7.24 and
//! the CLI reference, both recorded in `src/sim/data/`.

mod tables;
mod time;
mod value;

pub use tables::{
    ADDRESS_LIST, ADDRESS_LIST6, CLOCK, FILTER, FILTER6, HEALTH, IDENTITY, INTERFACE, INTERFACE_LIST, IP_ADDRESS,
    IP_ADDRESS6, IP_ROUTE, IP_ROUTE6, LIST_MEMBER, MANGLE, MANGLE6, NAT, NAT6, PEERS, RESOURCE, ROUTERBOARD,
    ROUTING_TABLE, SCHEDULER, SCRIPT, SERVICE, USER, USER_ACTIVE, USER_GROUP, WIREGUARD,
};
pub use time::{clock_seconds, format_duration, parse_duration};
pub use value::{Kind, parse_prefix};

use crate::domain::RouterOsVersion;

/// A RouterOS menu.
#[derive(Debug, PartialEq, Eq)]
pub struct Menu {
    /// Its path, such as `/ip/address`.
    pub path: &'static str,
    /// The fields that we read or write; the menu may have more.
    pub fields: &'static [Field],
    /// Which family's prefixes its rows hold, where that matters.
    pub family: Family,
    /// Whether the order of its rows has a meaning: then `place-before` and `move` exist.
    pub ordered: bool,
}

/// The address family a menu is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Neither.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A field of a menu's rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// RouterOS's name in the newest version.
    pub name: &'static str,
    /// How its values are written and compared.
    pub kind: Kind,
    /// What a row without the field has.
    pub default: Option<&'static str>,
    /// Who may read and write it.
    pub access: Access,
    /// Its names by version, oldest first, where it was not always there or was called otherwise.
    pub names: &'static [Name],
}

/// What a field is called from a version on.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    /// The first version, as major and minor number.
    pub since: (u16, u16),
    /// The name.
    pub name: &'static str,
}

/// Who may read and write a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Configuration.
    Config,
    /// Configuration that RouterOS lets us take away again only by `unset`: a matcher of a rule.
    Matcher,
    /// State that RouterOS reports.
    ReadOnly,
    /// Configuration shown only to users with the policy `sensitive`; asked for only when needed.
    Secret,
}

impl Menu {
    /// Returns the table's entry for a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the names to ask for: all but the secrets, in every spelling the versions have.
    ///
    /// A name that a version does not know is left out of its answer.
    pub fn proplist(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.fields.iter().filter(|field| field.access != Access::Secret).flat_map(Field::spellings)
    }
}

impl Field {
    /// Returns every name the field has or had.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        let newest = self.name;
        let older = self.names.iter().map(|n| n.name).filter(move |name| *name != newest);
        std::iter::once(newest).chain(older)
    }

    /// Returns the field's name on a version, or `None` if that version does not have it.
    #[must_use]
    pub fn name_on(&self, version: &RouterOsVersion) -> Option<&'static str> {
        if self.names.is_empty() {
            return Some(self.name);
        }
        let holds = |name: &&Name| RouterOsVersion::new(name.since.0, name.since.1, 0) <= *version;
        self.names.iter().rev().find(holds).map(|name| name.name)
    }

    /// Returns the value in the form in which equal values are equal bytes; an absent one is the default.
    #[must_use]
    pub fn canonical(&self, value: Option<&[u8]>) -> Vec<u8> {
        match value.or(self.default.map(str::as_bytes)) {
            Some(value) => self.kind.canonical(value),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_field_has_the_name_of_the_version() {
        let responder = PEERS.field("responder").unwrap();
        for (version, name) in [
            ("7.14.3", None),
            ("7.15", Some("is-responder")),
            ("7.16.2", Some("is-responder")),
            ("7.17", Some("responder")),
            ("7.24", Some("responder")),
        ] {
            assert_eq!(responder.name_on(&version.parse().unwrap()), name, "{version}");
        }
    }

    #[test]
    fn a_secret_is_never_in_a_plain_proplist() {
        assert!(PEERS.proplist().all(|name| name != "preshared-key"));
        assert!(PEERS.proplist().any(|name| name == "is-responder"));
    }
}
