//! A file's content on its way, and what its headers promise.

use http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG};
use http::{HeaderMap, Response, StatusCode};
use ureq::Body;

use super::listing::{Hash, hash_of_tag};

/// An answer to a request for content.
pub struct Content {
    pub status: StatusCode,
    /// The strong tag of the content, from the server that sends it.
    pub tag: Option<String>,
    /// What the hub itself said on the way there.
    pub hash: Option<Hash>,
    /// First byte and total length of a partial answer.
    pub range: Option<(u64, u64)>,
    /// Length of the whole content, when known.
    pub size: Option<u64>,
    pub body: Body,
}

/// The part of a file that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    pub offset: u64,
    pub tag: Option<String>,
}

pub(super) fn content(response: Response<Body>, hash: Option<Hash>) -> Content {
    let status = response.status();
    let headers = response.headers();
    let range = text(headers, CONTENT_RANGE).and_then(|range| parse_range(&range));
    // A weak tag does not promise the same bytes.
    let tag = text(headers, ETAG).filter(|tag| tag.starts_with('"'));
    let encoded = headers.contains_key(CONTENT_ENCODING);
    let size = match range {
        Some((_, total)) => Some(total),
        None => response.body().content_length().filter(|_| !encoded),
    };
    Content { status, tag, hash, range, size, body: response.into_body() }
}

/// `bytes FIRST-LAST/TOTAL`.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (first, rest) = text.strip_prefix("bytes ")?.split_once('-')?;
    let (_, total) = rest.split_once('/')?;
    Some((first.parse().ok()?, total.parse().ok()?))
}

/// The hash that the hub itself announces, on a redirect or with the content.
pub(super) fn announced_hash(headers: &HeaderMap) -> Option<Hash> {
    let linked = headers.get("x-linked-etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    // Without the hub's own header the tag may be anybody's and mean anything.
    let own = headers.contains_key("x-repo-commit").then(|| text(headers, ETAG)).flatten();
    hash_of_tag(&linked.or(own)?)
}

pub(super) fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_tags_are_read_strictly() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 10)));
        for text in ["bytes */10", "bytes 5-9/*", "5-9/10", "bytes 5/10"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
        assert_eq!(hash_of_tag("\"xyz\""), None);
        assert_eq!(hash_of_tag(&format!("W/\"{}\"", "a".repeat(64))), Some(Hash::Sha256("a".repeat(64))));
    }
}
