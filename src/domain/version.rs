//! RouterOS versions.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A RouterOS version such as `7.9`, `7.15.3` or `7.22rc2`: ordered as numbers, an unknown suffix is kept.
///
/// `/system/resource` prints it as `7.24 (stable)`; the channel in brackets is left out here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterOsVersion {
    major: u16,
    minor: u16,
    patch: u16,
    suffix: String,
}

/// The text does not begin with `<number>.<number>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a RouterOS version such as 7.15.3")]
pub struct InvalidVersion(String);

impl RouterOsVersion {
    /// Makes a release version without suffix.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch, suffix: String::new() }
    }

    /// Returns the first number: 6 or 7.
    #[must_use]
    pub fn major(&self) -> u16 {
        self.major
    }

    fn numbers(&self) -> (u16, u16, u16) {
        (self.major, self.minor, self.patch)
    }
}

impl FromStr for RouterOsVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let shown = || InvalidVersion(text.chars().take(40).collect());
        let word = text.split_whitespace().next().ok_or_else(shown)?;
        let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let (numbers, suffix) = word.split_at(end);
        let mut parts = numbers.trim_end_matches('.').split('.');
        let mut next = || parts.next().map(|p| p.parse::<u16>().map_err(|_| shown()));
        let major = next().ok_or_else(shown)??;
        let minor = next().ok_or_else(shown)??;
        let patch = next().transpose()?.unwrap_or(0);
        Ok(Self { major, minor, patch, suffix: suffix.to_owned() })
    }
}

impl Ord for RouterOsVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        // A pre-release (`7.15rc2`, `7.15beta8`) comes before its release; among themselves as texts.
        self.numbers()
            .cmp(&other.numbers())
            .then_with(|| self.suffix.is_empty().cmp(&other.suffix.is_empty()))
            .then_with(|| self.suffix.cmp(&other.suffix))
    }
}

impl PartialOrd for RouterOsVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RouterOsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch != 0 {
            write!(f, ".{}", self.patch)?;
        }
        f.write_str(&self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> RouterOsVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(v("7.9") < v("7.12.2"));
        assert!(v("7.12.2") < v("7.20"));
        assert!(v("6.49.10 (long-term)") < v("7.1"));
        assert_eq!(v("7.24 (stable)"), RouterOsVersion::new(7, 24, 0));
    }

    #[test]
    fn a_release_candidate_comes_before_its_release() {
        assert!(v("7.15rc2") < v("7.15"));
        assert!(v("7.14.9") < v("7.15rc2"));
        assert!(v("7.15beta8") < v("7.15rc2"));
        assert_eq!(v("7.22rc2 (testing)").to_string(), "7.22rc2");
    }

    #[test]
    fn other_texts_are_no_versions() {
        for bad in ["", "7", "seven", "7.x", "70000.1"] {
            assert!(bad.parse::<RouterOsVersion>().is_err(), "{bad}");
        }
    }
}
