//! STUB until part `client` lands: take theirs.

use std::path::PathBuf;
use std::str::FromStr;

use crate::domain::Secret;

/// URL scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// plain
    Api,
    /// TLS
    Apis,
}
/// `apis://admin@192.168.88.1`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterUrl {
    /// scheme
    pub scheme: Scheme,
    /// user
    pub user: String,
    /// host
    pub host: String,
    /// port
    pub port: u16,
}
impl FromStr for RouterUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("no scheme")?;
        let scheme = match scheme {
            "api" => Scheme::Api,
            "apis" => Scheme::Apis,
            _ => return Err("the scheme is api or apis".into()),
        };
        let (user, host) = rest.split_once('@').unwrap_or(("admin", rest));
        if user.contains(':') {
            return Err("a password does not belong into a URL".into());
        }
        Ok(Self { scheme, user: user.into(), host: host.into(), port: 8729 })
    }
}
/// Pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePin(pub [u8; 32]);
impl FromStr for CertificatePin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("sha256:") { Ok(Self([0; 32])) } else { Err("not a pin".into()) }
    }
}
/// Trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// none
    None,
    /// pin
    Pin(CertificatePin),
    /// CA
    CaFile(PathBuf),
}
/// Plaintext rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// refuse
    Refuse,
    /// allow
    Allow,
}
/// Deadlines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines;
/// How to get in.
#[derive(Debug, Clone)]
pub struct Access {
    /// url
    pub url: RouterUrl,
    /// password
    pub password: Secret,
    /// trust
    pub trust: Trust,
    /// plaintext
    pub plaintext: Plaintext,
    /// deadlines
    pub deadlines: Deadlines,
}
