//! gzip in both directions.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::gateway::gzip::Gunzip;

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn post(body: Vec<u8>) -> Request<Vec<u8>> {
    Request::post("/_inference/sparse_embedding/articles")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(body)
        .unwrap()
}

fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn a_packed_body_is_read() {
    let harness = Harness::new(&[]);
    let (status, _, body) = harness.send(post(packed(br#"{"inputs":"a"}"#))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text(body).contains("unknown field [inputs]"));
}

/// The limit is about memory, so it counts what comes out and not what came in.
#[tokio::test]
async fn the_limit_counts_what_is_unpacked() {
    let harness = Harness::new(&["--max-body-size", "1Ki"]);
    let large = format!(r#"{{"input":"{}"}}"#, "a".repeat(100_000));
    let stream = packed(large.as_bytes());
    assert!(stream.len() < 1024);
    let (status, _, body) = harness.send(post(stream)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text(body).contains("[1024] bytes"));
}

#[tokio::test]
async fn a_stream_that_is_broken_or_empty_is_refused() {
    let harness = Harness::new(&[]);
    let whole = packed(br#"{"input":"a"}"#);
    for broken in [whole[..whole.len() - 3].to_vec(), br#"{"input":"a"}"#.to_vec()] {
        let (status, _, body) = harness.send(post(broken)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text(body).contains("Content-Encoding"));
    }
    let (_, _, body) = harness.send(post(packed(b""))).await;
    assert!(text(body).contains("parse_exception"));
}

#[tokio::test]
async fn answers_are_packed_for_who_asks_and_only_when_it_pays() {
    let harness = Harness::new(&[]);
    let get = async |path: &str, encoding: &str| {
        let request = Request::get(path).header("accept-encoding", encoding).body(Body::empty()).unwrap();
        let (status, headers, body) = harness.send(request).await;
        assert_eq!(
            (status, &headers["x-elastic-product"]),
            (StatusCode::OK, &"Elasticsearch".parse().unwrap())
        );
        (headers.get("content-encoding").cloned(), body)
    };
    let services = "/_inference/_services?pretty";
    let (encoding, plain) = get(services, "identity").await;
    assert_eq!(encoding, None);
    let (encoding, stream) = get(services, "br, gzip;q=0.8").await;
    assert_eq!(encoding.unwrap(), "gzip");
    let mut gunzip = Gunzip::new(1 << 20);
    gunzip.write(&stream).unwrap();
    assert_eq!(gunzip.finish().unwrap(), plain);
    assert_eq!(get(services, "gzip;q=0").await.0, None);
    assert_eq!(get("/", "gzip").await.0, None, "a small answer");
}
