//! What the demo is played on: a hub end, two simulated routers, and the files a user would have.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::cli::failure::Failure;
use crate::cli::report::Verdict;
use crate::domain::{PublicKey, RouterOsVersion, Secret};
use crate::routeros::tls::CertificatePin;
use crate::sim::plane::{HubEnd, HubOptions, HubPeer, HubPeerState, PingSummary};
use crate::sim::{DeviceState, OperatorRow, SimOptions, SimRouter, SimUser, StateOptions};
use crate::wireguard::keys::{SecretKey, generate_preshared, generate_private};

/// The hub's address in the tunnel, which answers the proof.
pub(super) const HUB_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Prefix length of the tunnel's network.
const TUNNEL_PREFIX: u8 = 24;
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
    tunnel: Ipv4Addr,
}

/// Two sites of different age, whose LANs do not overlap.
const DRAFTS: [Draft; 2] = [
    Draft {
        name: "north",
        version: RouterOsVersion::new(7, 24, 0),
        lan: Ipv4Addr::new(192, 168, 88, 1),
        tunnel: Ipv4Addr::new(10, 99, 0, 2),
    },
    Draft {
        name: "south",
        version: RouterOsVersion::new(7, 12, 2),
        lan: Ipv4Addr::new(192, 168, 89, 1),
        tunnel: Ipv4Addr::new(10, 99, 0, 3),
    },
];

/// Everything that runs. Dropping it ends all of it and removes the files.
pub(super) struct Stage {
    pub(super) hub: HubEnd,
    pub(super) sites: [Site; 2],
    files: Files,
}

/// One simulated router, and what its owner knows of it.
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) router: SimRouter,
    pub(super) version: RouterOsVersion,
    pub(super) subnet: Ipv4Net,
    pub(super) tunnel: Ipv4Addr,
    /// The host in the LAN that pings and answers.
    pub(super) host: IpAddr,
    /// `apis://admin@127.0.0.1:40123`
    pub(super) url: String,
    /// `sha256:…`
    pub(super) pin: String,
    config: PathBuf,
    password: PathBuf,
    preshared_key: SecretKey,
    /// The router's key as it was entered at the hub.
    pub(super) key: Cell<Option<PublicKey>>,
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
        let private_key = generate_private()?;
        let address = IpNet::new(HUB_ADDRESS.into(), TUNNEL_PREFIX)?;
        let hub = HubEnd::start(HubOptions::new(private_key, vec![address])).await.context("the hub")?;
        let mut files = Files::create().context("the demo's folder")?;
        let password = Zeroizing::new(BASE64_STANDARD.encode(generate_preshared()?.expose()));
        files.write("password", &password)?;
        let [north, south] = DRAFTS;
        let (to_south, to_north) = (south.subnet()?, north.subnet()?);
        let north = Site::start(north, to_south, &hub, &mut files, &password).await.context("router north")?;
        let south = Site::start(south, to_north, &hub, &mut files, &password).await.context("router south")?;
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

impl Draft {
    fn subnet(&self) -> anyhow::Result<Ipv4Net> {
        Ok(Ipv4Net::new(self.lan, LAN_PREFIX)?.trunc())
    }
}

impl Site {
    async fn start(
        draft: Draft,
        other: Ipv4Net,
        hub: &HubEnd,
        files: &mut Files,
        password: &str,
    ) -> anyhow::Result<Self> {
        let Draft { name, version, lan, tunnel } = draft;
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
        let preshared_key = generate_preshared()?;
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(preshared_key.expose()));
        files.write(&format!("{name}.psk"), &encoded)?;
        let config = files.write(&format!("{name}.toml"), &site_config(name, tunnel, subnet, other, hub)?)?;
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
            config,
            preshared_key,
            key: Cell::new(None),
        })
    }

    /// The words of a command on this router, as a user types them.
    pub(super) fn words(&self, command: &str) -> Vec<String> {
        let mut words = vec![command.to_owned(), "--router".to_owned(), self.url.clone()];
        let mut option = |name: &str, value: &Path| words.extend([name.to_owned(), value.display().to_string()]);
        option("--password-file", &self.password);
        // The others find the site by its rows.
        if ["plan", "provision"].contains(&command) {
            option("--site", &self.config);
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
            "site_file": self.config,
        })
    }

    /// This site as it is entered at the hub.
    pub(super) fn hub_peer(&self, public_key: PublicKey) -> HubPeer {
        HubPeer {
            public_key: *public_key.as_bytes(),
            preshared_key: Some(self.preshared_key.clone()),
            allowed: vec![IpNet::from(IpAddr::V4(self.tunnel)), IpNet::V4(self.subnet)],
        }
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

    /// The key of the router's own end of our tunnel, if it has one.
    pub(super) async fn current_key(&self) -> anyhow::Result<Option<PublicKey>> {
        let rows = self.operator("/interface/wireguard/print", &[]).await?;
        let marker = format!("sitepeer:{}:", self.name);
        let row = rows.iter().find(|row| field(row, "comment").starts_with(marker.as_bytes()));
        Ok(row.map(|row| String::from_utf8_lossy(field(row, "public-key")).parse()).transpose()?)
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

/// What the hub knows of the peer with a key.
pub(super) async fn seen_by(hub: &HubEnd, public_key: PublicKey) -> anyhow::Result<Option<HubPeerState>> {
    Ok(hub.peers().await?.into_iter().find(|peer| peer.public_key == *public_key.as_bytes()))
}

fn site_config(name: &str, tunnel: Ipv4Addr, subnet: Ipv4Net, other: Ipv4Net, hub: &HubEnd) -> anyhow::Result<String> {
    let network = Ipv4Net::new(tunnel, TUNNEL_PREFIX)?.trunc();
    let public_key = PublicKey::from_bytes(hub.public_key())?;
    let endpoint = hub.endpoint();
    Ok(format!(
        "version = 1
id = \"{name}\"
instance = \"demo\"

[tunnel]
protocol = \"wireguard\"
addresses = [\"{tunnel}/{TUNNEL_PREFIX}\"]
probe = [\"{HUB_ADDRESS}\"]

[hub]
public_key = \"{public_key}\"
endpoints = [\"{endpoint}\"]
preshared_key_file = \"{name}.psk\"
keepalive_secs = 25

[subnets]
advertise = [\"{subnet}\"]
reach = [\"{network}\", \"{other}\"]
"
    ))
}

/// What the demo puts on the disk; removed when dropped.
struct Files {
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

    /// Writes a new file that only its owner can read.
    fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
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
