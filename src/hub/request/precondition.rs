//! Versions of things: `ETag` and `If-Match`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};

use crate::hub::problem::Refusal;
use crate::hub::state::Context;

/// A version that nothing has: what a foreign tag stands for.
const NO_VERSION: i64 = -1;

/// The version that an edit starts from; `None` takes any.
pub(in crate::hub) struct IfMatch(pub(in crate::hub) Option<i64>);

/// The tag of a version.
pub(in crate::hub) fn etag(version: i64) -> HeaderValue {
    // Digits, a sign and quotes are always a header's value.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

impl FromRequestParts<Context> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _context: &Context) -> Result<Self, Refusal> {
        match tags(parts, &header::IF_MATCH)?.as_slice() {
            [] | [Tag::Any] => Ok(Self(None)),
            [Tag::Strong(version)] => Ok(Self(Some(*version))),
            // A weak tag matches nothing here (RFC 9110, 13.1.1).
            [Tag::Weak(_)] => Ok(Self(Some(NO_VERSION))),
            _ => Err(Refusal::malformed("an edit starts from one version, and If-Match names several")
                .field("If-Match")
                .hint("send the ETag of the version that was read")),
        }
    }
}

/// One tag of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Any,
    Strong(i64),
    Weak(i64),
}

fn tags(parts: &Parts, name: &HeaderName) -> Result<Vec<Tag>, Refusal> {
    let malformed = || {
        Refusal::malformed(format!("{name} is not an entity tag, such as \"7\""))
            .field(name.as_str())
            .hint("send the ETag of the version that was read, with its quotes")
    };
    let mut found = Vec::new();
    for line in parts.headers.get_all(name) {
        let line = line.to_str().map_err(|_| malformed())?;
        found.extend(parse(line).ok_or_else(malformed)?);
    }
    Ok(found)
}

/// A header's list of tags; `None` if it is none.
fn parse(line: &str) -> Option<Vec<Tag>> {
    let mut found = Vec::new();
    // Our own tags are digits: a comma inside a tag makes two of it, neither of which is one of ours.
    for item in line.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if item == "*" {
            found.push(Tag::Any);
            continue;
        }
        let (weak, quoted) = item.strip_prefix("W/").map_or((false, item), |rest| (true, rest));
        let inside = quoted.strip_prefix('"')?.strip_suffix('"')?;
        let digits = !inside.is_empty() && inside.bytes().all(|b| b.is_ascii_digit());
        let version = if digits { inside.parse().unwrap_or(NO_VERSION) } else { NO_VERSION };
        found.push(if weak { Tag::Weak(version) } else { Tag::Strong(version) });
    }
    if found.is_empty() { None } else { Some(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_strong_weak_and_many() {
        assert_eq!(parse("\"7\""), Some(vec![Tag::Strong(7)]));
        assert_eq!(parse(" W/\"7\" , \"8\""), Some(vec![Tag::Weak(7), Tag::Strong(8)]));
        assert_eq!(parse("*"), Some(vec![Tag::Any]));
        assert_eq!(parse("\"abc\""), Some(vec![Tag::Strong(NO_VERSION)]));
        assert_eq!(parse("\"-1\""), Some(vec![Tag::Strong(NO_VERSION)]));
    }

    #[test]
    fn what_is_no_tag_is_told() {
        for bad in ["", "7", "\"7", "7\"", ",", "\"", "w/\"7\""] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_version_is_read_as_it_was_written(version in 0..=i64::MAX) {
            assert_eq!(parse(etag(version).to_str().unwrap()), Some(vec![Tag::Strong(version)]));
        }

        #[test]
        fn no_header_makes_the_parser_panic(line in "\\PC{0,40}") {
            let _any = parse(&line);
        }
    }
}
