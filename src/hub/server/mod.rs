//! The hub's server: accepts connections, keeps the housekeeping going, and stops gracefully.
//!
//! Tasks: one for each connection; housekeeping every [`super::TICK`]; [`super::wake::Wakes::fan_out`]; the look at the certificate's
//! files. All end when [`Server::run`] does, or is dropped.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::auth::Remote;
use super::config::HubConfig;
use super::problem::Chain;
use super::routes;
use super::state::{Context, State};
use super::store::Store;

mod connection;
mod crowd;
mod descriptors;
mod patience;
mod tls;

use crowd::{Crowd, Guest};

pub use tls::TlsError;

/// How long requests that are under way may take to end when the hub stops.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes between the embedded gateway and the hub: a page of peers is written in a few turns.
const DUPLEX_BYTES: usize = 64 * 1024;
/// After the system refused a connection (no file descriptor left, say): trying at once again would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the hub does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be served.
    #[error("cannot serve TLS")]
    Tls(#[source] TlsError),
}

impl ServeError {
    /// Returns the way out, where there is a plain one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another program listens there: stop it, or choose another address with --listen".to_owned())
            }
            Self::Listen { .. } => None,
            Self::Tls(error) => error.hint(),
        }
    }
}

/// A hub that listens, and serves once it runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<tls::Tls>>,
    front: Front,
    /// Ends every connection when the server is dropped.
    _end: DropGuard,
}

/// What serves connections, whatever they come over.
#[derive(Debug, Clone)]
struct Front {
    context: Context,
    router: Router,
    /// One permit for each connection.
    room: Arc<Semaphore>,
    crowd: Crowd,
    end: CancellationToken,
}

/// What a connection holds until it ends.
#[derive(Debug)]
struct Held {
    _permit: OwnedSemaphorePermit,
    _guest: Guest,
}

/// Opens connections to the hub inside this process.
#[derive(Debug, Clone)]
pub struct Connector(Front);

/// The hub stops, and takes no connections any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub stops")]
pub struct Stopped;

impl Connector {
    /// Opens a connection: the other end of the stream speaks HTTP/1.1.
    ///
    /// # Errors
    /// [`Stopped`] once the hub stops.
    pub fn connect(&self) -> Result<DuplexStream, Stopped> {
        if self.0.context.stopping.is_cancelled() || self.0.end.is_cancelled() {
            return Err(Stopped);
        }
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        // The process's own gateway is no stranger: it gets in even if the house is full.
        self.0.serve(ours, Remote::Embedded, None);
        Ok(theirs)
    }
}

impl Front {
    /// Serves a connection in a task of its own. A stream had better be boxed: it stands several times in the connection's future,
    /// ten thousand times over.
    fn serve<S>(&self, stream: S, remote: Remote, held: Option<Held>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (router, stopping, end) = (self.router.clone(), self.context.stopping.clone(), self.end.clone());
        let counted = self.context.metrics.connection();
        tokio::spawn(async move {
            let _held = (held, counted);
            tokio::select! {
                () = connection::serve(stream, remote, router, stopping) => {}
                () = end.cancelled() => {}
            }
        });
    }

    /// As [`Front::serve`], after a TLS handshake.
    fn serve_tls(&self, stream: TcpStream, remote: Remote, held: Held, tls: &tls::Tls) {
        let (front, acceptor) = (self.clone(), tls.acceptor());
        tokio::spawn(async move {
            let handshake = tokio::time::timeout(tls::HANDSHAKE_TIMEOUT, acceptor.accept(stream));
            let accepted = tokio::select! {
                accepted = handshake => accepted,
                () = front.context.stopping.cancelled() => return,
                () = front.end.cancelled() => return,
            };
            match accepted {
                Ok(Ok(stream)) => front.serve(Box::new(stream), remote, Some(held)),
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    }
}

impl Server {
    /// Opens the listener and reads the certificate; serves nobody yet.
    ///
    /// # Errors
    /// [`ServeError`] if the address is taken or the certificate cannot be used.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn bind(config: HubConfig, store: Arc<dyn Store>) -> Result<Self, ServeError> {
        let tls = config.tls.as_ref().map(tls::Tls::open).transpose().map_err(ServeError::Tls)?.map(Arc::new);
        descriptors::ask_for(config.max_connections);
        let address = config.listen;
        let refused = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let room = Arc::new(Semaphore::new(config.max_connections));
        let crowd = Crowd::new(config.max_connections_per_address, config.trusted_proxies.clone());
        let context = State::new(config, store);
        let end = CancellationToken::new();
        let front = Front { router: routes::router(Arc::clone(&context)), context, room, crowd, end: end.clone() };
        Ok(Self { listener, address, tls, front, _end: end.drop_guard() })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns whether it speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns what opens connections inside this process.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector(self.front.clone())
    }

    /// Serves until `stop` is ready; then lets what is under way end, for at most [`STOP_DEADLINE`].
    ///
    /// Long-polls are answered with "nothing new" at once when the hub stops: who asked comes again, here or at another replica.
    ///
    /// # Cancel safety
    /// Dropping it ends every connection at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let context = Arc::clone(&self.front.context);
        let wakes = Arc::clone(context.store.wakes());
        let follow = async {
            match &self.tls {
                Some(tls) => tls.follow().await,
                None => std::future::pending().await,
            }
        };
        tracing::info!(address = %self.address, tls = self.is_tls(), "the hub serves");
        let work = async { tokio::join!(self.accept(), housekeeping(&context), wakes.fan_out(), follow) };
        tokio::select! {
            _never = work => {}
            () = stop => {}
        }
        tracing::info!("the hub stops");
        context.stopping.cancel();
        let all = u32::try_from(context.config.max_connections).unwrap_or(u32::MAX);
        let ended = tokio::time::timeout(STOP_DEADLINE, self.front.room.acquire_many(all)).await.is_ok();
        tracing::info!(ended, "connections that did not end in time are cut");
    }

    /// Never ends.
    async fn accept(&self) {
        loop {
            // The semaphore is never closed; if it were, there would be no room.
            let Ok(permit) = Arc::clone(&self.front.room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let remote = Remote::Socket(address);
                    let Some(guest) = self.front.crowd.admit(address) else {
                        tracing::debug!(%address, "a connection was closed: its address has its most");
                        self.front.context.metrics.turned_away();
                        continue;
                    };
                    let held = Held { _permit: permit, _guest: guest };
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection went before it was served");
                        continue;
                    }
                    match &self.tls {
                        Some(tls) => self.front.serve_tls(stream, remote, held, tls),
                        None => self.front.serve(Box::new(stream), remote, Some(held)),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the system gives no connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Never ends. A round that fails is logged once until one succeeds, and the next one tries again.
async fn housekeeping(context: &State) {
    let mut every = tokio::time::interval(super::TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        every.tick().await;
        match context.store.tick().await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("housekeeping works again");
            }
            Ok(()) => {}
            Err(error) => {
                context.metrics.tick_failed();
                if !failing {
                    tracing::warn!(error = %Chain(&error), "housekeeping failed: it is tried again");
                }
                failing = true;
            }
        }
    }
}

/// Checks settings as far as that goes without serving: the files of TLS are read, and the address can be listened on.
///
/// # Errors
/// [`ServeError`] with what is wrong.
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn check(config: &HubConfig) -> Result<(), ServeError> {
    if let Some(files) = &config.tls {
        tls::load(files).map_err(ServeError::Tls)?;
    }
    let address = config.listen;
    TcpListener::bind(address).await.map(drop).map_err(|source| ServeError::Listen { address, source })
}
