//! JSON bodies: never more than [`MAX_REQUEST_BYTES`], never waited for without end, and told apart by the place of what is wrong.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::api::{IDEMPOTENCY_KEY, MAX_IDEMPOTENCY_KEY, MAX_REQUEST_BYTES, code};
use crate::hub::problem::Refusal;
use crate::hub::state::Context;
use crate::hub::store::Once;

/// How long a body may take to arrive: the largest one over a line of 350 kbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body.
pub(in crate::hub) struct Body<T>(pub(in crate::hub) T);

/// A JSON body that makes something, with what makes it safe to repeat.
pub(in crate::hub) struct New<T> {
    /// What is to be made.
    pub(in crate::hub) value: T,
    /// The client's key, and what it stands for.
    pub(in crate::hub) once: Option<Once>,
}

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _context: &Context) -> Result<Self, Refusal> {
        parse(&read(request).await?).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Context> for New<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _context: &Context) -> Result<Self, Refusal> {
        let key = idempotency_key(request.headers())?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let body = read(request).await?;
        let value = parse(&body)?;
        let digest = || super::sha256(&[method.as_str().as_bytes(), path.as_bytes(), &body]);
        Ok(Self { value, once: key.map(|key| Once { key, digest: digest() }) })
    }
}

/// Reads a body whole.
async fn read(request: Request) -> Result<Bytes, Refusal> {
    let (parts, body) = request.into_parts();
    is_json(&parts.headers)?;
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // Refused before a byte of it is read; a body without a length is refused once it is too long.
    if length.is_some_and(|length| length > MAX_REQUEST_BYTES as u64) {
        return Err(Refusal::too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_REQUEST_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Refusal::too_large()),
        Ok(Err(_)) => Err(Refusal::malformed("the body ended before its end")),
        Err(_) => {
            let detail = format!("the body took longer than {} s to arrive", BODY_TIMEOUT.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, code::TIMEOUT, detail))
        }
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::MALFORMED, "the body must be JSON")
        .hint("send `Content-Type: application/json`"))
}

/// Parses JSON and tells field, line and column of what is wrong.
pub(in crate::hub) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    if let Some(offset) = nul(body) {
        let detail = format!("a text with the character NUL (at offset {offset}) is not taken");
        return Err(Refusal::malformed(detail));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        wrong(error.inner()).field(field.trim_matches('.'))
    })?;
    reader.end().map_err(|error| wrong(&error))?;
    Ok(value)
}

/// The parser's words, without the value that it found: that may be a secret in the wrong field.
fn wrong(error: &serde_json::Error) -> Refusal {
    let text = error.to_string();
    for kind in ["invalid type: string \"", "invalid value: string \""] {
        if let Some(rest) = text.strip_prefix(kind)
            && let Some(end) = rest.rfind("\", expected ")
        {
            return Refusal::malformed(format!("{} a string{}", &kind[..kind.len() - 9], &rest[end + 1..]));
        }
    }
    Refusal::malformed(text)
}

/// Finds the escape of NUL: no text here needs it, and databases differ in what they make of it.
fn nul(json: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', json.get(at..)?) {
        let escape = at + found;
        if json[escape..].starts_with(b"\\u0000") {
            return Some(escape);
        }
        // The escaped character is no escape itself.
        at = escape + 2;
    }
    None
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(key), more) = (keys.next(), keys.next()) else { return Ok(None) };
    let refused = || {
        let detail =
            format!("an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters, without spaces");
        Refusal::invalid("Idempotency-Key", detail)
    };
    let text = key.to_str().map_err(|_| refused())?;
    let fits = (1..=MAX_IDEMPOTENCY_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits && more.is_none() { Ok(Some(text.to_owned())) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{NewAccount, NewPeer, NewToken};

    fn told<T: DeserializeOwned + std::fmt::Debug>(body: &str) -> String {
        format!("{:?}", parse::<T>(body.as_bytes()).map(|_| ()).unwrap_err())
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_with_its_place() {
        let text = told::<NewAccount>("{\"name\": \"a\",\n \"max_instances\": -1}");
        assert!(text.contains("line 2 column 20") && text.contains("field: Some(\"max_instances\")"), "{text}");
        let text = told::<NewAccount>("{\"name\": \"a\", \"colour\": 1}");
        assert!(text.contains("unknown field `colour`"), "{text}");
        assert!(told::<NewAccount>("{\"name\": \"a\"} x").contains("trailing characters at line 1 column 15"));
        assert!(told::<NewAccount>("").contains("EOF while parsing"));
        assert!(told::<NewPeer>("{\"kind\":\"site\"}").contains("missing field `site`"));
    }

    #[test]
    fn nul_is_found_however_it_is_written() {
        let name = |text: &str| parse::<NewAccount>(format!("{{\"name\":\"{text}\"}}").as_bytes()).map(|new| new.name);
        assert!(name("a\\u0000").is_err() && name("\\\\\\u0000").is_err() && name("\0").is_err());
        assert_eq!(name("\\\\u0000").unwrap(), "\\u0000");
    }

    proptest::proptest! {
        #[test]
        fn no_text_that_is_taken_holds_nul(text in "[a\\\\u0\\x00\"]{0,20}") {
            let written = serde_json::to_vec(&serde_json::json!({ "name": text })).unwrap();
            assert_eq!(parse::<NewAccount>(&written).is_ok(), !text.contains('\0'), "{text:?}");
            let raw = format!("{{\"name\":\"{text}\"}}");
            if let Ok(new) = parse::<NewAccount>(raw.as_bytes()) {
                assert!(!new.name.contains('\0'));
            }
        }
    }

    #[test]
    fn a_value_in_the_wrong_field_is_not_repeated() {
        let text = told::<NewToken>("{\"name\":\"a\",\"role\":\"admin\",\"ttl_secs\":\"hunter2\"}");
        assert!(!text.contains("hunter2") && text.contains("invalid type: a string, expected u32"), "{text}");
    }
}
