//! A head in memory of its own. PURE. hyper cuts heads out of a connection's read buffer, so a request that waits would
//! hold all of that; and hyper, which goes on reading to notice a client that leaves, would take another.

use http::{HeaderValue, Request, Uri};

pub(super) fn detached<B>(mut request: Request<B>) -> Request<B> {
    for value in request.headers_mut().values_mut() {
        if let Ok(own) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = own;
        }
    }
    if let Ok(own) = Uri::try_from(request.uri().to_string()) {
        *request.uri_mut() = own;
    }
    request
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::{CONTENT_TYPE, HOST};

    use super::*;

    #[test]
    fn a_head_holds_nothing_of_the_buffer_that_it_came_in() {
        for target in ["/_inference/a%20b?timeout=1s", "http://b:1/c?d", "/", "*"] {
            let buffer = Bytes::copy_from_slice(format!("{target} b application/json").as_bytes());
            let part = |part: &str| buffer.slice_ref(&buffer[buffer.len() - part.len()..]);
            let uri = Uri::from_maybe_shared(buffer.slice(..target.len())).unwrap();
            let value = HeaderValue::from_maybe_shared(part("application/json")).unwrap();
            let request =
                Request::builder().uri(uri.clone()).header(CONTENT_TYPE, value).header(HOST, "b").body(());
            let request = detached(request.unwrap());
            assert_eq!(*request.uri(), uri);
            assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
            drop(uri);
            assert!(buffer.is_unique(), "{target}");
        }
    }
}
