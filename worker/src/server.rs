//! HTTP of a serving worker. The router is the table of contents; handlers extract, call and convert.

mod answer;
mod body;
mod direct;
mod error;
mod handlers;
pub mod listener;
mod load;
mod tei;
mod trace;
mod work_clock;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use lexiscale_trace::Traces;
use lexiscale_wire::{INFO_PATH, LIVE_PATH, LOAD_PATH, READY_PATH};
use prometheus_client::registry::Registry;

pub use self::direct::Direct;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

pub struct AppState {
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
    pub traces: Traces,
    pub direct: Arc<Direct>,
    /// Behind a lock because the model's labels join when it is loaded.
    pub registry: Arc<std::sync::RwLock<Registry>>,
}

/// Everything.
pub fn router(state: Arc<AppState>) -> Router {
    let router = Router::new()
        .route("/_inference", post(handlers::inference))
        .route("/embed_sparse", post(tei::embed_sparse))
        .route_layer(from_fn_with_state(Arc::clone(&state), load::tell))
        .route_layer(from_fn_with_state(Arc::clone(&state), trace::trace))
        .route_layer(from_fn_with_state(Arc::clone(&state), direct::count))
        .merge(probes());
    complete(router, state)
}

/// What is no secret and takes no arithmetic.
pub fn admin_router(state: Arc<AppState>) -> Router {
    complete(probes(), state)
}

fn probes() -> Router<Arc<AppState>> {
    Router::new()
        .route(LOAD_PATH, get(direct::serve))
        .route(LIVE_PATH, get(handlers::live))
        .route(READY_PATH, get(handlers::ready))
        .route(INFO_PATH, get(handlers::info))
        .route("/metrics", get(handlers::metrics))
}

/// Last, because axum gives the answer to a wrong method only to routes that are there already.
fn complete(router: Router<Arc<AppState>>, state: Arc<AppState>) -> Router {
    router
        .fallback(handlers::not_found)
        .method_not_allowed_fallback(handlers::method_not_allowed)
        .with_state(state)
}
