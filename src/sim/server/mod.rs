//! The device on the network: listeners, sessions, and the handle by which tests and the demo hold it.
//!
//! # Tasks
//!
//! A listener for each of API and api-ssl; for each connection a session, its writer, and a task for each `listen` or ping that
//! runs on. All belong to the [`SimRouter`]: dropping it ends them.

mod armed;
mod keeper;
mod link;
mod login;
mod reply;
mod running;
mod session;
mod tls;
mod uplink;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use self::armed::Armory;
use self::link::{LinkQuality, Stream, degrade};
pub use self::tls::TlsError;
use self::uplink::Uplink;
use super::device::{Answer, Device, DeviceState, Gate, Request, StateOptions, Trap, Viewer};
use super::faults::Fault;
use super::options::{SessionPath, SimOptions};
use super::plane::{Plane, PlaneError};
use super::schema::SchemaError;

/// How long a rebooting device is away. A real one takes a minute; a test has no use for that.
const REBOOT_TIME: Duration = Duration::from_millis(300);
/// How long a listener tries to get its port back after a reboot.
const REBIND_DEADLINE: Duration = Duration::from_secs(5);
const REBIND_PAUSE: Duration = Duration::from_millis(50);
/// Most writes that are remembered: a test of minutes with a write a second on a router.
const MAX_WRITTEN: usize = 10_000;
/// A TLS handshake that takes longer is given up.
const TLS_DEADLINE: Duration = Duration::from_secs(30);

/// Why a simulated device cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The data built into the program is malformed.
    #[error("cannot read the menus")]
    Schema(#[from] SchemaError),
    /// The address to listen on is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The data plane cannot start.
    #[error("cannot start the data plane")]
    Plane(#[from] PlaneError),
    /// api-ssl has no certificate.
    #[error("cannot serve api-ssl")]
    Tls(#[from] TlsError),
}

/// What sessions share.
pub(crate) struct Shared {
    device: Mutex<Device>,
    faults: Mutex<Armory>,
    uplink: Uplink,
    /// Counts reboots; sessions and listeners of an older count end.
    boots: watch::Sender<u64>,
    /// What the rows let through to sessions.
    gate: watch::Sender<Gate>,
    /// Wakes the keeper: what is scheduled may have changed.
    rows_changed: Notify,
    /// What sessions wrote, the newest last.
    written: Mutex<VecDeque<Written>>,
}

/// A write that a session made and the device carried out.
#[derive(Clone, Debug)]
pub struct Written {
    /// When.
    pub at: Instant,
    /// Who was logged in.
    pub user: String,
    /// Menu and command, such as `/ip/route/add`.
    pub path: String,
    /// The row's comment, if the command sets one.
    pub comment: Option<String>,
}

impl Shared {
    /// The lock is never held across an await, and a panic of another holder leaves rows as they are.
    pub(crate) fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a write.
    fn note(&self, user: &str, request: &Request) {
        let comment = request.get("comment").map(|comment| String::from_utf8_lossy(comment).into_owned());
        let written = Written { at: Instant::now(), user: user.to_owned(), path: request.path.clone(), comment };
        let mut all = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_WRITTEN {
            all.pop_front();
        }
        all.push_back(written);
    }

    fn faults(&self) -> MutexGuard<'_, Armory> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what the rows let through now; called whenever they may have changed.
    fn look(&self) {
        let gate = {
            let mut device = self.device();
            let gate = device.gate();
            device.set_cut(!gate.established);
            gate
        };
        self.gate.send_if_modified(|before| std::mem::replace(before, gate) != gate);
        self.rows_changed.notify_one();
    }

    /// Waits until something gets through.
    async fn until(&self, wanted: impl Fn(&Gate) -> bool) {
        // The sender lives as long as we do.
        drop(self.gate.subscribe().wait_for(wanted).await.map(|gate| *gate));
    }

    /// Reboots: every connection drops, what is not configuration is lost.
    async fn reboot(&self) {
        self.device().reboot();
        self.boots.send_modify(|count| *count += 1);
        self.uplink.restart(self).await;
        keeper::run_due(self).await;
    }

    fn link_quality(&self) -> LinkQuality {
        let mut quality = LinkQuality::default();
        for fault in self.faults().all() {
            match fault {
                Fault::Slow(rate) => quality.bytes_per_second = Some(*rate),
                Fault::OneByteSegments => quality.one_byte_segments = true,
                Fault::Latency(delay) => quality.latency = Some(*delay),
                _ => {}
            }
        }
        quality
    }
}

/// A running simulated device; dropping it ends it.
pub struct SimRouter {
    shared: Arc<Shared>,
    api: SocketAddr,
    api_ssl: Option<(SocketAddr, [u8; 32])>,
    _tasks: JoinSet<()>,
}

impl SimRouter {
    /// Starts a device that answers on the addresses of `options`.
    ///
    /// # Errors
    /// [`SimError`] if an address cannot be listened on, or api-ssl has no certificate.
    pub async fn start(options: SimOptions) -> Result<Self, SimError> {
        let identity = match options.api_ssl {
            Some(_) => Some(tls::identity(options.tls_cert_file.as_deref(), &options.identity)?),
            None => None,
        };
        let mut armory = Armory::default();
        options.faults.iter().for_each(|fault| armory.arm(*fault));
        let (api_at, ssl_at) = (options.api, options.api_ssl);
        let uplink = Uplink::start(&options).await?;
        let (boots, _) = watch::channel(0);
        let device = Device::new(options)?;
        let (gate, _) = watch::channel(device.gate());
        let followed = device.options.faults.clone();
        let (device, faults) = (Mutex::new(device), Mutex::new(armory));
        let shared = Arc::new(Shared {
            device,
            faults,
            uplink,
            boots,
            gate,
            rows_changed: Notify::new(),
            written: Mutex::default(),
        });
        shared.uplink.follow(&followed);
        shared.uplink.apply(&shared).await;

        let mut tasks = JoinSet::new();
        let listener = bind(api_at).await?;
        let api = local(&listener, api_at)?;
        tasks.spawn(keeper::keep(Arc::clone(&shared)));
        tasks.spawn(accept(Arc::clone(&shared), listener, api, None));
        let mut api_ssl = None;
        if let (Some(at), Some(identity)) = (ssl_at, identity) {
            let listener = bind(at).await?;
            let address = local(&listener, at)?;
            api_ssl = Some((address, identity.fingerprint));
            tasks.spawn(accept(Arc::clone(&shared), listener, address, Some(identity.acceptor)));
        }
        Ok(Self { shared, api, api_ssl, _tasks: tasks })
    }

    /// Where the API answers.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api
    }

    /// Where api-ssl answers, if it does.
    #[must_use]
    pub fn api_ssl_addr(&self) -> Option<SocketAddr> {
        self.api_ssl.map(|(address, _)| address)
    }

    /// SHA-256 of the certificate of api-ssl.
    #[must_use]
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.api_ssl.map(|(_, fingerprint)| fingerprint)
    }

    /// Lets something go wrong from now on; counts in it begin now.
    pub async fn inject(&self, fault: Fault) {
        {
            let mut device = self.shared.device();
            device.take_fault(fault);
            device.options.faults.push(fault);
        }
        self.shared.faults().arm(fault);
        self.follow_faults();
        self.shared.uplink.apply(&self.shared).await;
    }

    /// Ends all faults. Rows and a clock they changed stay so.
    pub fn clear_faults(&self) {
        self.shared.device().options.faults.clear();
        self.shared.faults().clear();
        self.follow_faults();
    }

    fn follow_faults(&self) {
        let faults = self.shared.device().options.faults.clone();
        self.shared.uplink.follow(&faults);
    }

    /// Changes what a name stands for where the device asks (`None`: nothing). A tunnel notices when its endpoint is looked up next.
    ///
    /// # Errors
    /// [`PlaneError`] if the data plane is gone.
    pub async fn set_name(&self, name: &str, address: Option<IpAddr>) -> Result<(), PlaneError> {
        {
            let names = &mut self.shared.device().options.names;
            names.retain(|(known, _)| known != name);
            names.extend(address.map(|address| (name.to_owned(), address)));
        }
        match self.shared.uplink.plane() {
            Some(plane) => plane.set_name(name, address).await,
            None => Ok(()),
        }
    }

    /// How many of the faults that strike once have struck.
    #[must_use]
    pub fn faults_fired(&self) -> usize {
        self.shared.faults().fired()
    }

    /// All rows of all menus, to be compared.
    #[must_use]
    pub fn state(&self, options: StateOptions) -> DeviceState {
        let mut device = self.shared.device();
        device.settle();
        device.state(options)
    }

    /// How many writing commands the device has executed, refused ones included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.shared.device().writes
    }

    /// How many sessions are logged in.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.device().sessions.len()
    }

    /// Runs a command as someone at the router's own console would, and returns rows or the id of what was added.
    ///
    /// # Errors
    /// [`Trap`] if the device refuses.
    pub async fn operator(&self, path: &str, attrs: &[(&str, &[u8])]) -> Result<Vec<OperatorRow>, Trap> {
        let request = Request::of_words(path, attrs);
        self.shared.uplink.refresh(&self.shared, path).await;
        let answer = {
            let mut device = self.shared.device();
            device.run(&Viewer::operator(), &request).map_err(|refusal| device.texts.trap(&refusal))
        }?;
        self.shared.uplink.apply(&self.shared).await;
        Ok(match answer {
            Answer::Rows(rows) => rows.into_iter().map(|row| row.0).collect(),
            Answer::Done(Some(ret)) => vec![vec![("ret".to_owned(), ret)]],
            Answer::Reboot => {
                self.shared.reboot().await;
                Vec::new()
            }
            _ => Vec::new(),
        })
    }

    /// Somebody logs in by another way than the API, such as `winbox`, and stays until the device reboots.
    pub fn log_in(&self, user: &str, via: &'static str, from: SocketAddr) {
        self.shared.device().log_in(user, via, self.api, from);
    }

    /// What becomes of the device's packets: pings from hosts behind it, faults of the network. `None` if it has no plane.
    #[must_use]
    pub fn plane(&self) -> Option<&Plane> {
        self.shared.uplink.plane()
    }

    /// Lets time pass on the device: list entries expire, the clock goes on.
    pub fn advance(&self, by: Duration) {
        let mut device = self.shared.device();
        device.clock.advance(by);
        device.settle();
        drop(device);
        self.shared.rows_changed.notify_one();
    }

    /// Lets time pass on the device as [`advance`](Self::advance) does, and what is scheduled within it run and take effect.
    pub async fn pass_time(&self, by: Duration) {
        let until = self.shared.device().clock.monotonic() + by;
        loop {
            let (event, now) = {
                let device = self.shared.device();
                (device.next_event().filter(|next| *next <= until), device.clock.monotonic())
            };
            self.advance(event.unwrap_or(until).saturating_duration_since(now));
            keeper::run_due(&self.shared).await;
            if event.is_none() {
                return;
            }
        }
    }

    /// Says where sessions come from: from now on, rows that do not let them cut them off.
    pub fn come_from(&self, path: Option<SessionPath>) {
        self.shared.device().path = path;
        self.shared.look();
    }

    /// Tells whether a session from there would get in now.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        let device = self.shared.device();
        let from = device.seen_from(self.api).ip();
        device.gate().new && device.serves("api", from)
    }

    /// What sessions wrote, oldest first; of many writes only the newest are remembered.
    #[must_use]
    pub fn written(&self) -> Vec<Written> {
        self.shared.written.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Who is logged in now, once for each session.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        self.shared.device().sessions.iter().map(|session| session.user.clone()).collect()
    }

    /// What scripts and the scheduler had to say since the device started.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.shared.device().log.clone()
    }

    /// Pulls the plug: connections drop, and after a moment the device answers again.
    pub async fn reboot(&self) {
        self.shared.reboot().await;
    }
}

/// Names and values of one row.
pub type OperatorRow = Vec<(String, Vec<u8>)>;

async fn bind(address: SocketAddr) -> Result<TcpListener, SimError> {
    TcpListener::bind(address).await.map_err(|source| SimError::Listen { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, SimError> {
    listener.local_addr().map_err(|source| SimError::Listen { address, source })
}

/// Takes connections until the device ends; away during a reboot.
async fn accept(shared: Arc<Shared>, mut listener: TcpListener, address: SocketAddr, tls: Option<TlsAcceptor>) {
    let mut boots = shared.boots.subscribe();
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((socket, remote)) => {
                    let shared = Arc::clone(&shared);
                    sessions.spawn(connection(shared, socket, address, remote, tls.clone()));
                }
                Err(error) => tracing::debug!(%error, "a connection could not be taken"),
            },
            Some(_) = sessions.join_next() => {}
            _ = boots.changed() => {
                sessions.shutdown().await;
                drop(listener);
                tokio::time::sleep(REBOOT_TIME).await;
                match rebind(address).await {
                    Ok(again) => listener = again,
                    Err(error) => {
                        tracing::error!(%error, %address, "the port is gone after a reboot");
                        return;
                    }
                }
            }
        }
    }
}

async fn rebind(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + REBIND_DEADLINE;
    loop {
        match TcpListener::bind(address).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(REBIND_PAUSE).await,
            result => return result,
        }
    }
}

async fn connection(
    shared: Arc<Shared>,
    socket: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let via = if tls.is_some() { "api-ssl" } else { "api" };
    let remote = shared.device().seen_from(remote);
    // What is dropped on the way is sent again until it gets through, or the other side gives up.
    shared.until(|gate| gate.new).await;
    if !shared.device().serves(via, remote.ip()) {
        return tracing::debug!(%remote, via, "the service is off, or not for this address");
    }
    let mut tasks = JoinSet::new();
    let stream = degrade(socket, shared.link_quality(), &mut tasks);
    let stream: Box<dyn Stream> = match tls {
        None => stream,
        Some(acceptor) => match tokio::time::timeout(TLS_DEADLINE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => return tracing::debug!(%error, %remote, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%remote, "TLS handshake took too long"),
        },
    };
    session::run(shared, stream, session::Ends { via, local, remote }).await;
    // What a late link still carries is delivered: its tasks end when both ends are closed.
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(TLS_DEADLINE, drained).await.is_err() {
        tracing::debug!(%remote, "link did not drain");
    }
}
