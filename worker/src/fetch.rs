//! `fetch` as a process: the download on its own thread, its progress on a port, and a report at the end, whatever the
//! end is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use lexiscale_wire::{FetchFailure, FetchReason, FetchReport, Progress};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::model::fetch::{Wish, fetch, partial_bytes};
use crate::model::progress::Tracker;
use crate::server::listener;
use crate::shutdown::Signals;
use crate::telemetry::chain;

/// A transfer that hangs in a read is not waited for longer than this when the pod is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Options {
    pub wish: Wish,
    pub listen: SocketAddr,
}

/// Never fails: a failure is a report too.
pub async fn run(options: Options) -> FetchReport {
    let tracker = Arc::new(Tracker::new(Instant::now()));
    let stop = CancellationToken::new();
    serve_progress(options.listen, Arc::clone(&tracker), stop.clone()).await;
    let report = report(options.wish, tracker).await;
    stop.cancel();
    report
}

async fn report(wish: Wish, tracker: Arc<Tracker>) -> FetchReport {
    let output = wish.output.clone();
    let cancel = CancellationToken::new();
    let failure = |reason, message: String| {
        let (revision, bytes) = (tracker.revision(), partial_bytes(&output));
        FetchReport::Failed(FetchFailure { reason, message, revision, bytes })
    };
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            return failure(FetchReason::Internal, format!("failed to listen for signals: {error}"));
        }
    };
    let mut task = tokio::task::spawn_blocking({
        let (cancel, tracker) = (cancel.clone(), Arc::clone(&tracker));
        move || fetch(&wish, &tracker, &cancel)
    });
    let outcome = tokio::select! {
        outcome = &mut task => outcome,
        () = signals.wait() => {
            tracing::info!("told to stop; what has come so far is kept");
            cancel.cancel();
            match tokio::time::timeout(STOP_PATIENCE, task).await {
                Ok(outcome) => outcome,
                Err(_) => return failure(FetchReason::Interrupted, "told to stop".to_owned()),
            }
        }
    };
    match outcome {
        Ok(Ok(model)) => FetchReport::Succeeded(model),
        Ok(Err(error)) => failure(error.reason(), chain(&error)),
        Err(_) => failure(FetchReason::Internal, "the fetch ended by a panic".to_owned()),
    }
}

/// Progress is a convenience: without its port the fetch goes on.
async fn serve_progress(address: SocketAddr, tracker: Arc<Tracker>, stop: CancellationToken) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "progress cannot be asked for over HTTP");
            return;
        }
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    let router = Router::new()
        .route("/progress", get(progress))
        .route("/health/live", get(|| async { "live\n" }))
        .with_state(tracker);
    tokio::spawn(listener::serve(listener, router, None, stop, Duration::from_secs(1)));
}

async fn progress(State(tracker): State<Arc<Tracker>>) -> Json<Progress> {
    Json(tracker.snapshot(Instant::now()))
}
