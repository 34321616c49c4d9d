//! The client of the hub's HTTP API, for agents, gateways and the command line.
//!
//! HTTP/1.1 over TLS, or in the clear to this machine, or over any stream a [`Connect`] gives (the demo's gateway speaks to the
//! hub in its own process). Every wait has a deadline, every reply a bound; what is no answer of a hub is [`UplinkError::Garbage`]
//! with its first words made fit to be shown. Redirects are not followed: the credential goes to the place that was named and to
//! no other. One task per connection drives it and ends with its handle.

mod connect;
mod deadline;
mod error;
mod exchange;
mod link;
mod reply;
mod site;
mod tls;
mod url;

use std::{fmt, sync::Arc};

use hyper::header::HeaderValue;
use serde::{Serialize, de::DeserializeOwned};

pub use connect::{Connect, Stream};
pub use deadline::{Deadlines, Step};
pub use error::{Refusal, Retry, UplinkError};
pub use hyper::Method;
pub use reply::Reply;
pub use site::{UnfitSite, site};
pub use tls::{MAX_CA_FILE_BYTES, Trust};
pub use url::{HubUrl, InvalidHubUrl, encode};

use crate::domain::Secret;
use exchange::Ask;
use link::Link;

/// Headers that a request may carry beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// The version that is meant to be changed (`If-Match`), as an [`Reply::etag`] said it.
    pub if_match: Option<String>,
    /// Makes a POST safe to repeat: it is then tried again after a stale connection, as a GET is.
    pub idempotency_key: Option<String>,
}

/// A hub. Clones share the connections that are kept.
#[derive(Clone)]
pub struct Hub {
    link: Arc<Link>,
    credential: Option<Secret>,
    deadlines: Deadlines,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub at `url`. Nothing is sent yet; a CA file is read now.
    ///
    /// # Errors
    /// [`UplinkError::CaFile`].
    pub fn new(url: HubUrl, trust: &Trust, credential: Option<Secret>) -> Result<Self, UplinkError> {
        let deadlines = Deadlines::default();
        let dialer = connect::Dialer::new(url, trust, deadlines)?;
        Ok(Self::over(Arc::new(dialer), credential))
    }

    /// A hub behind `connect`.
    #[must_use]
    pub fn over(connect: Arc<dyn Connect>, credential: Option<Secret>) -> Self {
        Self { link: Arc::new(Link::new(connect)), credential, deadlines: Deadlines::default() }
    }

    /// The same hub and connections with another credential.
    #[must_use]
    pub fn with_credential(&self, credential: Secret) -> Self {
        Self { credential: Some(credential), ..self.clone() }
    }

    /// The same hub and connections with other deadlines.
    #[must_use]
    pub fn with_deadlines(&self, deadlines: Deadlines) -> Self {
        Self { deadlines, ..self.clone() }
    }

    /// Where the hub is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.link.place()
    }

    /// Gets `path` (with its query).
    ///
    /// # Errors
    /// [`UplinkError`].
    ///
    /// # Cancel safety
    /// Safe: a dropped call closes its connection; the next call opens another.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, UplinkError> {
        self.exchange(Method::GET, path, None, &SendOptions::default(), self.deadlines).await?.json()
    }

    /// Gets `path` as it is: content type and bytes. For profiles and pictures.
    ///
    /// # Errors
    /// [`UplinkError`].
    ///
    /// # Cancel safety
    /// Safe, as [`Hub::get`].
    pub async fn text(&self, path: &str) -> Result<(String, Vec<u8>), UplinkError> {
        let reply = self.exchange(Method::GET, path, None, &SendOptions::default(), self.deadlines).await?;
        Ok((reply.content_type.clone(), reply.body.to_vec()))
    }

    /// Waits at `path` (with `revision=` and `wait=`) for something newer; `None` if there is nothing (304).
    ///
    /// # Errors
    /// [`UplinkError`].
    ///
    /// # Cancel safety
    /// Safe, as [`Hub::get`].
    pub async fn poll<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, UplinkError> {
        let deadlines = self.deadlines.of_a_poll();
        let reply = self.exchange(Method::GET, path, None, &SendOptions::default(), deadlines).await?;
        if reply.status == 304 { Ok(None) } else { reply.json().map(Some) }
    }

    /// Posts `body` to `path`. `T` is `()` where the hub answers nothing (204).
    ///
    /// # Errors
    /// [`UplinkError`].
    ///
    /// # Cancel safety
    /// The request may have been done; the connection is closed.
    pub async fn post<B, T>(&self, path: &str, body: &B) -> Result<T, UplinkError>
    where
        B: Serialize + Sync + ?Sized,
        T: DeserializeOwned,
    {
        self.send(Method::POST, path, Some(body), &SendOptions::default()).await?.json()
    }

    /// Sends any request and returns the reply as it came, if its status is 2xx.
    ///
    /// # Errors
    /// [`UplinkError`].
    ///
    /// # Cancel safety
    /// The request may have been done; the connection is closed.
    pub async fn send<B>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        options: &SendOptions,
    ) -> Result<Reply, UplinkError>
    where
        B: Serialize + Sync + ?Sized,
    {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| UplinkError::Unsendable { what: "body", why: error.to_string() })?;
        let reply = self.exchange(method, path, body, options, self.deadlines).await?;
        if reply.status == 304 { Err(reply.garbage()) } else { Ok(reply) }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        options: &SendOptions,
        deadlines: Deadlines,
    ) -> Result<Reply, UplinkError> {
        let authorization = self.credential.as_ref().map(bearer).transpose()?;
        let ask = Ask::new(method, path, body, authorization, options)?;
        let reply = exchange::exchange(&self.link, &ask, deadlines).await;
        match &reply {
            Ok(reply) => tracing::debug!(status = reply.status, method = %ask.method, path, "hub answered"),
            Err(error) => tracing::debug!(%error, method = %ask.method, path, "hub did not answer"),
        }
        reply
    }
}

/// The value of `Authorization`, which no log shows.
fn bearer(credential: &Secret) -> Result<HeaderValue, UplinkError> {
    let text = zeroize::Zeroizing::new(format!("Bearer {}", credential.expose()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| UplinkError::Credential)?;
    value.set_sensitive(true);
    Ok(value)
}
