//! A worker that answers as it is told, and remembers what it was asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use axum::{Router, body};
use futures::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use lexiscale_tls::Files;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cluster::local_address;

pub(crate) const EMBEDDING: &str =
    r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"kubernetes":1.2345679,"pod":0.1}}]}"#;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// One embedding for each text, all of them the same.
    Embeds,
    /// As `Embeds`, and tells that each text came to three tokens.
    Counts,
    /// As an embedding and much white space, in pieces, without saying how long it will be.
    EmbedsAtLength,
    /// The embedding of a text is the text itself.
    Echoes,
    /// Answers the head and then nothing more.
    Stalls,
    /// Holds every request until `release`.
    Waits,
    Refuses(u16, &'static str),
}

pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    stop: DropGuard,
}

struct Shared {
    behaviour: Behaviour,
    bodies: Mutex<Vec<String>>,
    headers: Mutex<Vec<http::HeaderMap>>,
    working: AtomicUsize,
    abandoned: AtomicUsize,
    gate: Semaphore,
    loads: AtomicBool,
    probes: AtomicUsize,
}

/// Counts a request that ends before it is answered.
struct Working<'a>(&'a Shared, bool);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Worker {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((local_address(), 0)).await.unwrap();
        Self::serve(behaviour, listener)
    }

    /// Serves by a Secret, as it is mounted, and only clients of its authority.
    pub(crate) async fn start_tls(behaviour: Behaviour, secret: &Path) -> Self {
        let tcp = TcpListener::bind((local_address(), 0)).await.unwrap();
        let config = lexiscale_tls::server(Files::of_secret(secret).load().unwrap()).unwrap();
        Self::serve(behaviour, TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    fn serve(behaviour: Behaviour, listener: impl Listener<Addr = SocketAddr>) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            behaviour,
            bodies: Mutex::default(),
            headers: Mutex::default(),
            working: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            loads: AtomicBool::new(false),
            probes: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/_inference", post(answer))
            .route("/embed_sparse", post(answer))
            .route("/health/ready", get(ready))
            .with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let server =
            stop.clone().run_until_cancelled_owned(async move { axum::serve(listener, router).await });
        tokio::spawn(server);
        Self { address, shared, stop: stop.drop_guard() }
    }

    /// Gone, as after a crash: nobody listens, connections are closed.
    pub(crate) fn die(self) -> SocketAddr {
        drop(self.stop);
        self.address
    }

    pub(crate) fn release(&self) {
        self.shared.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Whether it loads its model from now on, and is not ready while it does.
    pub(crate) fn loads(&self, loads: bool) {
        self.shared.loads.store(loads, Ordering::SeqCst);
    }

    /// How often it was asked whether it is ready.
    pub(crate) fn probes(&self) -> usize {
        self.shared.probes.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.bodies.lock().unwrap().clone()
    }

    pub(crate) fn headers(&self) -> Vec<http::HeaderMap> {
        self.shared.headers.lock().unwrap().clone()
    }

    pub(crate) fn working(&self) -> usize {
        self.shared.working.load(Ordering::SeqCst)
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.shared.abandoned.load(Ordering::SeqCst)
    }
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.probes.fetch_add(1, Ordering::SeqCst);
    if shared.loads.load(Ordering::SeqCst) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, request_body) = request.into_parts();
    let bytes = body::to_bytes(request_body, usize::MAX).await.unwrap();
    let rows = match head.uri.path() {
        "/embed_sparse" => by_id(shared.behaviour, &bytes),
        _ => by_token(shared.behaviour, &bytes),
    };
    shared.bodies.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
    shared.headers.lock().unwrap().push(head.headers);
    shared.working.fetch_add(1, Ordering::SeqCst);
    let mut working = Working(&shared, false);
    let json = [(CONTENT_TYPE, "application/json")];
    let response = match shared.behaviour {
        Behaviour::Embeds | Behaviour::Echoes => (json, rows).into_response(),
        Behaviour::Counts => {
            let tokens = 3 * (texts(&bytes, "input").len() + texts(&bytes, "inputs").len());
            ([("x-lexiscale-tokens", tokens.to_string())], json, rows).into_response()
        }
        Behaviour::EmbedsAtLength => {
            let blanks = stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(" ".repeat(1000))));
            let end = stream::once(async { Ok(EMBEDDING.to_owned()) });
            (json, Body::from_stream(stream::StreamExt::chain(blanks, end))).into_response()
        }
        Behaviour::Waits => {
            let _permit = shared.gate.acquire().await.unwrap();
            (json, rows).into_response()
        }
        Behaviour::Stalls => {
            let beginning = stream::once(async { Ok::<_, std::io::Error>("{") });
            let body = Body::from_stream(stream::StreamExt::chain(beginning, stream::pending()));
            (json, body).into_response()
        }
        Behaviour::Refuses(status, body) => {
            (StatusCode::from_u16(status).unwrap(), [("retry-after", "7")], json, body).into_response()
        }
    };
    working.1 = true;
    drop(working);
    response
}

fn texts(body: &[u8], field: &str) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    serde_json::from_value(body[field].clone()).unwrap_or_default()
}

fn by_token(behaviour: Behaviour, body: &[u8]) -> String {
    let row = |text: &String| match behaviour {
        Behaviour::Echoes => json!({"is_truncated": false, "embedding": {text.as_str(): 1.0}}).to_string(),
        _ => EMBEDDING[r#"{"sparse_embedding":["#.len()..EMBEDDING.len() - 2].to_owned(),
    };
    let rows: Vec<_> = texts(body, "input").iter().map(row).collect();
    format!(r#"{{"sparse_embedding":[{}]}}"#, rows.join(","))
}

/// By ascending id, as the worker has it. The echo of a text is its length.
fn by_id(behaviour: Behaviour, body: &[u8]) -> String {
    let row = |text: &String| match behaviour {
        Behaviour::Echoes => json!([{"index": text.len(), "value": 1.0}]),
        _ => json!([{"index": 3, "value": 0.5}, {"index": 7, "value": 1.5}]),
    };
    Value::Array(texts(body, "inputs").iter().map(row).collect()).to_string()
}
