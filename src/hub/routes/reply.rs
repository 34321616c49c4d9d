//! Answers.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::hub::problem::{Answer, Refusal};
use crate::hub::request::etag;

/// 200 with a body.
pub(super) fn ok(body: &impl Serialize) -> Answer {
    json(StatusCode::OK, body)
}

/// 200 with a body and its version. There is no 304 to it: the version counts edits, not what tunnels do.
pub(super) fn versioned(version: i64, body: &impl Serialize) -> Answer {
    let mut response = ok(body)?;
    response.headers_mut().insert(header::ETAG, etag(version));
    Ok(response)
}

/// 201 with the place of what was made.
pub(super) fn created(location: &str, version: Option<i64>, body: &impl Serialize) -> Answer {
    let mut response = json(StatusCode::CREATED, body)?;
    let location = HeaderValue::from_str(location).map_err(|_| Refusal::internal())?;
    response.headers_mut().insert(header::LOCATION, location);
    if let Some(version) = version {
        response.headers_mut().insert(header::ETAG, etag(version));
    }
    Ok(response)
}

/// 202.
pub(super) fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

/// 204.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 304.
pub(super) fn nothing_new() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Refusal> {
    let body = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        Refusal::internal()
    })?;
    Ok((status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}
