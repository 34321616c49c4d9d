//! The hub's settings: from a TOML file, the environment and flags, each option declared once in [`OPTIONS`].

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;

use crate::config::{FileError, FileReason, Privacy, read_secret, read_text};
use crate::domain::{Host, Secret};

mod error;
mod layers;
mod options;
#[cfg(test)]
mod tests;

pub use error::{HubConfigError, Origin};
use layers::{Layers, Setting};
pub use options::{HubOption, OPTIONS, ValueKind, markdown};

/// Largest config file in bytes: every option with room for comments.
const MAX_CONFIG_BYTES: u64 = 64 * 1024;
/// Most connections that may be asked for: what one process can hold file descriptors for on an ordinary Linux.
const MAX_CONNECTIONS: usize = 1_000_000;

/// Where the certificate lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The hub's settings, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it keeps its files.
    pub data_dir: PathBuf,
    /// PostgreSQL, instead of SQLite in `data_dir`.
    pub database_url: Option<Secret>,
    /// TLS; without it, plaintext.
    pub tls: Option<TlsFiles>,
    /// Plaintext beyond loopback.
    pub allow_plaintext: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The DNS domain of endpoints.
    pub domain: Option<String>,
    /// Seconds between two reports of a gateway.
    pub report_secs: u32,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most connections at once of one client address.
    pub max_connections_per_address: usize,
    /// Enrolments from one address in a minute.
    pub enroll_per_minute: u32,
    /// `/metrics` without a token.
    pub metrics_open: bool,
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .field("database_url", &self.database_url)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl HubConfig {
    /// Reads settings from a file, the environment and flags; later ones count before earlier ones.
    ///
    /// `flags` are pairs of key and value as in the file (`true` for a bare switch).
    ///
    /// # Errors
    /// [`HubConfigError`], which names the place, the key, what is wrong and the way out.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(String, String)],
    ) -> Result<Self, HubConfigError> {
        let mut layers = Layers::defaults();
        if let Some(file) = file {
            let (text, privacy) = read_text(file, MAX_CONFIG_BYTES).map_err(HubConfigError::File)?;
            layers.file(&text, file)?;
            private(&layers, file, privacy)?;
        }
        layers.environment(environment);
        layers.flags(flags)?;
        Self::settle(&layers)
    }

    /// Reads settings from the text of a file alone.
    ///
    /// # Errors
    /// As [`HubConfig::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, HubConfigError> {
        let mut layers = Layers::defaults();
        layers.file(text, file)?;
        Self::settle(&layers)
    }

    fn settle(layers: &Layers) -> Result<Self, HubConfigError> {
        let config = Self {
            listen: required(layers, "listen", "an address with a port, such as 127.0.0.1:8443")?,
            data_dir: path(layers, "data_dir").unwrap_or_else(|| PathBuf::from(".")),
            database_url: database_url(layers)?,
            tls: tls(layers)?,
            allow_plaintext: switch(layers, "allow_plaintext")?,
            trusted_proxies: list(layers, "trusted_proxies", "a prefix, such as 10.0.0.0/8 or 192.0.2.1/32")?,
            domain: domain(layers)?,
            report_secs: number(layers, "report_secs", 1, 60)?,
            max_connections: number(layers, "max_connections", 16, MAX_CONNECTIONS)?,
            max_connections_per_address: number(layers, "max_connections_per_address", 1, MAX_CONNECTIONS)?,
            enroll_per_minute: number(layers, "enroll_per_minute", 1, 1_000_000)?,
            metrics_open: switch(layers, "metrics_open")?,
        };
        if !config.listen.ip().is_loopback() && config.tls.is_none() && !config.allow_plaintext {
            let problem = format!("{} is not loopback, and there is no TLS", config.listen);
            let hint = "set tls_cert and tls_key; or listen on 127.0.0.1 behind a proxy; or set allow_plaintext = true";
            return Err(found(layers, "listen")?.wrong(problem, Some(hint)));
        }
        Ok(config)
    }
}

fn found<'a>(layers: &'a Layers, key: &'static str) -> Result<&'a Setting, HubConfigError> {
    layers.get(key).ok_or_else(|| HubConfigError::Value {
        origin: Origin::Default,
        key,
        problem: "is missing".to_owned(),
        hint: None,
    })
}

fn required<T: FromStr>(layers: &Layers, key: &'static str, wanted: &str) -> Result<T, HubConfigError> {
    let setting = found(layers, key)?;
    setting.text.parse().map_err(|_| setting.wrong(format_args!("{:?} is not {wanted}", setting.text), None))
}

fn number<T>(layers: &Layers, key: &'static str, low: T, high: T) -> Result<T, HubConfigError>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let setting = found(layers, key)?;
    match setting.text.replace('_', "").parse() {
        Ok(number) if (&low..=&high).contains(&&number) => Ok(number),
        _ => Err(setting.wrong(format_args!("must be a number from {low} to {high}"), None)),
    }
}

fn switch(layers: &Layers, key: &'static str) -> Result<bool, HubConfigError> {
    let setting = found(layers, key)?;
    match setting.text.as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(setting.wrong("must be true or false", None)),
    }
}

fn path(layers: &Layers, key: &'static str) -> Option<PathBuf> {
    layers.get(key).map(|setting| PathBuf::from(&setting.text))
}

fn list<T: FromStr>(layers: &Layers, key: &'static str, wanted: &str) -> Result<Vec<T>, HubConfigError> {
    let Some(setting) = layers.get(key) else { return Ok(Vec::new()) };
    let items = setting.text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.parse().map_err(|_| setting.wrong(format_args!("{item:?} is not {wanted}"), None))).collect()
}

fn domain(layers: &Layers) -> Result<Option<String>, HubConfigError> {
    let Some(setting) = layers.get("domain") else { return Ok(None) };
    match setting.text.parse() {
        Ok(Host::Name(name)) => Ok(Some(name)),
        _ => Err(setting.wrong(format_args!("{:?} is not a DNS name", setting.text), None)),
    }
}

fn tls(layers: &Layers) -> Result<Option<TlsFiles>, HubConfigError> {
    match (layers.get("tls_cert"), layers.get("tls_key")) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => {
            Ok(Some(TlsFiles { cert: PathBuf::from(&cert.text), key: PathBuf::from(&key.text) }))
        }
        (Some(alone), None) => Err(alone.wrong("needs tls_key beside it", None)),
        (None, Some(alone)) => Err(alone.wrong("needs tls_cert beside it", None)),
    }
}

fn database_url(layers: &Layers) -> Result<Option<Secret>, HubConfigError> {
    let named = layers.get("database_url_file");
    let (url, origin) = match (layers.get("database_url"), named) {
        (None, None) => return Ok(None),
        (Some(setting), Some(_)) => return Err(setting.wrong("does not go with database_url_file", None)),
        (Some(setting), None) => (Secret::new(setting.text.clone()), setting),
        (None, Some(setting)) => {
            let (origin, key) = (setting.origin.clone(), setting.key);
            let named = read_secret(Path::new(&setting.text));
            (named.map_err(|source| HubConfigError::Named { origin, key, source })?, setting)
        }
    };
    let scheme = url.expose().split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or("")));
    let Some(("postgres" | "postgresql", authority)) = scheme else {
        return Err(origin.wrong("is not a URL that begins with postgres://", None));
    };
    // Everybody on the machine reads a process's arguments; of a file they read the name.
    if named.is_none() && tells_password(authority, url.expose()) && matches!(origin.origin, Origin::Flag(_)) {
        let hint = "put the URL into a file of mode 0600 and name it with --database-url-file, or use PGPASSFILE";
        return Err(origin.wrong("a password must not stand in an argument", Some(hint)));
    }
    Ok(Some(url))
}

/// `?password=` is no better than `user:password@`.
fn tells_password(authority: &str, url: &str) -> bool {
    authority.rsplit_once('@').is_some_and(|(login, _)| login.contains(':')) || url.contains("password=")
}

/// A config file with a password in it is a secret file.
fn private(layers: &Layers, file: &Path, privacy: Privacy) -> Result<(), HubConfigError> {
    let (Some(setting), Privacy::Shared { mode }) = (layers.get("database_url"), privacy) else { return Ok(()) };
    let authority = setting.text.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(""));
    if !tells_password(authority, &setting.text) {
        return Ok(());
    }
    let source = FileError { path: file.to_owned(), reason: FileReason::Shared { mode } };
    Err(HubConfigError::Named { origin: setting.origin.clone(), key: setting.key, source })
}
