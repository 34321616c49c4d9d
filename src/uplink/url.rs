//! `https://hub.example.net`: where the hub is.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    str::FromStr,
};

use crate::domain::Host;

/// The longest URL that is looked at, in bytes: a host name has at most 253.
const MAX_URL_BYTES: usize = 1_024;

/// A hub's URL: a scheme, a host and a port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubUrl {
    pub(super) is_tls: bool,
    /// In the clear to another machine was allowed.
    pub(super) may_leave: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

/// Why a text is no hub URL. None of the messages repeats what may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHubUrl {
    /// No `https://`.
    #[error("the hub's URL begins with https://, or with http:// on this machine")]
    Scheme,
    /// A user or password.
    #[error("no user or password belongs into the hub's URL: the token comes from a file")]
    User,
    /// Something after the host and port.
    #[error("a path, query or fragment does not belong into the hub's URL: https://HOST[:PORT] is all")]
    Path,
    /// No host, or one that is neither an address nor a name.
    #[error("the hub's host is neither an address nor a name; an IPv6 address stands in brackets")]
    Host,
    /// A port that is not 1 to 65535.
    #[error("the hub's port is not a number from 1 to 65535")]
    Port,
    /// `http://` to another machine.
    #[error("http:// would send the token in the clear to another machine: use https://")]
    Plaintext,
    /// More than 1024 bytes.
    #[error("the URL is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
}

impl FromStr for HubUrl {
    type Err = InvalidHubUrl;

    fn from_str(text: &str) -> Result<Self, InvalidHubUrl> {
        let url = parse(text)?;
        if url.is_tls || url.is_on_this_machine() { Ok(url) } else { Err(InvalidHubUrl::Plaintext) }
    }
}

impl HubUrl {
    /// Reads a URL that may be `http://` to any machine, because somebody said that this is meant.
    ///
    /// # Errors
    /// [`InvalidHubUrl`].
    pub fn allowing_plaintext(text: &str) -> Result<Self, InvalidHubUrl> {
        Ok(Self { may_leave: true, ..parse(text)? })
    }

    /// Says whether it names this machine.
    fn is_on_this_machine(&self) -> bool {
        match &self.host {
            Host::Address(address) => is_loopback(*address),
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// `HOST` or `HOST:PORT`, as the `Host` header has it.
    pub(super) fn authority(&self) -> String {
        let default = if self.is_tls { 443 } else { 80 };
        let host = match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            host => host.to_string(),
        };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }
}

pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn parse(text: &str) -> Result<HubUrl, InvalidHubUrl> {
    if text.len() > MAX_URL_BYTES {
        return Err(InvalidHubUrl::TooLong);
    }
    let (scheme, rest) = text.split_once("://").ok_or(InvalidHubUrl::Scheme)?;
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(InvalidHubUrl::Scheme),
    };
    // An @ anywhere: no part of what may be a password is taken for a host or path.
    if rest.contains('@') {
        return Err(InvalidHubUrl::User);
    }
    let place = rest.strip_suffix('/').unwrap_or(rest);
    if place.contains(['/', '?', '#', '\\']) {
        return Err(InvalidHubUrl::Path);
    }
    let (host, port) = if let Some(inside) = place.strip_prefix('[') {
        let (address, after) = inside.split_once(']').ok_or(InvalidHubUrl::Host)?;
        let address = address.parse().map_err(|_| InvalidHubUrl::Host)?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(InvalidHubUrl::Host)?) };
        (Host::Address(IpAddr::V6(address)), port)
    } else {
        let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
        (parse_host(host)?, port)
    };
    let port = port.map(parse_port).transpose()?.unwrap_or(if is_tls { 443 } else { 80 });
    Ok(HubUrl { is_tls, may_leave: false, host, port })
}

fn parse_host(text: &str) -> Result<Host, InvalidHubUrl> {
    let host: Host = text.parse().map_err(|_| InvalidHubUrl::Host)?;
    // What looks like numbers (0x7f.1) resolves to an address nobody meant.
    let is_numeric =
        |name: &str| name.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    match &host {
        Host::Name(name) if is_numeric(name) => Err(InvalidHubUrl::Host),
        _ => Ok(host),
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidHubUrl> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(InvalidHubUrl::Port),
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

/// Percent-encodes a text for one segment of a path, or for one value of a query.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _: fmt::Result = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_goes_without_saying() {
        for (text, shown) in [
            ("https://hub.example.net", "https://hub.example.net"),
            ("HTTPS://Hub.Example.net:443/", "https://hub.example.net"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://127.0.0.1:8443", "http://127.0.0.1:8443"),
            ("http://localhost", "http://localhost"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(text.parse::<HubUrl>().map(|url| url.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_named_without_repeating_a_secret() {
        for (text, why) in [
            ("hub.example.net", InvalidHubUrl::Scheme),
            ("ftp://hub.example.net", InvalidHubUrl::Scheme),
            ("https://me:secret@hub.example.net", InvalidHubUrl::User),
            ("https://hub.example.net/x@y", InvalidHubUrl::User),
            ("https://hub.example.net/v1", InvalidHubUrl::Path),
            ("https://hub.example.net?token=x", InvalidHubUrl::Path),
            ("https://hub.example.net#x", InvalidHubUrl::Path),
            ("https://hub.example.net\\x", InvalidHubUrl::Path),
            ("https://", InvalidHubUrl::Host),
            ("https://0x7f.1", InvalidHubUrl::Host),
            ("https://2001:db8::1", InvalidHubUrl::Host),
            ("https://[2001:db8::1", InvalidHubUrl::Host),
            ("https://hub example", InvalidHubUrl::Host),
            ("https://hub.example.net:0", InvalidHubUrl::Port),
            ("https://hub.example.net:+1", InvalidHubUrl::Port),
            ("http://hub.example.net", InvalidHubUrl::Plaintext),
            ("http://127.0.0.1.example.net", InvalidHubUrl::Plaintext),
            ("http://192.0.2.1", InvalidHubUrl::Plaintext),
        ] {
            assert_eq!(text.parse::<HubUrl>(), Err(why), "{text}");
        }
        assert!(HubUrl::allowing_plaintext("http://192.0.2.1").is_ok());
    }

    #[test]
    fn a_segment_of_a_path_stays_one() {
        assert_eq!(encode("a/b?c=d&e f\r\nä"), "a%2Fb%3Fc%3Dd%26e%20f%0D%0A%C3%A4");
    }
}
