//! HTTP of a serving worker. The router is the table of contents; handlers extract, call and convert.

mod body;
mod direct;
mod error;
mod handlers;
pub mod listener;
mod load;
mod tei;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use lexiscale_wire::LOAD_PATH;
use prometheus_client::registry::Registry;

pub use self::direct::Direct;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

pub struct AppState {
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
    pub direct: Arc<Direct>,
    /// Behind a lock because the model's labels join when it is loaded.
    pub registry: Arc<std::sync::RwLock<Registry>>,
}

pub fn router(state: AppState) -> Router {
    let state = Arc::new(state);
    Router::new()
        .route("/_inference", post(handlers::inference))
        .route("/embed_sparse", post(tei::embed_sparse))
        .route_layer(from_fn_with_state(Arc::clone(&state), load::tell))
        .route_layer(from_fn_with_state(Arc::clone(&state), direct::count))
        .route(LOAD_PATH, get(direct::serve))
        .route("/health/live", get(handlers::live))
        .route("/health/ready", get(handlers::ready))
        .route("/info", get(handlers::info))
        .route("/metrics", get(handlers::metrics))
        .fallback(handlers::not_found)
        .method_not_allowed_fallback(handlers::method_not_allowed)
        .with_state(state)
}
