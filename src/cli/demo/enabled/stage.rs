//! What the demo is played on: the hub, two simulated routers, and the files a user would have.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::hub::{Admitted, HubSide};
use crate::api::PeerId;
use crate::cli::failure::Failure;
use crate::cli::report::Verdict;
use crate::domain::{RouterOsVersion, Secret};
use crate::routeros::tls::CertificatePin;
use crate::sim::plane::PingSummary;
use crate::sim::{DeviceState, OperatorRow, SimOptions, SimRouter, SimUser, StateOptions};
use crate::wireguard::keys::generate_preshared;

/// The host of each LAN that pings and answers, by its last number.
const LAN_HOST: u32 = 10;
/// Prefix length of each LAN.
const LAN_PREFIX: u8 = 24;
/// Only the owner may look into the demo's folder.
#[cfg(unix)]
const FOLDER_MODE: u32 = 0o700;
/// Passwords and keys are nobody else's business.
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;

/// A site of the demo before it exists.
struct Draft {
    name: &'static str,
    version: RouterOsVersion,
    /// The router's address in its LAN.
    lan: Ipv4Addr,
}

/// Two sites of different age, whose LANs do not overlap.
const DRAFTS: [Draft; 2] = [
    Draft { name: "north", version: RouterOsVersion::new(7, 24, 0), lan: Ipv4Addr::new(192, 168, 88, 1) },
    Draft { name: "south", version: RouterOsVersion::new(7, 12, 2), lan: Ipv4Addr::new(192, 168, 89, 1) },
];

/// Everything that runs. Dropping it ends all of it and removes the files.
pub(super) struct Stage {
    pub(super) hub: HubSide,
    pub(super) sites: [Site; 2],
    files: Files,
}

/// One simulated router, and what its owner knows of it.
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) router: SimRouter,
    pub(super) version: RouterOsVersion,
    pub(super) subnet: Ipv4Net,
    /// Its peer at the hub, which marks its rows.
    pub(super) peer: PeerId,
    pub(super) tunnel: IpAddr,
    /// The host in the LAN that pings and answers.
    pub(super) host: IpAddr,
    /// `apis://admin@127.0.0.1:40123`
    pub(super) url: String,
    /// `sha256:…`
    pub(super) pin: String,
    hub: String,
    token: PathBuf,
    password: PathBuf,
    before: DeviceState,
}

impl Stage {
    /// Starts hub and routers and writes the files.
    ///
    /// # Errors
    /// If this machine gives no port, no random bytes or no room for files.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut files = Files::create().context("the demo's folder")?;
        let password = Zeroizing::new(BASE64_STANDARD.encode(generate_preshared()?.expose()));
        files.write("password", &password)?;
        let hub = HubSide::start(&files).await.context("the hub")?;
        let [north, south] = DRAFTS;
        let north = Site::start(north, &hub, &mut files, &password).await.context("router north")?;
        let south = Site::start(south, &hub, &mut files, &password).await.context("router south")?;
        hub.offered(&[north.subnet, south.subnet]).await?;
        Ok(Self { hub, sites: [north, south], files })
    }

    /// Ends everything in order, and removes the files.
    ///
    /// # Errors
    /// If the demo's folder cannot be removed.
    pub(super) async fn strike(self) -> anyhow::Result<()> {
        self.hub.stop().await;
        drop(self.sites);
        self.files.remove().context("the demo's folder stays")
    }
}

impl Site {
    async fn start(draft: Draft, hub: &HubSide, files: &mut Files, password: &str) -> anyhow::Result<Self> {
        let Draft { name, version, lan } = draft;
        let subnet = Ipv4Net::new(lan, LAN_PREFIX)?.trunc();
        let host = IpAddr::from(Ipv4Addr::from(u32::from(subnet.network()) + LAN_HOST));
        let user =
            SimUser { name: "admin".into(), password: Secret::new(password.to_owned()), group: "full".to_owned() };
        let router = SimRouter::start(SimOptions {
            version: version.clone(),
            identity: name.to_owned(),
            lan: Ipv4Net::new(lan, LAN_PREFIX)?,
            lan_hosts: vec![host],
            users: vec![user],
            ..SimOptions::default()
        })
        .await?;
        let address = router.api_ssl_addr().context("it serves no api-ssl")?;
        let fingerprint = router.fingerprint().context("it has no certificate")?;
        files.locks.0.push(address);
        let Admitted { peer, tunnel, token } = hub.admit(name, subnet, files).await?;
        Ok(Self {
            before: router.state(StateOptions::default()),
            url: format!("apis://admin@{address}"),
            pin: CertificatePin::from_bytes(fingerprint).to_string(),
            password: files.path("password"),
            name,
            router,
            version,
            subnet,
            tunnel,
            host,
            peer,
            hub: hub.url.clone(),
            token,
        })
    }

    /// The words of a command on this router, as a user types them.
    pub(super) fn words(&self, command: &str) -> Vec<String> {
        let mut words = vec![command.to_owned(), "--router".to_owned(), self.url.clone()];
        let mut option = |name: &str, value: &Path| words.extend([name.to_owned(), value.display().to_string()]);
        option("--password-file", &self.password);
        // The others find the site by its rows.
        if ["plan", "provision"].contains(&command) {
            option("--token-file", &self.token);
            words.extend(["--hub".to_owned(), self.hub.clone()]);
        }
        words.extend(["--pin".to_owned(), self.pin.clone()]);
        if ["provision", "remove"].contains(&command) {
            words.push("--yes".to_owned());
        }
        words
    }

    /// What a machine has to know to reach this router.
    pub(super) fn figures(&self) -> Value {
        json!({
            "version": self.version.to_string(),
            "lan": self.subnet,
            "url": self.url,
            "pin": self.pin,
            "password_file": self.password,
            "hub_url": self.hub,
            "token_file": self.token,
            "peer": self.peer,
        })
    }

    /// Pings another site's host from the host in this LAN.
    pub(super) async fn ping(&self, other: &Self, count: u32) -> PingSummary {
        match self.router.plane() {
            Some(plane) => plane.lan_ping(self.host, other.host, count).await,
            None => PingSummary::default(),
        }
    }

    /// Does something at the router's own console, as its owner would.
    pub(super) async fn operator(&self, path: &str, attrs: &[(&str, &[u8])]) -> anyhow::Result<Vec<OperatorRow>> {
        let done = self.router.operator(path, attrs).await;
        done.map_err(|trap| Failure::new(Verdict::Rejected, "demo-console", format!("{path}: {}", trap.message)).into())
    }

    /// What is not as it was when the router was started, and how many rows were compared.
    pub(super) fn difference(&self) -> (Vec<String>, usize) {
        let now = self.router.state(StateOptions::default());
        (self.before.difference(&now), self.before.count())
    }
}

/// A field of a row; empty if it is not there.
pub(super) fn field<'a>(row: &'a OperatorRow, name: &str) -> &'a [u8] {
    row.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice()).unwrap_or_default()
}

/// What the demo puts on the disk; removed when dropped.
pub(super) struct Files {
    folder: TempDir,
    locks: Locks,
}

impl Files {
    fn create() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("sitepeer-demo-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(FOLDER_MODE));
        Ok(Self { folder: builder.tempdir()?, locks: Locks::default() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a folder that only its owner can look into.
    pub(super) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, FOLDER_MODE);
        builder.create(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Writes a new file that only its owner can read.
    pub(super) fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
        let mut file = options.open(&path).with_context(|| path.display().to_string())?;
        writeln!(file, "{}", content.trim_end()).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn remove(self) -> io::Result<()> {
        drop(self.locks);
        self.folder.close()
    }
}

/// The files by which commands keep out of each other's way, see `reconcile::apply::LocalLock`. They outlive the commands; once
/// their router is no more, nobody needs them.
#[derive(Default)]
struct Locks(Vec<SocketAddr>);

impl Locks {
    fn name_end(router: SocketAddr) -> String {
        let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("-{}.lock", router.to_string().chars().map(word).collect::<String>())
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        let ends: Vec<String> = self.0.drain(..).map(Self::name_end).collect();
        // Another terminal may have other variables than this one: both places are looked at.
        let folders = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter().chain([std::env::temp_dir()]);
        for entry in folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with("sitepeer-") && ends.iter().any(|end| name.ends_with(end));
            if let Some(Err(error)) = ours.then(|| fs::remove_file(entry.path())) {
                tracing::warn!(%error, file = %entry.path().display(), "a lock file stays");
            }
        }
    }
}
