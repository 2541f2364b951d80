//! A file's content on its way, and what its headers promise.

use std::io::Read;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use ureq::Body;

use super::Hash;
use crate::model::transport::text;

/// An answer to a request for content.
pub struct Content {
    pub status: StatusCode,
    /// The strong tag of the content, from the server that sends it.
    pub tag: Option<String>,
    /// What the place itself said on the way there.
    pub hash: Option<Hash>,
    /// First byte and total length of a partial answer.
    pub range: Option<(u64, u64)>,
    /// Length of the whole content, when known.
    pub size: Option<u64>,
    /// It comes compressed or otherwise changed.
    pub encoded: bool,
    pub body: Box<dyn Read>,
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
    let range = text(headers, &CONTENT_RANGE).and_then(|range| parse_range(&range));
    // A weak tag does not promise the same bytes.
    let tag = text(headers, &ETAG).filter(|tag| tag.starts_with('"'));
    let encoded = text(headers, &CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    let size = match range {
        Some((_, total)) => Some(total),
        None => response.body().content_length().filter(|_| !encoded),
    };
    let body = Box::new(response.into_body().into_with_config().limit(u64::MAX).reader());
    Content { status, tag, hash, range, size, encoded, body }
}

/// Headers that ask for a file as it is, from where an earlier try ended.
pub(super) fn headers(resume: Option<&Resume>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A compressed answer has another length and another hash than the file.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(Resume { offset, tag }) = resume {
        insert(&mut headers, RANGE, &format!("bytes={offset}-"));
        if let Some(tag) = tag {
            insert(&mut headers, IF_RANGE, tag);
        }
    }
    headers
}

pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `bytes FIRST-LAST/TOTAL`.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (first, rest) = text.strip_prefix("bytes ")?.split_once('-')?;
    let (_, total) = rest.split_once('/')?;
    Some((first.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 10)));
        for text in ["bytes */10", "bytes 5-9/*", "5-9/10", "bytes 5/10"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
