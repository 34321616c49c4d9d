//! Refusals: every error a client sees is one of these, written as problem details (RFC 9457).

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::store::StoreError;
use crate::api::{PROBLEM_TYPE, Problem, code};

/// What a client is told to wait before it asks a hub again whose store was away, in seconds.
const RETRY_UNAVAILABLE_SECS: u64 = 2;

/// Why a request is not done. Boxed: it stands in the result of every handler, and ten thousand of those wait at once.
#[derive(Debug)]
pub struct Refusal(Box<Inside>);

#[derive(Debug)]
struct Inside {
    status: StatusCode,
    code: &'static str,
    detail: String,
    hint: Option<String>,
    field: Option<String>,
    retry_after_secs: Option<u64>,
}

/// What a handler gives.
pub(super) type Answer = Result<Response, Refusal>;

impl Refusal {
    /// A refusal with a code of [`crate::api::code`].
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Inside { status, code, detail, hint: None, field: None, retry_after_secs: None }))
    }

    /// Adds the way out.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the field that is meant; an empty name is none.
    #[must_use]
    pub(super) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into()).filter(|field| !field.is_empty());
        self
    }

    /// Says when to come back, in seconds.
    #[must_use]
    pub(super) fn retry_after(mut self, secs: u64) -> Self {
        self.0.retry_after_secs = Some(secs);
        self
    }

    /// The code.
    pub(super) fn code(&self) -> &'static str {
        self.0.code
    }

    /// No credential, or one that is not known.
    pub(super) fn unauthenticated(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, detail)
            .hint("send `Authorization: Bearer <token>`; an administrator makes tokens with `sitepeer hub token`")
    }

    /// A credential that was taken back.
    pub(super) fn revoked() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code::TOKEN_REVOKED, "this credential was revoked")
            .hint("ask an administrator for a new one")
    }

    /// The agent's peer was deleted.
    pub(super) fn removed() -> Self {
        Self::new(StatusCode::GONE, code::REMOVED, "this agent's peer was deleted")
            .hint("nothing is to be on the router any more: `sitepeer remove` takes out what is")
    }

    /// The role is too small.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code::FORBIDDEN, detail)
    }

    /// There is no such thing, or it is another account's.
    pub(super) fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code::NOT_FOUND, format!("there is no {what} {id}"))
    }

    /// Not JSON, or not of the right shape.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::MALFORMED, detail)
    }

    /// Of the right shape, and not allowed.
    pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code::INVALID, detail).field(field)
    }

    /// A fault of the hub; what it was stands in the log and nowhere else.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, "the hub has a fault; its log says which")
    }

    /// The body is larger than any request may be.
    pub(super) fn too_large() -> Self {
        let limit = crate::api::MAX_REQUEST_BYTES;
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, format!("the body is larger than {limit} bytes"))
            .hint("send it in parts")
    }

    /// Too many tries.
    pub(super) fn rate_limited(detail: &str, secs: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code::RATE_LIMITED, detail)
            .hint(format!("try again in {secs} s"))
            .retry_after(secs)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what, id } => Self::not_found(what, &id),
            StoreError::Invalid { field, detail, code, hint } => {
                let refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).field(field);
                hint.into_iter().fold(refusal, Self::hint)
            }
            StoreError::Conflict { field, detail, code, hint } => {
                let refusal = Self::new(StatusCode::CONFLICT, code, detail);
                let refusal = field.into_iter().fold(refusal, Self::field);
                hint.into_iter().fold(refusal, Self::hint)
            }
            StoreError::State { detail } => Self::new(StatusCode::CONFLICT, code::STATE, detail),
            changed @ StoreError::Changed { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, code::CHANGED, changed.to_string())
                    .hint("read it again, and decide again")
            }
            reused @ StoreError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code::KEY_REUSED, reused.to_string())
                    .hint("use a new key for each new request")
                    .field("Idempotency-Key")
            }
            StoreError::Token { code: code::UNAUTHENTICATED, detail } => {
                Self::new(StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, detail).field("token")
            }
            StoreError::Token { code, detail } => Self::new(StatusCode::FORBIDDEN, code, detail)
                .hint("make a new one with `sitepeer hub enrollment create`")
                .field("token"),
            StoreError::TooOften { detail, retry_secs } => Self::rate_limited(&detail, retry_secs),
            StoreError::Revoked => Self::revoked(),
            StoreError::Unavailable(source) => {
                tracing::warn!(error = %Chain(source.as_ref()), "the store does not answer");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, "the store does not answer")
                    .hint("nothing was changed, or all of it: with an Idempotency-Key it is safe to send it again")
                    .retry_after(RETRY_UNAVAILABLE_SECS)
            }
            corrupt @ StoreError::Corrupt { .. } => {
                tracing::error!(error = %Chain(&corrupt), "the store cannot be used");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Inside { status, code, detail, hint, field, retry_after_secs } = *self.0;
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let (kind, status_number) = ("about:blank".to_owned(), status.as_u16());
        let problem = Problem { kind, title, status: status_number, detail, code: code.to_owned(), hint, field };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(secs) = retry_after_secs {
            headers.insert(header::RETRY_AFTER, secs.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sitepeer\""));
        }
        response
    }
}

/// An error with what it comes from, in one line.
pub(super) struct Chain<'a>(pub(super) &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
