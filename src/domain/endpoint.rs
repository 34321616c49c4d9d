//! Where a hub's gateway listens.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest DNS name, RFC 1035.
const MAX_NAME: usize = 253;

/// A UDP endpoint: an address or a DNS name, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Who.
    pub host: Host,
    /// UDP port, never 0.
    pub port: u16,
}

/// An address, or a DNS name that the router resolves itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
    /// A DNS name of letters, digits, `-`, `_` and `.`, lower case.
    Name(String),
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// No `:port` at the end.
    #[error("an endpoint is host:port, such as hub.example.net:51820 or [2001:db8::1]:51820; the port is missing")]
    NoPort,
    /// The port is not 1 to 65535.
    #[error("an endpoint's port is a number from 1 to 65535")]
    Port,
    /// An IPv6 address must be in brackets, and only an IPv6 address.
    #[error("an IPv6 endpoint is written in brackets, such as [2001:db8::1]:51820")]
    Brackets,
    /// Not a DNS name.
    #[error("an endpoint's host is an address or a DNS name of letters, digits, '-' and '.'")]
    Host,
}

fn is_dns_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.len() <= MAX_NAME && text.split('.').all(label) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

impl FromStr for Host {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if is_dns_name(name) { Ok(Self::Name(name.to_ascii_lowercase())) } else { Err(InvalidEndpoint::Host) }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidEndpoint::NoPort)?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) => Host::Address(IpAddr::V6(inner.parse().map_err(|_| InvalidEndpoint::Brackets)?)),
            Some(None) => return Err(InvalidEndpoint::Brackets),
            None if host.contains(':') => return Err(InvalidEndpoint::Brackets),
            None => host.parse()?,
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port != 0 => Ok(Self { host, port }),
            _ => Err(InvalidEndpoint::Port),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_as_it_was_written() {
        for text in ["hub.example.net:51820", "203.0.113.1:1", "[2001:db8::1]:65535"] {
            assert_eq!(text.parse::<Endpoint>().map(|e| e.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_wrong_with_an_endpoint_is_named() {
        for (text, why) in [
            ("hub.example.net", InvalidEndpoint::NoPort),
            ("hub.example.net:0", InvalidEndpoint::Port),
            ("hub.example.net:+1", InvalidEndpoint::Port),
            ("hub.example.net:65536", InvalidEndpoint::Port),
            ("2001:db8::1:51820", InvalidEndpoint::Brackets),
            ("[203.0.113.1]:51820", InvalidEndpoint::Brackets),
            ("[2001:db8::1:51820", InvalidEndpoint::Brackets),
            ("hub example:51820", InvalidEndpoint::Host),
            ("203.0.113.300:51820", InvalidEndpoint::Host),
            (":51820", InvalidEndpoint::Host),
            ("a\"b:1", InvalidEndpoint::Host),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }
}
