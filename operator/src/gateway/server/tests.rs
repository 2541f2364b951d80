//! Bytes on real sockets, against the real server and router; the API server is away.

mod http2;
mod tls;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::DropGuard;

use super::*;
use crate::gateway::metrics;
use crate::gateway::router_tests::Harness;

/// Far above what anything here takes.
const ENOUGH: Duration = Duration::from_mins(1);

struct Site {
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    registry: Arc<prometheus_client::registry::Registry>,
    _harness: Harness,
    _stop: DropGuard,
}

impl Site {
    async fn start(flags: &[&str]) -> Self {
        let harness = Harness::new(flags);
        let settings = harness.gateway.settings.clone();
        let (registry, metrics) = metrics::registry();
        let certificate = Certificate::load(&settings.tls, metrics.clone()).await.unwrap().map(Arc::new);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server =
            Server { router: harness.router.clone(), settings, metrics, certificate: certificate.clone() };
        tokio::spawn(server.serve(listener, shutdown.clone()));
        Self { address, certificate, registry, _harness: harness, _stop: shutdown.drop_guard() }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that comes back, until the server closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut received = Vec::new();
    let _ = tokio::time::timeout(ENOUGH, stream.read_to_end(&mut received)).await.expect("the server closes");
    String::from_utf8(received).unwrap()
}

/// A request that is answered 200, on a connection that stays open.
async fn is_served(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    stream.write_all(b"GET /_inference/articles HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"}]}") {
        let read =
            tokio::time::timeout(ENOUGH, stream.read_buf(&mut received)).await.expect("an answer").unwrap();
        if read == 0 {
            return false;
        }
    }
    received.starts_with(b"HTTP/1.1 200")
}

/// What two programs could understand differently ends the connection, and what follows is never carried out.
#[tokio::test]
async fn ambiguous_requests_are_refused_as_elasticsearch_would_say_it() {
    let site = Site::start(&[]).await;
    let smuggled = "GET /_inference HTTP/1.1\r\nhost: a\r\n\r\n";
    for (name, head) in [
        (
            "length and coding",
            "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "coding and length",
            "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        ),
        (
            "the same length twice",
            "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        ),
        (
            "two lengths",
            "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        ),
        ("bare line feed", "GET / HTTP/1.1\nhost: a\n\n"),
        ("bare line feed in a field", "GET / HTTP/1.1\r\nhost: a\r\nx: b\ny: c\r\n\r\n"),
        ("folded field", "GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n"),
        (
            "two codings",
            "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "space before a colon",
            "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ncontent-length : 2\r\n\r\n{}",
        ),
        ("NUL", "GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("TLS without serving it", "\u{16}\u{3}\u{1}\r\n\r\n"),
    ] {
        let answer = site.say(format!("{head}{smuggled}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        for part in [
            "connection: close",
            "x-elastic-product: Elasticsearch",
            r#""type":"illegal_argument_exception""#,
            "malformed",
        ] {
            assert!(answer.contains(part), "{name}: {part} is not in {answer}");
        }
        assert_eq!(answer.matches("x-elastic-product").count(), 1, "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_bad_chunk_ends_the_connection() {
    let site = Site::start(&[]).await;
    for chunks in
        ["2;a=b\r\n{}\r\n0\r\n\r\n", "2\n{}\r\n0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n", "2\r\n{}xx0\r\n\r\n"]
    {
        let head = "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = site.say(format!("{head}{chunks}").as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{chunks:?}: {answer}");
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{chunks:?}: {answer}");
    }
}

#[tokio::test]
async fn unusual_targets_are_understood_as_far_as_they_mean_something() {
    let site = Site::start(&[]).await;
    for (line, status) in [
        // Every server must understand the form that is meant for proxies; the host in it changes nothing.
        ("GET http://elsewhere/_inference/articles HTTP/1.1", 200),
        ("CONNECT elsewhere:443 HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 400),
        ("GET /_inference/../articles HTTP/1.1", 400),
        ("GET /_inference/%2e%2e/articles HTTP/1.1", 400),
        // Decoded once, and never a path again.
        ("GET /_inference/a%2Fb HTTP/1.1", 404),
        ("GET /_inference/a%252Fb HTTP/1.1", 404),
        ("GET /_inference/%ff HTTP/1.1", 400),
        ("GET //_inference/articles HTTP/1.1", 400),
        ("GET /_inference/articles HTTP/1.0", 200),
    ] {
        let answer = site.say(format!("{line}\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status.to_string().as_str()), "{line}: {answer}");
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_their_order() {
    let site = Site::start(&[]).await;
    let body = "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n{\n}";
    let answer = site
        .say(format!("{body}GET /_inference HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
        .await;
    let statuses: Vec<_> =
        answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["400", "200"], "{answer}");
    assert!(answer.contains(r#""endpoints":["#), "{answer}");
}

#[tokio::test]
async fn who_asks_first_whether_a_body_is_welcome_is_told() {
    let site = Site::start(&[]).await;
    let mut stream = site.connect().await;
    let head = "POST /_inference/articles HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 25];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    let mut second = [0; 12];
    stream.read_exact(&mut second).await.unwrap();
    assert_eq!(&second, b"HTTP/1.1 400");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_as_elasticsearch_would_say_it() {
    let site = Site::start(&[]).await;
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: a\r\n".repeat(101));
    let line = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(64 << 10));
    for head in [large, many, line] {
        let answer = site.say(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(answer.contains(r#""status":431"#), "{answer}");
    }
}

#[tokio::test]
async fn a_head_must_end_soon_but_a_pause_before_it_may_be_longer() {
    let site = Site::start(&["--header-timeout", "200ms"]).await;
    let mut idle = site.connect().await;
    assert!(is_served(&mut idle).await);
    let mut slow = site.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
    assert_eq!(rest(&mut slow).await, "", "closed");
    assert!(is_served(&mut idle).await, "still open");
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_in_the_end() {
    let site = Site::start(&["--idle-timeout", "200ms"]).await;
    let mut stream = site.connect().await;
    assert!(is_served(&mut stream).await);
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(rest(&mut site.connect().await).await, "", "not even one request");
}

#[tokio::test]
async fn one_client_cannot_take_all_places() {
    let site = Site::start(&["--max-connections-per-client", "1"]).await;
    let mut first = site.connect().await;
    assert!(is_served(&mut first).await);
    assert_eq!(rest(&mut site.connect().await).await, "");
    assert!(is_served(&mut first).await);
}

/// A slowloris: connections that never say what they want do not keep others from being served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_stalled_connections_do_not_stop_the_others() {
    let wanted = 2000;
    raise_file_limit(2 * wanted + 500);
    let site = Site::start(&["--header-timeout", "60s"]).await;
    let mut stalled = Vec::new();
    for _ in 0..wanted {
        let mut stream = site.connect().await;
        stream.write_all(b"POST /_inference/articles HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();
        stalled.push(stream);
    }
    let mut kept = site.connect().await;
    for _ in 0..50 {
        assert!(is_served(&mut kept).await);
        assert!(is_served(&mut site.connect().await).await);
    }
    drop(stalled);
}

/// Both ends of each connection are files of this process.
fn raise_file_limit(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("the hard limit allows some thousand files");
    }
}
