//! How RouterOS writes values, and when two writings mean the same.

use std::net::IpAddr;

use ipnet::IpNet;

use super::time::{format_duration, parse_duration};

/// How a field's values are written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any bytes; RouterOS declares no encoding.
    Text,
    /// `true`/`false` in replies, `yes`/`no` also taken.
    Bool,
    /// There or not; its value is empty.
    Flag,
    /// A decimal number.
    Number,
    /// `1m33s`, `00:01:33` or plain seconds.
    Duration,
    /// An address with the length of its network, host bits kept.
    HostPrefix,
    /// A prefix; a lone address is one of full length.
    Prefix,
    /// Prefixes parted by commas, in any order.
    Prefixes,
    /// Words parted by commas, in any order.
    Words,
}

/// Reads a prefix or a lone address as RouterOS prints either.
#[must_use]
pub fn parse_prefix(value: &[u8]) -> Option<IpNet> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn sorted_list(value: &[u8], each: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = value.split(|b| *b == b',').filter(|part| !part.is_empty()).map(each).collect();
    parts.sort_unstable();
    parts.dedup();
    parts.join(&b',')
}

impl Kind {
    /// Returns the value in the form in which equal values are equal bytes; one that is not of the kind stays as it is.
    #[must_use]
    pub fn canonical(self, value: &[u8]) -> Vec<u8> {
        let prefix = |value: &[u8]| parse_prefix(value).map(|net| net.trunc().to_string().into_bytes());
        match self {
            Self::Text | Self::Number => None,
            Self::Flag => Some(b"true".to_vec()),
            Self::Bool => match value {
                b"yes" | b"true" => Some(b"true".to_vec()),
                b"no" | b"false" => Some(b"false".to_vec()),
                _ => None,
            },
            Self::Duration => parse_duration(value).map(|d| format_duration(d).into_bytes()),
            Self::HostPrefix => parse_prefix(value).map(|net| net.to_string().into_bytes()),
            Self::Prefix => prefix(value),
            Self::Prefixes => Some(sorted_list(value, |part| prefix(part).unwrap_or_else(|| part.to_vec()))),
            Self::Words => Some(sorted_list(value, <[u8]>::to_vec)),
        }
        .unwrap_or_else(|| value.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writings_of_one_value_are_equal() {
        for (kind, a, b) in [
            (Kind::Bool, "yes", "true"),
            (Kind::Bool, "no", "false"),
            (Kind::Duration, "25", "25s"),
            (Kind::Duration, "00:00:25", "25s"),
            (Kind::Duration, "1m33s", "93"),
            (Kind::Prefix, "10.1.2.3", "10.1.2.3/32"),
            (Kind::Prefix, "10.1.2.3/8", "10.0.0.0/8"),
            (Kind::Prefixes, "fd00::/64,10.0.0.0/8", "10.0.0.0/8,fd00::/64"),
            (Kind::Words, "related,established", "established,related"),
        ] {
            assert_eq!(kind.canonical(a.as_bytes()), kind.canonical(b.as_bytes()), "{a} {b}");
        }
    }

    #[test]
    fn a_value_of_another_kind_stays_as_it_is() {
        for kind in [Kind::Bool, Kind::Duration, Kind::Prefix, Kind::HostPrefix, Kind::Text] {
            assert_eq!(kind.canonical(b"caf\xe9"), b"caf\xe9", "{kind:?}");
        }
        assert_eq!(Kind::HostPrefix.canonical(b"10.99.0.2/24"), b"10.99.0.2/24");
    }
}
