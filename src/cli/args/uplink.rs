//! How a hub is reached, and who this site is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::uplink::credential::{CredentialFile, Kept};
use crate::config;
use crate::domain::{Secret, Site};
use crate::uplink::{Hub, HubUrl, Trust};

/// Longest wait for a hub's site config in seconds: an instance that waits for its gateway to be set up by hand.
const MAX_HUB_SECS: u64 = 3600;
/// What the credential file is called beside the token file.
const CREDENTIAL_SUFFIX: &str = ".credential";

/// Where the hub is, and how its certificate is known.
#[derive(Debug, Args)]
pub(super) struct HubTrustArgs {
    /// Trust the hub's certificate by this PEM file: an authority's, or the hub's own
    #[arg(long, value_name = "FILE", requires = "hub")]
    hub_ca: Option<PathBuf>,
}

/// Arguments of every command that can get its site from a hub.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hub")]
pub struct UplinkArgs {
    /// The hub that has the site config, instead of a file; such as `https://hub.example.net`
    #[arg(long, value_name = "URL", conflicts_with = "site")]
    hub: Option<String>,
    /// A file that holds the enrolment token made at the hub; not readable by others
    ///
    /// Needed for the first `provision` only: it enrols, and keeps what it gets in the credential file. `plan` and
    /// `status` never enrol.
    #[arg(long, value_name = "FILE", requires = "hub")]
    token_file: Option<PathBuf>,
    /// Where this site's own credential is kept; beside the token file, with .credential appended, if left out
    #[arg(long, value_name = "FILE", requires = "hub")]
    credential_file: Option<PathBuf>,
    #[command(flatten)]
    trust: HubTrustArgs,
    /// How many seconds to wait until the hub has the whole site config
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=MAX_HUB_SECS))]
    hub_timeout: u64,
}

/// A hub, and who this site is there.
#[derive(Debug)]
pub struct HubSource {
    /// Without a credential.
    pub hub: Hub,
    /// Where the credential is kept.
    pub file: CredentialFile,
    /// The enrolment token, where it is needed and there is one.
    pub token: Option<Secret>,
    /// How long to wait until the site config is whole.
    pub timeout: Duration,
}

/// Where a site config comes from.
#[derive(Debug)]
pub enum Source {
    /// A file.
    File(Box<Site>),
    /// A hub.
    Hub(Box<HubSource>),
}

impl UplinkArgs {
    /// `None` if no hub was named.
    pub(super) fn settle(self) -> Result<Option<HubSource>, Failure> {
        let Some(url) = &self.hub else { return Ok(None) };
        let url = hub_url(url)?;
        let path = match (&self.credential_file, &self.token_file) {
            (Some(file), _) => file.clone(),
            (None, Some(token)) => beside(token),
            (None, None) => {
                return Err(Failure::usage("usage", "--hub needs --token-file, or --credential-file once enrolled")
                    .hint("an enrolment token is made at the hub: sitepeer hub enrollment create"));
            }
        };
        let file = CredentialFile { path, hub: url.to_string() };
        let token = match file.read()? {
            Kept::Enrolled(_) => None,
            // A token that was spent may be gone; whoever needs it says so.
            Kept::Nothing | Kept::Nonce(_) => self.token_file.as_deref().map(config::read_secret).transpose()?,
        };
        let hub = self.trust.settle(url)?;
        Ok(Some(HubSource { hub, file, token, timeout: Duration::from_secs(self.hub_timeout) }))
    }
}

impl HubTrustArgs {
    pub(super) fn settle(&self, url: HubUrl) -> Result<Hub, Failure> {
        let trust = self.hub_ca.clone().map_or(Trust::Public, Trust::CaFile);
        Hub::new(url, &trust, None).map_err(|error| anyhow::Error::from(error).into())
    }
}

/// Reads `--hub`.
pub(super) fn hub_url(text: &str) -> Result<HubUrl, Failure> {
    text.parse()
        .map_err(|error| Failure::usage("hub-url", format!("--hub: {error}")).hint("such as https://hub.example.net"))
}

/// `FILE.credential` beside `FILE`.
fn beside(token: &Path) -> PathBuf {
    let mut path = token.as_os_str().to_owned();
    path.push(CREDENTIAL_SUFFIX);
    PathBuf::from(path)
}

/// `--site` or `--hub`, one of which is needed.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// The site config, a TOML file
    #[arg(long, value_name = "FILE", required_unless_present = "hub")]
    site: Option<PathBuf>,
}

impl SourceArgs {
    /// The file, where one is named.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.site.clone()
    }

    pub(super) fn settle(&self, uplink: UplinkArgs) -> Result<Source, Failure> {
        match (&self.site, uplink.settle()?) {
            (_, Some(hub)) => Ok(Source::Hub(Box::new(hub))),
            (Some(site), None) => Ok(Source::File(Box::new(config::load(site)?))),
            // clap does not let this through.
            (None, None) => Err(Failure::usage("usage", "--site or --hub is needed")),
        }
    }
}
