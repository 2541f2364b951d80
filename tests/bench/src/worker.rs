//! Stub workers on 127.0.0.1, so that what is measured is what stands before them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::sleep;

const ANSWER: &str =
    r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"kubernetes":1.2345679,"pod":0.1}}]}"#;

#[derive(Clone, Copy)]
pub(crate) enum Service {
    /// Every request takes this long, any number side by side.
    Fixed(Duration),
    /// One request at a time, for a random time of this mean (exponential).
    Serial(Duration),
}

pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    busy_nanoseconds: AtomicU64,
}

struct Shared {
    service: Service,
    turn: Mutex<()>,
    counts: Arc<Counts>,
}

impl Worker {
    pub(crate) async fn start(service: Service) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::<Counts>::default();
        let shared = Arc::new(Shared { service, turn: Mutex::default(), counts: Arc::clone(&counts) });
        let router = Router::new().route("/_inference", post(infer)).with_state(shared);
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { address, counts, task })
    }

    /// Mean time that a request took once it had its turn, in milliseconds.
    pub(crate) fn mean_service_ms(workers: &[Self]) -> f64 {
        let busy: u64 = workers.iter().map(|w| w.counts.busy_nanoseconds.load(Ordering::Relaxed)).sum();
        let requests: usize = workers.iter().map(|w| w.counts.requests.load(Ordering::Relaxed)).sum();
        busy as f64 / 1e6 / requests as f64
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn infer(State(shared): State<Arc<Shared>>, _: Bytes) -> Response {
    match shared.service {
        Service::Fixed(time) => sleep(time).await,
        Service::Serial(mean) => {
            let _turn = shared.turn.lock().await;
            let began = std::time::Instant::now();
            sleep(mean.mul_f64(-(1.0 - fastrand::f64()).ln())).await;
            let busy = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            shared.counts.busy_nanoseconds.fetch_add(busy, Ordering::Relaxed);
        }
    }
    shared.counts.requests.fetch_add(1, Ordering::Relaxed);
    ([(CONTENT_TYPE, "application/json")], ANSWER).into_response()
}
