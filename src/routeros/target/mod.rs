//! From a URL to a session: resolve, check that the way is safe, connect, TLS, log in.
//!
//! Nothing that would identify the user is sent before the way was found safe.

mod error;
mod plaintext;
mod url;

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

pub use error::{ConnectError, FailureClass, Step};
pub use plaintext::is_private;
pub use url::{DEFAULT_USER, InvalidUrl, MAX_URL_BYTES, RouterHost, RouterUrl, Scheme};

use super::{
    client::{COMMAND_DEADLINE, Client, Ends},
    login::login,
    tls::{Trust, handshake},
};
use crate::domain::Secret;

/// How long resolving the name and connecting may take together.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long the TLS handshake may take. A small router needs a second or two for an RSA signature under load.
pub const TLS_DEADLINE: Duration = Duration::from_secs(10);

/// How long the login may take. RADIUS answers late, and a wrong password is answered late on purpose.
pub const LOGIN_DEADLINE: Duration = Duration::from_secs(15);

/// The most addresses of a name that are tried.
pub const MAX_ADDRESSES: usize = 8;

/// The least time an address gets while others remain to be tried.
const LEAST_PER_ADDRESS: Duration = Duration::from_millis(500);

/// Whether the API may be spoken in the clear to an address that is not private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plaintext {
    /// It may not.
    #[default]
    Refuse,
    /// The user said that it may.
    Allow,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Resolving and connecting, all addresses together.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// Logging in.
    pub login: Duration,
    /// Each command after that: see [`Client::with_deadline`].
    pub command: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: CONNECT_DEADLINE, tls: TLS_DEADLINE, login: LOGIN_DEADLINE, command: COMMAND_DEADLINE }
    }
}

/// All that is needed to get into a router.
#[derive(Debug, Clone)]
pub struct Access {
    /// Which router, and as whom.
    pub url: RouterUrl,
    /// The user's password.
    pub password: Secret,
    /// How to know its certificate (`apis://`).
    pub trust: Trust,
    /// Whether the clear is fine everywhere (`api://`).
    pub plaintext: Plaintext,
    /// How long to wait.
    pub deadlines: Deadlines,
}

/// Connects and logs in.
///
/// # Errors
/// [`ConnectError`].
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn connect(access: &Access) -> Result<Client, ConnectError> {
    let deadlines = access.deadlines;
    let until = Instant::now() + deadlines.connect;
    let addresses = resolve(&access.url, deadlines.connect).await?;
    if access.url.scheme == Scheme::Api && access.plaintext == Plaintext::Refuse {
        // All of them: which one answers is not ours to say.
        if let Some(public) = addresses.iter().find(|address| !is_private(address.ip())) {
            return Err(ConnectError::PlaintextRefused { address: public.ip() });
        }
    }
    let (stream, ends) = dial(&addresses, until, deadlines.connect).await?;
    match access.url.scheme {
        Scheme::Api => enter(stream, ends, access).await,
        Scheme::Apis => {
            let name = match &access.url.host {
                RouterHost::Name(name) => Some(name.as_str()),
                RouterHost::Address(..) => None,
            };
            let tls = handshake(stream, &access.trust, name, ends.peer.ip());
            match timeout(deadlines.tls, tls).await {
                Ok(stream) => enter(stream?, ends, access).await,
                Err(_) => Err(ConnectError::Timeout { step: Step::Tls, after: deadlines.tls }),
            }
        }
    }
}

/// Logs in over a stream that is safe.
async fn enter<S>(stream: S, ends: Ends, access: &Access) -> Result<Client, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let after = access.deadlines.login;
    let client = Client::over(stream, ends).with_deadline(after);
    match timeout(after, login(&client, &access.url.user, &access.password)).await {
        Ok(Ok(())) => Ok(client.with_deadline(access.deadlines.command)),
        Ok(Err(error)) => Err(ConnectError::of_login(error, after)),
        Err(_) => Err(ConnectError::Timeout { step: Step::Login, after }),
    }
}

/// Finds the addresses. What is returned is what is connected to: there is no second look-up.
async fn resolve(url: &RouterUrl, within: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    let host = match &url.host {
        RouterHost::Address(address, None) => return Ok(vec![SocketAddr::new(*address, url.port)]),
        RouterHost::Address(address, Some(scope)) => format!("{address}%{scope}"),
        RouterHost::Name(name) => name.clone(),
    };
    let look_up = async { Ok(lookup_host((host.as_str(), url.port)).await?.take(MAX_ADDRESSES).collect::<Vec<_>>()) };
    let found = match timeout(within, look_up).await {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => return Err(ConnectError::Unresolvable { host, why: Some(why) }),
        Err(_) => return Err(ConnectError::Timeout { step: Step::Resolve, after: within }),
    };
    if found.is_empty() { Err(ConnectError::Unresolvable { host, why: None }) } else { Ok(found) }
}

/// Tries the addresses in turn, none so long that the next one gets no time.
async fn dial(addresses: &[SocketAddr], until: Instant, after: Duration) -> Result<(TcpStream, Ends), ConnectError> {
    let mut last = ConnectError::Timeout { step: Step::Connect, after };
    for (index, &address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = (left / others).max(LEAST_PER_ADDRESS).min(left);
        match timeout(share, open(address)).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(why)) => last = ConnectError::Unreachable { address, why },
            Err(_) => last = ConnectError::Timeout { step: Step::Connect, after },
        }
    }
    Err(last)
}

async fn open(address: SocketAddr) -> io::Result<(TcpStream, Ends)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // However a session ends, what it has not brought through by then never arrives: a change that comes late, when all was put back,
    // would be made without a guard. What matters was answered before.
    stream.set_zero_linger()?;
    let ends = Ends { local: stream.local_addr()?, peer: stream.peer_addr()? };
    Ok((stream, ends))
}
