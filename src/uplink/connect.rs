//! Streams to the hub.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::Instant,
};
use tokio_rustls::TlsConnector;

use super::{Deadlines, HubUrl, Step, Trust, UplinkError, deadline::within, tls, url::is_loopback};
use crate::domain::Host;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Opens streams to one hub.
#[async_trait::async_trait]
pub trait Connect: Send + Sync {
    /// Opens one, ready for HTTP.
    ///
    /// # Errors
    /// [`UplinkError`]; implementations have a deadline of their own.
    ///
    /// # Cancel safety
    /// Safe: dropped, it leaves nothing open.
    async fn connect(&self) -> Result<Box<dyn Stream>, UplinkError>;

    /// Where the hub is, for messages: `https://hub.example.net`.
    fn place(&self) -> String;

    /// `HOST` or `HOST:PORT` for the `Host` header.
    fn authority(&self) -> String {
        "localhost".to_owned()
    }
}

/// Connects over TCP, with TLS or without.
pub(super) struct Dialer {
    url: HubUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    deadlines: Deadlines,
}

impl Dialer {
    pub(super) fn new(url: HubUrl, trust: &Trust, deadlines: Deadlines) -> Result<Self, UplinkError> {
        let tls = if url.is_tls { Some((tls::connector(trust)?, server_name(&url.host)?)) } else { None };
        Ok(Self { url, tls, deadlines })
    }

    /// The addresses of the hub; in the clear only those of this machine, unless others were allowed.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, UplinkError> {
        let addresses: Vec<SocketAddr> = match &self.url.host {
            Host::Address(address) => vec![SocketAddr::new(*address, self.url.port)],
            Host::Name(name) => {
                let found = lookup_host((name.as_str(), self.url.port)).await;
                found.map_err(|why| UplinkError::Unresolvable { host: name.clone(), why })?.collect()
            }
        };
        let may_go = |address: &SocketAddr| self.url.is_tls || self.url.may_leave || is_loopback(address.ip());
        Ok(addresses.into_iter().filter(may_go).collect())
    }

    async fn tcp(&self, addresses: Vec<SocketAddr>, left: Duration) -> Result<TcpStream, UplinkError> {
        let end = Instant::now() + left;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address that may be used");
        let mut late = None;
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for (address, others) in addresses.into_iter().zip((1..=count).rev()) {
            // Each its share, so that an address that swallows everything does not keep the next from being tried.
            let share = end.saturating_duration_since(Instant::now()) / others;
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|why| UplinkError::Unreachable { place: self.place(), why })?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => late = Some(UplinkError::Timeout { step: Step::Connect, after: left }),
            }
        }
        Err(late.unwrap_or(UplinkError::Unreachable { place: self.place(), why: last }))
    }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, UplinkError> {
    match host {
        Host::Address(address) => Ok(ServerName::from(*address)),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| UplinkError::Unsendable { what: "host name", why: error.to_string() }),
    }
}

#[async_trait::async_trait]
impl Connect for Dialer {
    async fn connect(&self) -> Result<Box<dyn Stream>, UplinkError> {
        let (began, all) = (Instant::now(), self.deadlines.connect);
        let addresses = within(Step::Resolve, all, self.addresses()).await?;
        let stream = self.tcp(addresses, all.saturating_sub(began.elapsed())).await?;
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream)) };
        let handshake = async { connector.connect(name.clone(), stream).await.map_err(tls::judge) };
        let stream = within(Step::Tls, all.saturating_sub(began.elapsed()), handshake).await?;
        Ok(Box::new(stream))
    }

    fn place(&self) -> String {
        self.url.to_string()
    }

    fn authority(&self) -> String {
        self.url.authority()
    }
}

/// A [`Connect`] may be shared.
#[async_trait::async_trait]
impl<C: Connect + ?Sized> Connect for Arc<C> {
    async fn connect(&self) -> Result<Box<dyn Stream>, UplinkError> {
        (**self).connect().await
    }

    fn place(&self) -> String {
        (**self).place()
    }

    fn authority(&self) -> String {
        (**self).authority()
    }
}
