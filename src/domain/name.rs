//! Names that people and rows carry.

use std::fmt;
use std::str::FromStr;

/// The immutable short id of a site, `[a-z0-9]{4,12}`: it marks our rows on the router.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(String);

/// An instance's name for people: a DNS label of 1 to 20 characters, which may change.
///
/// 20, so that the interface `sitepeer-<instance>` stays short enough for every RouterOS table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(String);

/// Why a text is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not `[a-z0-9]{4,12}`.
    #[error("a site id has 4 to 12 characters of a-z and 0-9")]
    SiteId,
    /// Not a DNS label of at most 20 characters.
    #[error("an instance name is a DNS label: 1 to 20 characters of a-z, 0-9 and '-', not first or last '-'")]
    Instance,
}

impl SiteId {
    /// Returns the id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (4..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidName::SiteId) }
    }
}

impl InstanceName {
    /// Returns the name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=20).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidName::Instance) }
    }
}

macro_rules! shown_as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    )*};
}
shown_as_text!(SiteId, InstanceName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_id_is_4_to_12_lower_case_letters_and_digits() {
        for good in ["k3f9q2", "abcd", "abcdefghijkl"] {
            assert!(good.parse::<SiteId>().is_ok(), "{good}");
        }
        for bad in ["", "abc", "abcdefghijklm", "K3f9q2", "k3f9-2", "k3f9:2", "k3f9 2", "k3f9ä"] {
            assert_eq!(bad.parse::<SiteId>(), Err(InvalidName::SiteId), "{bad}");
        }
    }

    #[test]
    fn an_instance_name_is_a_short_dns_label() {
        for good in ["a", "acme", "acme-2", "0123456789abcdefghij"] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "Acme", "a_b", "a\"b", "0123456789abcdefghijk"] {
            assert_eq!(bad.parse::<InstanceName>(), Err(InvalidName::Instance), "{bad}");
        }
    }
}
