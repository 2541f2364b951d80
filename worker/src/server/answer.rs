//! Rows become the body of an answer.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use lexiscale_wire::{Format, TOKENS_HEADER, WorkerErrorKind};

use super::AppState;
use super::error::Failure;
use crate::embedder::{Embedded, Embedder};
use crate::output::{self, Envelope, Written};

/// Weights that are written where they are, in a millisecond or so. More of them must not keep other connections waiting.
const WRITTEN_HERE: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) envelope: Envelope,
    pub(super) format: Format,
}

pub(super) async fn write(
    state: &AppState,
    embedder: Arc<Embedder>,
    rows: Vec<Embedded>,
    shape: Shape,
) -> Result<Response, Failure> {
    let tokens: usize = rows.iter().map(|text| text.tokens).sum();
    let weights: usize = rows.iter().map(|text| text.row.entries().len()).sum();
    let started = Instant::now();
    let written = move || {
        let rows = rows.iter().map(|text| Written { row: &text.row, is_truncated: text.is_truncated });
        output::answer(rows, shape.envelope, shape.format, embedder.vocabulary())
    };
    let body = if weights <= WRITTEN_HERE {
        written()
    } else {
        let failed = |_| Failure::new(WorkerErrorKind::Internal, "writing the answer ended by a panic");
        tokio::task::spawn_blocking(written).await.map_err(failed)?
    };
    state.metrics.serialized(started.elapsed());
    let json = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, json)], body).into_response();
    response.headers_mut().insert(TOKENS_HEADER, HeaderValue::from(tokens));
    Ok(response)
}
