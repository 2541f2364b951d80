//! Every answer of a route that embeds says how much the worker still has to do, what this one took, and whose tokens it has.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use lexiscale_wire::{LOAD_HEADER, PRECISION_HEADER, VOCABULARY_HEADER, WORKED_HEADER};

use super::handlers::Shared;

pub(super) async fn tell(State(state): Shared, request: Request, next: Next) -> Response {
    let since = Instant::now();
    let mut response = next.run(request).await;
    if let Ok(embedder) = state.lifecycle.embedder() {
        response.headers_mut().insert(LOAD_HEADER, HeaderValue::from(embedder.load()));
        let precision = HeaderValue::from_static(embedder.precision().as_str());
        response.headers_mut().insert(PRECISION_HEADER, precision);
        let vocabulary = embedder.vocabulary_digest().map(HeaderValue::from_str);
        if let Some(Ok(vocabulary)) = vocabulary {
            response.headers_mut().insert(VOCABULARY_HEADER, vocabulary);
        }
    }
    if response.status() == StatusCode::OK {
        let worked = state.direct.clock.answered(since, Instant::now());
        let microseconds = u64::try_from(worked.0.as_micros()).unwrap_or(u64::MAX);
        response.headers_mut().insert(WORKED_HEADER, HeaderValue::from(microseconds));
        response.extensions_mut().insert(worked);
    }
    response
}
