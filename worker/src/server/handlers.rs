//! Handlers of the worker's own routes.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lexiscale_wire::{Format, InferenceRequest, WorkerError, WorkerErrorKind, WorkerInfo};
use prometheus_client::encoding::text::encode;

use super::answer::{self, Shape};
use super::error::Failure;
use super::{AppState, body};
use crate::embedder::Texts;
use crate::memory::Memory;
use crate::metrics::{Outcome, Route};
use crate::output::Envelope;

/// How long a probe that comes while the model is being loaded is kept. The kubelet asks once as soon as it sees the container, and
/// then only every second: answered at once, that first probe would cost a model that loads in 0.2 s a whole second. Less
/// than the probe's own timeout of 2 s.
const READINESS_PATIENCE: Duration = Duration::from_millis(1500);

pub(super) type Shared = State<Arc<AppState>>;

pub(super) async fn inference(State(state): Shared, request: Request) -> Response {
    let guard = state.metrics.request(Route::Inference);
    let result = infer(&state, request).await;
    guard.finish(outcome(&result));
    result.into_response()
}

pub(super) fn outcome<T>(result: &Result<T, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Ok,
        Err(Failure(error)) => error.kind.into(),
    }
}

async fn infer(state: &AppState, request: Request) -> Result<Response, Failure> {
    let embedder = state.lifecycle.embedder()?;
    let timeout = body::timeout(request.headers())?;
    let request: InferenceRequest = body::read(request.into_body()).await?;
    let (texts, input_type, options) = request.into_parts();
    let shape = Shape { envelope: Envelope::Inference, format: options.format.unwrap_or(Format::Tokens) };
    let rows = embedder.embed(Texts { texts, input_type, options, timeout }).await?;
    answer::write(state, embedder, rows, shape).await
}

pub(super) async fn live() -> &'static str {
    "live\n"
}

pub(super) async fn ready(State(state): Shared) -> Result<&'static str, Failure> {
    state.lifecycle.readiness_within(READINESS_PATIENCE).await?;
    Ok("ready\n")
}

pub(super) async fn info(State(state): Shared) -> Result<Json<WorkerInfo>, Failure> {
    Ok(Json(state.lifecycle.embedder()?.info()))
}

pub(super) async fn metrics(State(state): Shared) -> Response {
    let texts_in_flight = state.lifecycle.embedder().map_or(0, |embedder| embedder.load());
    state.metrics.sample(texts_in_flight, Memory::now());
    let mut text = String::new();
    let registry = state.registry.read().unwrap_or_else(PoisonError::into_inner);
    match encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => Failure::new(WorkerErrorKind::Internal, error.to_string()).into_response(),
    }
}

pub(super) async fn not_found(request: Request) -> Response {
    let message = format!("no route {}", request.uri().path());
    (StatusCode::NOT_FOUND, Json(WorkerError::new(WorkerErrorKind::BadRequest, message))).into_response()
}

pub(super) async fn method_not_allowed(request: Request) -> Response {
    let message = format!("method {} is not allowed for {}", request.method(), request.uri().path());
    (StatusCode::METHOD_NOT_ALLOWED, Json(WorkerError::new(WorkerErrorKind::BadRequest, message)))
        .into_response()
}
