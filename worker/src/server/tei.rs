//! `POST /embed_sparse` as Text Embeddings Inference has it: token ids and weights, so that its clients work here too.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use lexiscale_wire::WorkerErrorKind;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::handlers::{Shared, outcome};
use super::{AppState, body};
use crate::embedder::{Embedded, Texts, Truncation};
use crate::metrics::Route;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedSparse {
    inputs: Inputs,
    /// Left out or null means true here, as the server there runs with automatic truncation by default.
    #[serde(default)]
    truncate: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "inputs must be a string or an array of strings")]
enum Inputs {
    One(String),
    Many(Vec<String>),
}

#[derive(Serialize)]
struct Weight {
    index: u32,
    value: f32,
}

pub(super) async fn embed_sparse(State(state): Shared, request: Request) -> Response {
    let guard = state.metrics.request(Route::EmbedSparse);
    let result = embed(&state, request).await;
    guard.finish(outcome(&result));
    result.into_response()
}

async fn embed(state: &AppState, request: Request) -> Result<Json<Vec<Vec<Weight>>>, Failure> {
    let embedder = state.lifecycle.embedder()?;
    let timeout = body::timeout(request.headers())?;
    let EmbedSparse { inputs, truncate } = body::read(request.into_body()).await?;
    let texts = match inputs {
        Inputs::One(text) => vec![text],
        Inputs::Many(texts) => texts,
    };
    if texts.is_empty() {
        return Err(Failure::new(WorkerErrorKind::BadRequest, "inputs must not be an empty array"));
    }
    let truncation = if truncate == Some(false) { Truncation::Refuse } else { Truncation::Cut };
    let rows = embedder.embed(Texts { texts, input_type: None, truncation, timeout }).await?;
    let weights = |text: &Embedded| {
        text.row.entries().iter().map(|(index, value)| Weight { index: *index, value: *value }).collect()
    };
    Ok(Json(rows.iter().map(weights).collect()))
}
