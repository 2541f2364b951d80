//! `POST /embed_sparse` as Text Embeddings Inference has it: token ids and weights, so that its clients work here too,
//! with our own options beside its fields.

use std::num::NonZeroU32;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use lexiscale_wire::{
    Format, InputType, MaxRatio, MinWeight, Options, Pruning, TOKENS_HEADER, TruncationDirection,
    WorkerErrorKind,
};
use serde::Deserialize;

use super::answer::{self, Shape};
use super::error::Failure;
use super::handlers::{Shared, outcome};
use super::{AppState, body};
use crate::embedder::Texts;
use crate::metrics::Route;
use crate::output::Envelope;

/// Where that server tells how many tokens it has computed.
const COMPUTE_TOKENS: &str = "x-compute-tokens";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedSparse {
    inputs: Inputs,
    /// Left out or null means true here, as the server there runs with automatic truncation by default.
    #[serde(default)]
    truncate: Option<bool>,
    #[serde(default)]
    truncation_direction: Option<TruncationDirection>,
    #[serde(default)]
    prompt_name: Option<String>,
    // The rest is ours.
    #[serde(default)]
    input_type: Option<InputType>,
    #[serde(default)]
    top_k: Option<NonZeroU32>,
    #[serde(default)]
    max_ratio: Option<MaxRatio>,
    #[serde(default)]
    min_weight: Option<MinWeight>,
    #[serde(default)]
    format: Option<Format>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "inputs must be a string or an array of strings")]
enum Inputs {
    One(String),
    Many(Vec<String>),
}

pub(super) async fn embed_sparse(State(state): Shared, request: Request) -> Response {
    let guard = state.metrics.request(Route::EmbedSparse);
    let result = embed(&state, request).await;
    guard.finish(outcome(&result));
    result.into_response()
}

async fn embed(state: &AppState, request: Request) -> Result<Response, Failure> {
    let embedder = state.lifecycle.embedder()?;
    let timeout = body::timeout(request.headers())?;
    let EmbedSparse {
        inputs,
        truncate,
        truncation_direction,
        prompt_name,
        input_type,
        top_k,
        max_ratio,
        min_weight,
        format,
    } = body::read(request.into_body()).await?;
    let texts = match inputs {
        Inputs::One(text) => vec![text],
        Inputs::Many(texts) => texts,
    };
    if texts.is_empty() {
        return Err(Failure::new(WorkerErrorKind::BadRequest, "inputs must not be an empty array"));
    }
    let pruning = Pruning { top_k, max_ratio, min_weight };
    let options = Options { pruning, truncate, truncation_direction, prompt_name, format };
    let rows = embedder.embed(Texts { texts, input_type, options, timeout }).await?;
    let shape = Shape { envelope: Envelope::List, format: format.unwrap_or(Format::Pairs) };
    let mut response = answer::write(state, embedder, rows, shape).await?;
    let tokens = response.headers().get(TOKENS_HEADER).cloned();
    if let Some(tokens) = tokens {
        response.headers_mut().insert(COMPUTE_TOKENS, tokens);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;

    #[test]
    fn any_tei_body_gets_a_verdict() {
        let seeds = [
            r#"{"inputs":["one","two"],"truncate":null,"truncation_direction":"Left","prompt_name":"query"}"#,
            r#"{"inputs":"one","input_type":"search","top_k":8,"max_ratio":0.4,"min_weight":0.1,"format":"pairs"}"#,
        ];
        let words = ["\"inputs\":", "null", "[[1,2]]", "{}", "-1", "1e400", "\"\\ud800\"", "\"top_k\":0"];
        fuzz(&Inputs::of_texts("tei", &seeds, &words), |input| {
            let _ = serde_json::from_slice::<EmbedSparse>(input);
        });
    }
}
