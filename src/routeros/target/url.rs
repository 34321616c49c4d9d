//! `apis://admin@192.168.88.1`: which router, as whom, and over what.

use std::{fmt, net::IpAddr, str::FromStr};

/// The user if the URL names none.
pub const DEFAULT_USER: &str = "admin";

/// The longest URL that is looked at: a host name has at most 253 characters, a user name a few dozen.
pub const MAX_URL_BYTES: usize = 1_024;

/// The two ways to speak the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Api,
    /// Over TLS.
    Apis,
}

impl Scheme {
    /// Returns the port RouterOS serves it on unless told otherwise.
    ///
    /// *Source*: MikroTik manual, "Services".
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Api => 8728,
            Self::Apis => 8729,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Apis => "apis",
        })
    }
}

/// Where a router is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterHost {
    /// An address, for a link-local one with the interface it is on (`fe80::1%eth0`).
    Address(IpAddr, Option<String>),
    /// A name to resolve.
    Name(String),
}

impl fmt::Display for RouterHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address), None) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V6(address), Some(scope)) => write!(f, "[{address}%{scope}]"),
            Self::Address(address, _) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A router's URL. Never holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterUrl {
    /// In the clear or over TLS.
    pub scheme: Scheme,
    /// The user to log in as.
    pub user: String,
    /// Where the router is.
    pub host: RouterHost,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is no router URL. None of the messages repeats what may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No `://`.
    #[error("the router's URL has no scheme: write apis://HOST, or api://HOST for the API in the clear")]
    NoScheme,
    /// A scheme that is neither `api` nor `apis`.
    #[error("unknown scheme {0}://: it is apis:// (TLS) or api:// (in the clear)")]
    UnknownScheme(String),
    /// A password before the `@`.
    #[error("a password does not belong into a URL: use --password-file or SITEPEER_ROUTER_PASSWORD")]
    Password,
    /// Something after the host and port.
    #[error("a path, query or fragment does not belong into a router's URL")]
    Path,
    /// An `@` with no user before it, or one that is not percent-encoded text.
    #[error("the user before the @ is empty or malformed")]
    User,
    /// No host, or one that is neither an address nor a name.
    #[error("the host is neither an address nor a name")]
    Host,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets: apis://[fd00::1]")]
    Brackets,
    /// A port that is not 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// More than [`MAX_URL_BYTES`].
    #[error("the URL is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
}

impl FromStr for RouterUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > MAX_URL_BYTES {
            return Err(InvalidUrl::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::NoScheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "api" => Scheme::Api,
            "apis" => Scheme::Apis,
            other if other.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '+') => {
                return Err(InvalidUrl::UnknownScheme(other.to_owned()));
            }
            _ => return Err(InvalidUrl::NoScheme),
        };
        // The last @ counts, wherever it stands, so that no part of a password is taken for a host.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (parse_user(user)?, place),
            None => (DEFAULT_USER.to_owned(), rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#']) {
            return Err(InvalidUrl::Path);
        }
        let (host, port) = parse_place(place)?;
        Ok(Self { scheme, user, host, port: port.unwrap_or(scheme.default_port()) })
    }
}

fn parse_user(text: &str) -> Result<String, InvalidUrl> {
    if text.contains(':') {
        return Err(InvalidUrl::Password);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit().ok_or(InvalidUrl::User)?, digit().ok_or(InvalidUrl::User)?);
                u8::try_from(high * 16 + low).map_err(|_| InvalidUrl::User)?
            }
            b'/' | b'?' | b'#' => return Err(InvalidUrl::Path),
            byte => byte,
        });
    }
    match String::from_utf8(bytes) {
        Ok(user) if !user.is_empty() && !user.chars().any(char::is_control) => Ok(user),
        _ => Err(InvalidUrl::User),
    }
}

fn parse_place(text: &str) -> Result<(RouterHost, Option<u16>), InvalidUrl> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or(InvalidUrl::Brackets)?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(InvalidUrl::Host),
        };
        (parse_ipv6(inside)?, port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(InvalidUrl::Brackets),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        (parse_host(host)?, port)
    };
    Ok((host, port.map(parse_port).transpose()?))
}

fn parse_port(text: &str) -> Result<u16, InvalidUrl> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(InvalidUrl::Port),
    }
}

fn parse_ipv6(text: &str) -> Result<RouterHost, InvalidUrl> {
    let (address, scope) = match text.split_once('%') {
        // RFC 6874 writes the percent sign as %25; people do not.
        Some((address, scope)) => (address, Some(scope.strip_prefix("25").unwrap_or(scope))),
        None => (text, None),
    };
    let is_name = |scope: &str| {
        !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte))
    };
    match address.parse() {
        Ok(address) if scope.is_none_or(is_name) => {
            Ok(RouterHost::Address(IpAddr::V6(address), scope.map(str::to_owned)))
        }
        _ => Err(InvalidUrl::Host),
    }
}

fn parse_host(text: &str) -> Result<RouterHost, InvalidUrl> {
    if let Ok(address) = text.parse() {
        return Ok(RouterHost::Address(IpAddr::V4(address), None));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // What looks like numbers (1.2.3, 0x7f.1) resolves to an address nobody meant.
    let is_numeric = name.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    if name.len() > 253 || is_numeric || !name.split('.').all(is_label) {
        return Err(InvalidUrl::Host);
    }
    Ok(RouterHost::Name(text.to_ascii_lowercase()))
}

impl fmt::Display for RouterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        for byte in self.user.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        write!(f, "@{}:{}", self.host, self.port)
    }
}
