//! What handlers take out of a request: ids, queries, bodies and preconditions, each refused as a problem.

use axum::RequestPartsExt as _;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Refusal;
use super::state::Context;
use super::store::Paging;
use crate::api::{DEFAULT_PAGE, MAX_PAGE};

mod body;
mod precondition;

pub(super) use body::{Body, New};
pub(super) use precondition::{IfMatch, etag};

/// Longest cursor, in bytes: an id, or the number of an audit entry.
const MAX_CURSOR: usize = 64;
/// Longest text to search for, in characters.
const MAX_SEARCH: usize = 128;

/// The id in the path. What is no id cannot be there.
pub(super) struct Id<T>(pub(super) T);

impl<T: std::str::FromStr + Send> FromRequestParts<Context> for Id<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _context: &Context) -> Result<Self, Refusal> {
        let Ok(Path(text)) = parts.extract::<Path<String>>().await else {
            return Err(Refusal::not_found("thing of this id", "here"));
        };
        text.parse().map(Self).map_err(|_| Refusal::not_found("thing with the id", &format!("{text:?}")))
    }
}

/// The query, in which every name must be known.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Context> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _context: &Context) -> Result<Self, Refusal> {
        let Query(params) = Query::<T>::try_from_uri(&parts.uri).map_err(|error| {
            let text = error.body_text();
            let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Refusal::malformed(format!("in the query: {detail}"))
        })?;
        Ok(Self(params))
    }
}

/// Reads the place in a list.
pub(super) fn paging(cursor: Option<String>, limit: Option<usize>) -> Result<Paging, Refusal> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::invalid("limit", format!("a page has from 1 to {MAX_PAGE} items")));
    }
    if cursor.as_ref().is_some_and(|cursor| cursor.is_empty() || cursor.len() > MAX_CURSOR || !is_cursor(cursor)) {
        return Err(Refusal::invalid("cursor", "this is no `next` of a page").hint("leave it out to begin at the top"));
    }
    Ok(Paging { cursor, limit })
}

fn is_cursor(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// Reads a text to search for; an empty one is none.
pub(super) fn search(text: Option<String>) -> Result<Option<String>, Refusal> {
    if text.as_ref().is_some_and(|text| text.chars().count() > MAX_SEARCH || text.contains('\0')) {
        return Err(Refusal::invalid("search", format!("a text of at most {MAX_SEARCH} characters, none of them NUL")));
    }
    Ok(text.filter(|text| !text.is_empty()))
}

/// SHA-256 of parts, each with its length, so that no two lists of parts look alike.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
