//! One request and its answer.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
};

use super::{
    Deadlines, Reply, SendOptions, Step, UplinkError,
    deadline::within,
    link::{Link, Wire},
    reply,
};
use crate::api::{IDEMPOTENCY_KEY, MAX_REPLY_BYTES};
use crate::domain::shown;

/// Who asks.
const USER_AGENT: &str = concat!("sitepeer/", env!("CARGO_PKG_VERSION"));

/// A request that can be sent more than once.
pub(super) struct Ask {
    pub(super) method: Method,
    path: hyper::Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Done twice it does no more than done once.
    is_idempotent: bool,
}

/// Why there is no answer, and whether the request can have reached the hub.
struct Failed {
    error: UplinkError,
    was_sent: bool,
    /// The connection was closed before any byte of an answer.
    was_stale: bool,
}

impl Ask {
    pub(super) fn new(
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        authorization: Option<HeaderValue>,
        options: &SendOptions,
    ) -> Result<Self, UplinkError> {
        let wrong = |what, why: String| UplinkError::Unsendable { what, why };
        if !path.starts_with('/') {
            return Err(wrong("path", "it does not begin with /".to_owned()));
        }
        let uri = path.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong("path", error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, application/problem+json, */*"));
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| wrong("header", error.to_string()));
        if let Some(version) = &options.if_match {
            headers.insert(header::IF_MATCH, value(version)?);
        }
        if let Some(key) = &options.idempotency_key {
            headers.insert(IDEMPOTENCY_KEY, value(key)?);
        }
        let is_idempotent = options.idempotency_key.is_some()
            || [Method::GET, Method::HEAD, Method::PUT, Method::DELETE].contains(&method);
        Ok(Self { method, path: uri, headers, body: body.unwrap_or_default().into(), is_idempotent })
    }

    fn request(&self, link: &Link) -> Result<Request<Full<Bytes>>, UplinkError> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        let host = HeaderValue::from_str(&link.authority())
            .map_err(|error| UplinkError::Unsendable { what: "host", why: error.to_string() })?;
        request.headers_mut().insert(header::HOST, host);
        Ok(request)
    }
}

/// Asks over a connection that was kept, or over a new one. A kept one that turns out to be closed is replaced once, if the
/// request was not sent or may be sent twice.
pub(super) async fn exchange(link: &Link, ask: &Ask, deadlines: Deadlines) -> Result<Reply, UplinkError> {
    if let Some(wire) = link.take() {
        match over(link, wire, ask, deadlines).await {
            Ok(reply) => return reply,
            Err(failed) if !failed.was_sent || (failed.was_stale && ask.is_idempotent) => {
                tracing::debug!(error = %failed.error, "kept connection was gone");
            }
            Err(failed) => return Err(failed.error),
        }
    }
    let wire = within(Step::Connect, deadlines.connect, link.open()).await?;
    over(link, wire, ask, deadlines).await.map_err(|failed| failed.error)?
}

/// Asks over this connection, and keeps it if the answer came whole.
async fn over(
    link: &Link,
    mut wire: Wire,
    ask: &Ask,
    deadlines: Deadlines,
) -> Result<Result<Reply, UplinkError>, Failed> {
    let failed = |error, was_sent| Failed { error, was_sent, was_stale: false };
    let request = ask.request(link).map_err(|error| failed(error, false))?;
    let late = || UplinkError::Timeout { step: Step::Head, after: deadlines.head };
    let sending = async {
        wire.sender.ready().await.map_err(|error| lost(error, false))?;
        wire.sender.try_send_request(request).await.map_err(|mut error| {
            let was_sent = error.take_message().is_none();
            lost(error.into_error(), was_sent)
        })
    };
    let answered = tokio::time::timeout(deadlines.head, sending).await;
    let response = answered.unwrap_or_else(|_| Err(failed(late(), true)))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = within(Step::Body, deadlines.body, read(response)).await.map_err(|error| failed(error, true))?;
    link.keep(wire);
    Ok(reply::judge(status, &headers, body))
}

/// What hyper's error means.
fn lost(error: hyper::Error, was_sent: bool) -> Failed {
    let was_stale = error.is_closed() || error.is_canceled() || error.is_incomplete_message() || is_reset(&error);
    let error = if error.is_parse() {
        UplinkError::Garbage { status: 0, said: shown(error.to_string().as_bytes()), retry_after: None }
    } else {
        UplinkError::Lost { why: Box::new(error) }
    };
    Failed { error, was_sent, was_stale }
}

/// Says whether the socket failed, as it does when the other side closed it before it was written to.
fn is_reset(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// Reads a whole body of at most [`MAX_REPLY_BYTES`].
async fn read(response: Response<Incoming>) -> Result<Bytes, UplinkError> {
    let mut body = response.into_body();
    if body.size_hint().lower() > MAX_REPLY_BYTES as u64 {
        return Err(UplinkError::TooLong);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| UplinkError::Lost { why: Box::new(error) })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > MAX_REPLY_BYTES {
            return Err(UplinkError::TooLong);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
