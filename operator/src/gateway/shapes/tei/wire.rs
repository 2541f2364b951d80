//! Bodies of Text Embeddings Inference. PURE: bytes in, typed values out, and its errors.

use std::num::NonZeroU32;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use lexiscale_crds::InferenceEndpoint;
use lexiscale_wire::{Format, InputType, MaxRatio, MinWeight, Options, Pruning, TruncationDirection};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::gateway::embed::Wanted;
use crate::gateway::presentation::json;

/// Texts of one request, as many as a worker takes.
pub(super) const MOST_TEXTS: usize = 1024;

/// Its `error_type`. The server documents them in lower case and sends them like this.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) enum Kind {
    Unhealthy,
    Backend,
    Overloaded,
    Validation,
    Empty,
}

/// An error in its words.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) kind: Kind,
    pub(super) message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_type: Kind,
}

/// On an answer that is in its words already.
#[derive(Clone, Copy)]
pub(super) struct Translated;

impl Failure {
    fn new(status: StatusCode, kind: Kind, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Kind::Validation, message)
    }

    pub(super) fn unhealthy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Unhealthy, message)
    }

    /// What this gateway would have answered an Elasticsearch client. Clients of the other server repeat a request on 429 and
    /// 503, and take 424 for a failed inference.
    pub(super) fn translated(status: StatusCode, reason: impl Into<String>) -> Self {
        let (status, kind) = match status.as_u16() {
            408 | 429 => (StatusCode::TOO_MANY_REQUESTS, Kind::Overloaded),
            406 => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::Validation),
            409 | 503 => (StatusCode::SERVICE_UNAVAILABLE, Kind::Unhealthy),
            500.. => (StatusCode::FAILED_DEPENDENCY, Kind::Backend),
            _ => (status, Kind::Validation),
        };
        Self::new(status, kind, reason)
    }

    pub(super) fn body(&self) -> Vec<u8> {
        json(&Body { error: &self.message, error_type: self.kind })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], self.body()).into_response();
        response.extensions_mut().insert(Translated);
        response
    }
}

/// The body of `POST /embed_sparse`. Unknown fields are ignored there, and so here: clients send those of other routes along.
#[derive(Deserialize)]
struct EmbedSparse {
    inputs: Inputs,
    truncate: Option<bool>,
    truncation_direction: Option<TruncationDirection>,
    prompt_name: Option<String>,
    // The rest is ours.
    input_type: Option<InputType>,
    top_k: Option<NonZeroU32>,
    max_ratio: Option<MaxRatio>,
    min_weight: Option<MinWeight>,
    format: Option<Format>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`inputs` must be a string or an array of strings")]
enum Inputs {
    One(String),
    Many(Vec<String>),
}

/// At least one text, none of them empty.
pub(super) fn parse(body: &[u8]) -> Result<Wanted, Failure> {
    // serde would take a list for an object whose keys are left out.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Validation,
            "the body must be a JSON object",
        ));
    }
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
    } = serde_json::from_slice(body).map_err(|error| {
        let status = match error.classify() {
            Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            Category::Io | Category::Syntax | Category::Eof => StatusCode::BAD_REQUEST,
        };
        Failure::new(status, Kind::Validation, error.to_string())
    })?;
    let texts = match inputs {
        Inputs::One(text) => vec![text],
        Inputs::Many(texts) => texts,
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(Failure::new(StatusCode::BAD_REQUEST, Kind::Empty, "`inputs` cannot be empty"));
    }
    if texts.len() > MOST_TEXTS {
        let number = texts.len();
        return Err(Failure::validation(format!(
            "batch size {number} > maximum allowed batch size {MOST_TEXTS}"
        )));
    }
    let options = Options {
        pruning: Pruning { top_k, max_ratio, min_weight },
        truncate: Some(truncate.unwrap_or(true)),
        truncation_direction,
        prompt_name,
        format,
    };
    Ok(Wanted { texts, input_type, options })
}

/// `GET /info`, in its order.
#[derive(Debug, Serialize)]
pub(super) struct Info<'a> {
    model_id: &'a str,
    model_sha: Option<&'a str>,
    model_dtype: &'static str,
    model_type: ModelType,
    max_concurrent_requests: usize,
    max_input_length: i64,
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: i32,
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum ModelType {
    Embedding(EmbeddingModel),
}

#[derive(Debug, Serialize)]
struct EmbeddingModel {
    pooling: &'static str,
}

/// Tokens that a worker runs through the model at once, unless it is told otherwise.
const BATCH_TOKENS: usize = 1024;

impl<'a> Info<'a> {
    /// From the object alone, so that it is answered at zero too; nothing before the model's window is known.
    pub(super) fn of(deployment: &'a InferenceEndpoint, most_requests: usize) -> Option<Self> {
        let model = deployment.status.as_ref()?.model.as_ref()?;
        Some(Self {
            model_id: model.source.strip_prefix("hf://").unwrap_or(&model.source),
            model_sha: model.revision.as_deref(),
            model_dtype: "float32",
            model_type: ModelType::Embedding(EmbeddingModel { pooling: "splade" }),
            max_concurrent_requests: most_requests,
            max_input_length: model.max_tokens?,
            max_batch_tokens: BATCH_TOKENS,
            max_batch_requests: None,
            max_client_batch_size: MOST_TEXTS,
            auto_truncate: true,
            tokenization_workers: deployment.spec.service_settings.num_threads.unwrap_or(1),
            version: env!("CARGO_PKG_VERSION"),
            sha: None,
            docker_label: None,
        })
    }
}

#[cfg(test)]
mod tests;
