//! The hub of the demo: the real one, with its store in the demo's folder, and its gateway in this process.
//!
//! What is made there is made over its HTTP API, as anybody would.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ipnet::{IpNet, Ipv4Net};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::stage::Files;
use crate::api::{
    Account, EnrollmentMade, Instance, InstanceStatus, NewAccount, NewEnrollment, NewInstance, NewPeer, NewSite,
    NewToken, Peer, PeerId, Policy, Protocol, Role, Site, TokenMade,
};
use crate::cli::failure::Failure;
use crate::cli::report::Verdict;
use crate::config;
use crate::gateway::plane::rootless::Rootless;
use crate::gateway::{self, GatewayOptions};
use crate::hub::config::HubConfig;
use crate::hub::server::{Connector, Server};
use crate::hub::store::{self, Settings, StoreConfig};
use crate::uplink::{Connect, Hub, Stream, Trust, UplinkError};

/// The name of account, instance and gateway.
const NAME: &str = "demo";
/// The only region there is.
const REGION: &str = "here";
/// Everything of the demo is on this machine.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Seconds between two reports of the gateway: somebody watches.
const REPORT_SECS: u32 = 1;
/// Longest wait for the instance to be served, and for a report.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for hub and gateway to end by themselves.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// Hub and gateway at work. Dropping it ends both.
pub(super) struct HubSide {
    /// The hub, as its administrator sees it.
    api: Hub,
    /// `http://127.0.0.1:40123`
    pub(super) url: String,
    /// The administrator's token.
    pub(super) token_file: PathBuf,
    account: Account,
    instance: Instance,
    stop: watch::Sender<bool>,
    server: Task,
    gateway: Task,
}

/// A task that ends with its handle.
struct Task(JoinHandle<anyhow::Result<()>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A site as the hub knows it.
pub(super) struct Admitted {
    pub(super) peer: PeerId,
    pub(super) tunnel: IpAddr,
    /// Its enrolment token.
    pub(super) token: PathBuf,
}

/// Connections to the hub in this process.
struct Inside(Connector);

#[async_trait::async_trait]
impl Connect for Inside {
    async fn connect(&self) -> Result<Box<dyn Stream>, UplinkError> {
        let stream = self.0.connect().map_err(|why| UplinkError::Lost { why: Box::new(why) })?;
        Ok(Box::new(stream))
    }

    fn place(&self) -> String {
        "the hub in this process".to_owned()
    }
}

impl HubSide {
    /// Starts hub and gateway, and makes the account and the instance.
    ///
    /// # Errors
    /// If this machine gives no port or no room for files, or the instance is not served in time.
    ///
    /// # Cancel safety
    /// Dropping the future ends both.
    pub(super) async fn start(files: &Files) -> anyhow::Result<Self> {
        let folder = files.folder("hub")?;
        let flag = |key: &str, value: String| (key.to_owned(), value);
        let config = HubConfig::load(
            None,
            |_| None,
            &[
                flag("listen", format!("{HERE}:0")),
                flag("data_dir", folder.display().to_string()),
                flag("report_secs", REPORT_SECS.to_string()),
            ],
        )
        .context("the hub's settings")?;
        let settings = Settings { report_secs: REPORT_SECS, ..Settings::default() };
        let store = store::open_with(&StoreConfig::Sqlite(folder.join("hub.sqlite")), &settings).await?;
        let token_file = folder.join("admin.token");
        store::first_admin(&*store, &token_file).await?;
        let server = Server::bind(config, store).await?;
        let (url, connector) = (format!("http://{}", server.local_addr()), server.connector());
        let (stop, stopped) = watch::channel(false);
        let server = Task(tokio::spawn(serve(server, stopped.clone())));
        let api = Hub::new(url.parse()?, &Trust::Public, Some(config::read_secret(&token_file)?))?;
        let new = NewToken {
            name: "gateway".to_owned(),
            role: Role::Gateway,
            account: None,
            region: Some(REGION.to_owned()),
            ttl_secs: None,
        };
        let token: TokenMade = api.post("/v1/tokens", &new).await.context("the gateway's token")?;
        let options = GatewayOptions {
            hub: Hub::over(Arc::new(Inside(connector)), Some(token.secret)),
            planes: Arc::new(Rootless::new(HERE)),
            state_dir: files.folder("gateway")?,
            name: NAME.to_owned(),
            region: REGION.to_owned(),
            public_host: HERE.to_string(),
            report_every: None,
        };
        let gateway = Task(tokio::spawn(serve_tunnels(options, stopped)));
        let (account, instance) = tenancy(&api).await?;
        Ok(Self { api, url, token_file, account, instance, stop, server, gateway })
    }

    /// Where the gateway is reached.
    pub(super) fn endpoint(&self) -> String {
        self.instance.endpoint.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// The gateway's own address in the tunnel.
    pub(super) fn tunnel_address(&self) -> Option<IpAddr> {
        self.instance.tunnel_subnet.hosts().next()
    }

    /// The words of `sitepeer hub …` at this hub.
    pub(super) fn words(&self, words: &[&str]) -> Vec<String> {
        let token_file = self.token_file.display().to_string();
        let tail = ["--hub", &self.url, "--hub-token-file", &token_file];
        ["hub"].iter().chain(words).chain(&tail).map(|word| (*word).to_owned()).collect()
    }

    /// Makes a site, its peer, and a token to enrol its router with.
    pub(super) async fn admit(&self, name: &str, subnet: Ipv4Net, files: &Files) -> anyhow::Result<Admitted> {
        let site = NewSite { name: name.to_owned(), account: Some(self.account.id.clone()) };
        let site: Site = self.api.post("/v1/sites", &site).await?;
        let peer = NewPeer::Site {
            site: site.id,
            name: None,
            protocol: Protocol::default(),
            subnets: vec![IpNet::V4(subnet)],
            reach: None,
            address: None,
            keepalive_secs: None,
            allow_broad: false,
        };
        let peer: Peer = self.api.post(&format!("/v1/instances/{}/peers", self.instance.id), &peer).await?;
        let enrollment = NewEnrollment { peer: peer.id.clone(), ttl_secs: None, uses: None };
        let made: EnrollmentMade = self.api.post("/v1/enrollments", &enrollment).await?;
        let token = files.write(&format!("{name}.token"), made.token.expose())?;
        let tunnel = peer.addresses.first().copied().context("the hub gave it no address")?;
        Ok(Admitted { peer: peer.id, tunnel, token })
    }

    /// Waits until every site is told to reach these networks: the hub gathers changes for a moment before it tells them.
    pub(super) async fn offered(&self, subnets: &[Ipv4Net]) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let instance: Instance = self.api.get(&format!("/v1/instances/{}", self.instance.id)).await?;
            if subnets.iter().all(|subnet| instance.reach.covering(IpNet::V4(*subnet)).is_some()) {
                return Ok(());
            }
            if Instant::now() > until {
                let message = format!("the hub offers only {} after {} s", instance.reach, PATIENCE.as_secs());
                return Err(Failure::new(Verdict::HubFailed, "demo-reach", message).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Switches a peer on or off.
    pub(super) async fn switch(&self, peer: &PeerId, on: bool) -> anyhow::Result<()> {
        let verb = if on { "enable" } else { "disable" };
        let _peer: Peer = self.api.post(&format!("/v1/peers/{peer}/{verb}"), &()).await.context(verb)?;
        Ok(())
    }

    /// Bytes that the gateway received from a peer and sent to it, once it has reported.
    pub(super) async fn traffic(&self, peer: &PeerId) -> anyhow::Result<(u64, u64)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let peer: Peer = self.api.get(&format!("/v1/peers/{peer}")).await?;
            if (peer.link.rx_bytes > 0 && peer.link.tx_bytes > 0) || Instant::now() > until {
                return Ok((peer.link.rx_bytes, peer.link.tx_bytes));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns when hub or gateway ends, which neither should.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let (what, ended) = tokio::select! {
            ended = &mut self.server.0 => ("the hub", ended),
            ended = &mut self.gateway.0 => ("the gateway", ended),
        };
        let error = match ended {
            Ok(Ok(())) => anyhow::anyhow!("it stopped"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        };
        error.context(what)
    }

    /// Ends both in order: the gateway reports once more, the hub closes its store.
    pub(super) async fn stop(mut self) {
        // Nobody listens any more if both are gone already.
        self.stop.send_replace(true);
        for (what, task) in [("gateway", &mut self.gateway), ("hub", &mut self.server)] {
            match tokio::time::timeout(STOP_DEADLINE, &mut task.0).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(%error, what, "it ended with an error"),
                Ok(Err(error)) => tracing::warn!(%error, what, "it ended badly"),
                Err(_) => tracing::warn!(what, "it did not end in time"),
            }
        }
    }
}

async fn serve(server: Server, mut stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    server.run(until(&mut stopped)).await;
    Ok(())
}

async fn serve_tunnels(options: GatewayOptions, mut stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    Ok(gateway::run(options, until(&mut stopped)).await?)
}

/// Waits for the end of the demo.
async fn until(stopped: &mut watch::Receiver<bool>) {
    // An error is the end too: whoever would say it is gone.
    let _end = stopped.wait_for(|stopped| *stopped).await;
}

/// Makes account and instance, and waits until the gateway serves it.
async fn tenancy(api: &Hub) -> anyhow::Result<(Account, Instance)> {
    let new = NewAccount { name: NAME.to_owned(), max_instances: None };
    let account: Account = api.post("/v1/accounts", &new).await.context("the account")?;
    // A port that is free just now: 51820 may be somebody's.
    let listen_port = UdpSocket::bind((HERE, 0))?.local_addr()?.port();
    let new = NewInstance {
        name: NAME.parse()?,
        hostname: Some(format!("sitepeer-{NAME}")),
        region: REGION.to_owned(),
        account: Some(account.id.clone()),
        tunnel_subnet: None,
        tunnel_subnet6: None,
        listen_port: Some(listen_port),
        dns: Vec::new(),
        search: Vec::new(),
        pushed_routes: Vec::new(),
        policy: Policy::default(),
        rotate_keys_days: None,
        allow_broad: false,
    };
    let made: Instance = api.post("/v1/instances", &new).await.context("the instance")?;
    let until = Instant::now() + PATIENCE;
    loop {
        let instance: Instance = api.get(&format!("/v1/instances/{}", made.id)).await?;
        match instance.status {
            InstanceStatus::Active => return Ok((account, instance)),
            InstanceStatus::Error => return Err(unserved(&instance).into()),
            _ if Instant::now() > until => return Err(unserved(&instance).into()),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn unserved(instance: &Instance) -> Failure {
    let waits: Vec<&str> = instance.readiness.iter().map(|step| step.detail.as_str()).collect();
    let why = instance.reason.clone().unwrap_or_else(|| waits.join("; "));
    Failure::new(Verdict::HubFailed, "demo-instance", format!("the instance is not served: {why}"))
}
