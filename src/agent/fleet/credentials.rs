//! How to log in to routers whose addresses a hub tells: rules of this machine, for passwords never come from a hub.
//!
//! ```toml
//! version = 1
//! [[credentials]]
//! networks = ["10.1.0.0/16"]
//! select = ["group=north"]
//! user = "sitepeer"
//! credential_command = ["pass", "show", "routers/north"]
//! [[credentials]]
//! networks = ["10.0.0.0/8"]
//! password_file = "routers.password"
//! ca_file = "routers.pem"
//! ```
//!
//! The first rule that fits a router counts. Each says to which networks its password may go: whoever gets hold of a hub must not be
//! able to have passwords sent to a machine of its own.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::Password;
use super::file::{MAX_FLEET_BYTES, password, word};
use crate::api::LeasedSite;
use crate::config::document::{Keys, Section, Source};
use crate::config::{self, ConfigError};
use crate::domain::Secret;
use crate::routeros::target::{Access, DEFAULT_USER, Deadlines, Plaintext, RouterHost, RouterUrl, Scheme};
use crate::routeros::tls::{CertificatePin, Trust};

/// Most rules: they are gone through for each router.
pub const MAX_RULES: usize = 256;
/// Most networks of a rule, and most conditions.
const MAX_ITEMS: usize = 256;
/// The only version of the file there is.
const VERSION: u16 = 1;

const TOP: Keys = Keys { table: "", keys: &["version", "credentials"] };
const RULE: Keys = Keys {
    table: "credentials",
    keys: &[
        "networks",
        "select",
        "user",
        "password_file",
        "password_env",
        "credential_command",
        "ca_file",
        "allow_plaintext",
    ],
};
const TABLES: &[Keys] = &[TOP, RULE];

/// All rules, in the file's order.
#[derive(Debug, Default)]
pub struct Credentials {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    networks: Vec<IpNet>,
    select: Vec<Condition>,
    user: Option<String>,
    password: Password,
    ca_file: Option<PathBuf>,
    plaintext: Plaintext,
}

/// What a site must be.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Name(String),
    Group(String),
}

/// Why a router is not logged in to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRule {
    /// No rule fits.
    #[error("no rule of [[credentials]] fits site {name} of group {group} at {host}")]
    None {
        /// The site.
        name: String,
        /// Its group.
        group: String,
        /// Its router's address.
        host: String,
    },
    /// What the hub says of its router cannot be used.
    #[error("the hub's words for the router of site {name} cannot be used: {why}")]
    Unusable {
        /// The site.
        name: String,
        /// Why not.
        why: String,
    },
}

impl Credentials {
    /// Reads the rules. Relative paths count from the file's own folder.
    ///
    /// # Errors
    /// [`ConfigError`], which names file, line, column, key, what is wrong and the way out.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (text, _) = config::read_text(path, MAX_FLEET_BYTES).map_err(ConfigError::File)?;
        Self::parse(&text, path)
    }

    /// As [`Credentials::load`], from a text.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let source = Source { file, text, tables: TABLES };
        let document = source.parse()?;
        let top = Section::open(source, TOP, document.get_ref(), 0)?;
        top.version(VERSION)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let sections = top.sections(RULE, MAX_RULES)?;
        if sections.is_empty() {
            return Err(top.missing("credentials", "every rule is a table of its own: [[credentials]]"));
        }
        Ok(Self { rules: sections.iter().map(|section| rule(section, folder)).collect::<Result<_, _>>()? })
    }

    /// Returns how to log in to a site's router; the password is asked for at each connection.
    ///
    /// # Errors
    /// [`NoRule`].
    pub fn login(&self, leased: &LeasedSite) -> Result<(Access, Password), NoRule> {
        let unusable = |why: String| NoRule::Unusable { name: leased.name.clone(), why };
        let assignment = &leased.assignment;
        let mut url: RouterUrl = assignment.url.parse().map_err(|error| unusable(format!("{error}")))?;
        let pin = assignment.pin.as_deref().map(str::parse::<CertificatePin>).transpose();
        let pin = pin.map_err(|error| unusable(error.to_string()))?;
        let RouterHost::Address(address, _) = &url.host else {
            return Err(unusable("it names no address".to_owned()));
        };
        let fits = |rule: &&Rule| {
            rule.networks.iter().any(|network| network.contains(address))
                && rule.select.iter().all(|condition| match condition {
                    Condition::Name(name) => *name == leased.name,
                    Condition::Group(group) => *group == assignment.group,
                })
        };
        let Some(rule) = self.rules.iter().find(fits) else {
            let (group, host) = (assignment.group.clone(), url.host.to_string());
            return Err(NoRule::None { name: leased.name.clone(), group, host });
        };
        if let Some(user) = rule.user.as_ref().filter(|_| url.user == DEFAULT_USER) {
            url.user.clone_from(user);
        }
        let trust = match (pin, &rule.ca_file) {
            (Some(pin), _) => Trust::Pin(pin),
            (None, Some(file)) if url.scheme == Scheme::Apis => Trust::CaFile(file.clone()),
            (None, _) => Trust::None,
        };
        let (password, plaintext, deadlines) = (Secret::new(String::new()), rule.plaintext, Deadlines::default());
        Ok((Access { url, password, trust, plaintext, deadlines }, rule.password.clone()))
    }
}

fn rule(section: &Section<'_>, folder: &Path) -> Result<Rule, ConfigError> {
    let networks = section.strings("networks", MAX_ITEMS)?.filter(|networks| !networks.is_empty());
    let hint = "the networks that this password may be sent to, such as [\"10.1.0.0/16\"]";
    let networks = networks.ok_or_else(|| section.missing("networks", hint))?;
    let network = |field: &config::document::Field<'_, &str>| {
        field.value.parse::<IpNet>().map_err(|_| field.wrong("must be a network such as 10.1.0.0/16", None))
    };
    let select = section.strings("select", MAX_ITEMS)?.unwrap_or_default();
    let condition = |field: &config::document::Field<'_, &str>| match field.value.split_once('=') {
        Some(("name", value)) => Ok(Condition::Name(value.to_owned())),
        Some(("group", value)) => Ok(Condition::Group(value.to_owned())),
        _ => Err(field.wrong("must be name=… or group=…", None)),
    };
    let plaintext = section.boolean("allow_plaintext")?.is_some_and(|field| field.value);
    Ok(Rule {
        networks: networks.iter().map(network).collect::<Result<_, _>>()?,
        select: select.iter().map(condition).collect::<Result<_, _>>()?,
        user: section.string("user")?.map(|field| word(&field)).transpose()?,
        password: password(section, None, folder)?,
        ca_file: section.string("ca_file")?.map(|field| folder.join(field.value)),
        plaintext: if plaintext { Plaintext::Allow } else { Plaintext::Refuse },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProxyAssignment;

    const RULES: &str = "version = 1\n[[credentials]]\nnetworks = [\"10.1.0.0/16\"]\nselect = [\"group=north\"]\nuser = \"tech\"\n\
        password_file = \"north\"\n[[credentials]]\nnetworks = [\"10.0.0.0/8\", \"fd00::/8\"]\npassword_env = \"REST\"\nca_file = \"ca.pem\"\n";

    fn site(group: &str, url: &str) -> LeasedSite {
        let assignment = ProxyAssignment { group: group.to_owned(), url: url.to_owned(), pin: None };
        let (site, name) = ("k3f9q2x7".parse().unwrap(), "oslo-1".to_owned());
        LeasedSite { site, name, number: 7, assignment, peers: Vec::new() }
    }

    fn found(group: &str, url: &str) -> Result<(Access, Password), NoRule> {
        let rules = Credentials::parse(RULES, Path::new("/etc/sitepeer/credentials.toml")).unwrap();
        rules.login(&site(group, url))
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_a_user_that_the_hub_names_stays() {
        let (north, password) = found("north", "apis://10.1.2.3").unwrap();
        assert_eq!((north.url.user.as_str(), password), ("tech", Password::File("/etc/sitepeer/north".into())));
        assert!(matches!(north.trust, Trust::None), "unknown, and refused");
        let (other, password) = found("south", "apis://sp@10.1.2.3:8730").unwrap();
        assert_eq!((other.url.user.as_str(), password), ("sp", Password::Environment("REST".to_owned())));
        assert!(matches!(other.trust, Trust::CaFile(file) if file == Path::new("/etc/sitepeer/ca.pem")));
        assert!(found("south", "apis://[fd00::1]").is_ok());
    }

    #[test]
    fn no_password_goes_to_a_network_that_no_rule_names_nor_to_a_name() {
        assert!(matches!(found("north", "apis://192.0.2.1"), Err(NoRule::None { .. })));
        assert!(matches!(found("north", "apis://router.example.net"), Err(NoRule::Unusable { .. })));
        assert!(matches!(found("north", "ssh://10.1.2.3"), Err(NoRule::Unusable { .. })));
    }

    #[test]
    fn a_rule_without_networks_or_with_a_password_in_it_is_refused_with_its_place() {
        for (from, to, wanted) in [
            ("networks = [\"10.1.0.0/16\"]\n", "", "`credentials.networks` is missing"),
            ("\"10.1.0.0/16\"", "\"10.1.0.0/33\"", "credentials.toml:3:"),
            ("group=north", "tag=north", "must be name=… or group=…"),
            ("password_file = \"north\"", "password = \"x\"", "unknown key `credentials.password`"),
            ("password_file = \"north\"\n", "", "`credentials.password_file` is missing"),
        ] {
            let text = RULES.replacen(from, to, 1);
            let error = Credentials::parse(&text, Path::new("credentials.toml")).unwrap_err().to_string();
            assert!(error.contains(wanted), "{from} → {to}: {error}");
        }
    }
}
