//! A proxy between the operator and the API server: it writes down what the operator writes, and can hold up the n-th write,
//! before or after the API server has seen it, or answer in the place of the API server that it failed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use http::Method;
use kube::Client;
use tokio::{net::TcpListener, sync::Notify, time::Instant};

/// What a write that is to fail is answered.
pub(crate) const FAILURE: &str = "the test lets it fail";

/// At which write the operator is to be stopped. It never gets an answer to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    /// The first is 1.
    pub(crate) write: usize,
    pub(crate) moment: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    BeforeItArrives,
    AfterItArrived,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<Inner>,
}

struct Inner {
    client: Client,
    writes: Mutex<Vec<String>>,
    refused: Mutex<Vec<String>>,
    last_write: Mutex<Instant>,
    count: AtomicUsize,
    trap: Mutex<Option<Trap>>,
    impersonated: Mutex<Option<String>>,
    failing: Mutex<Option<&'static str>>,
    sprung: Notify,
}

impl Proxy {
    pub(crate) async fn start(client: Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Inner {
            client,
            writes: Mutex::default(),
            refused: Mutex::default(),
            last_write: Mutex::new(Instant::now()),
            count: AtomicUsize::new(0),
            trap: Mutex::default(),
            impersonated: Mutex::default(),
            failing: Mutex::default(),
            sprung: Notify::new(),
        });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// What was written, oldest first. Leases and events are not counted: they are about the operator, not by it.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state.writes.lock().unwrap().clone()
    }

    /// The requests that the operator had no right to.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.state.refused.lock().unwrap().clone()
    }

    pub(crate) fn since_last_write(&self) -> Duration {
        self.state.last_write.lock().unwrap().elapsed()
    }

    pub(crate) fn set_trap(&self, trap: Trap) {
        *self.state.trap.lock().unwrap() = Some(trap);
    }

    /// From now on the operator has this user's rights, and no longer the test's.
    pub(crate) fn impersonate(&self, user: &str) {
        *self.state.impersonated.lock().unwrap() = Some(user.to_owned());
    }

    /// From now on the writes to paths that end so fail, and only those.
    pub(crate) fn fail(&self, path: Option<&'static str>) {
        *self.state.failing.lock().unwrap() = path;
    }

    /// Resolves when the trap has caught its write; it is gone then.
    pub(crate) async fn sprung(&self) {
        self.state.sprung.notified().await;
    }
}

async fn forward(State(state): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let counts = parts.method != Method::GET && !path.contains("/leases") && !path.contains("/events");
    let trap = counts.then(|| record(&state, &format!("{} {path}", parts.method))).flatten();
    if trap.is_some_and(|trap| trap.moment == Moment::BeforeItArrives) {
        hold_up(&state).await;
    }
    let failing = *state.failing.lock().unwrap();
    if counts && failing.is_some_and(|end| path.ends_with(end)) {
        let failed = http::Response::builder().status(http::StatusCode::INTERNAL_SERVER_ERROR);
        return failed.body(Body::from(FAILURE)).unwrap();
    }
    let method = parts.method.clone();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut forwarded =
        http::Request::builder().method(parts.method).uri(parts.uri.path_and_query().unwrap().as_str());
    for name in [http::header::CONTENT_TYPE, http::header::ACCEPT] {
        if let Some(value) = parts.headers.get(&name) {
            forwarded = forwarded.header(name, value);
        }
    }
    if let Some(user) = state.impersonated.lock().unwrap().as_deref() {
        forwarded = forwarded.header("impersonate-user", user);
    }
    let forwarded = forwarded.body(kube::client::Body::from(body.to_vec())).unwrap();
    let response = state.client.send(forwarded).await;
    if trap.is_some() {
        hold_up(&state).await;
    }
    match response {
        Ok(response) => {
            if response.status() == http::StatusCode::FORBIDDEN {
                state.refused.lock().unwrap().push(format!("{method} {path}"));
            }
            response.map(Body::new)
        }
        Err(error) => {
            let body = Body::from(error.to_string());
            http::Response::builder().status(http::StatusCode::BAD_GATEWAY).body(body).unwrap()
        }
    }
}

fn record(state: &Inner, write: &str) -> Option<Trap> {
    state.writes.lock().unwrap().push(write.to_owned());
    *state.last_write.lock().unwrap() = Instant::now();
    let number = state.count.fetch_add(1, Ordering::SeqCst) + 1;
    state.trap.lock().unwrap().take_if(|trap| trap.write == number)
}

async fn hold_up(state: &Inner) {
    state.sprung.notify_one();
    std::future::pending::<()>().await;
}
