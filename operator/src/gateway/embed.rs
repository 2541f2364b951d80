//! Texts in, vectors out, for the routes that need more of an answer than to pass it on: they read it, and write it in a
//! shape of their own.

use axum::response::Response;
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lexiscale_wire::{InferenceResponse, InputType, TextEmbedding};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Gateway;
use super::admission::Admitted;
use super::budget::{Held, OverBudget};
use super::directory::EndpointKey;
use super::dispatch::{self, too_late, too_many_bytes};
use super::error::Error;
use super::presentation::ok;
use super::wake::Waiter;
use super::work::{Form, Work};

/// Bytes of an answer, which is held until it is whole. 10 MiB of text embed to less.
const LARGEST_ANSWER: usize = 64 << 20;

/// What an answer takes once it is read and written again, for each of its bytes.
const READ_FACTOR: usize = 4;

/// Whose request it is.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) key: &'a EndpointKey,
    pub(crate) admitted: Admitted,
    /// Of the client.
    pub(crate) headers: &'a HeaderMap,
}

/// One entry of a vector, as Text Embeddings Inference and the worker's route for it have them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct TokenWeight {
    pub(crate) index: u32,
    pub(crate) value: f32,
}

/// What becomes of a text that is longer than the model's window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LongTexts {
    Cut,
    Refuse,
}

/// Answers with the vectors of texts, in their order, as `shape` writes them.
pub(crate) async fn embed(
    gateway: &Gateway,
    call: Call<'_>,
    texts: Vec<String>,
    input_type: Option<InputType>,
    shape: impl FnOnce(Vec<TextEmbedding>) -> Vec<u8>,
) -> Result<Response, Error> {
    let read = |bytes: &[u8]| {
        serde_json::from_slice(bytes).map(|InferenceResponse { sparse_embedding }| sparse_embedding)
    };
    answer(gateway, call, texts, Form::Inference { input_type }, read, shape).await
}

/// Answers with the vectors of texts by token id, in their order, as `shape` writes them.
pub(crate) async fn embed_sparse(
    gateway: &Gateway,
    call: Call<'_>,
    texts: Vec<String>,
    long_texts: LongTexts,
    shape: impl FnOnce(Vec<Vec<TokenWeight>>) -> Vec<u8>,
) -> Result<Response, Error> {
    let form = Form::EmbedSparse { truncate: long_texts == LongTexts::Cut };
    answer(gateway, call, texts, form, |bytes| serde_json::from_slice(bytes), shape).await
}

async fn answer<T>(
    gateway: &Gateway,
    call: Call<'_>,
    texts: Vec<String>,
    form: Form,
    read: impl Fn(&[u8]) -> Result<Vec<T>, serde_json::Error>,
    shape: impl FnOnce(Vec<T>) -> Vec<u8>,
) -> Result<Response, Error> {
    let Call { key, admitted, headers } = call;
    let wanted = texts.len();
    if wanted == 0 {
        return Ok(ok(shape(Vec::new())));
    }
    let waiter = Waiter::new(gateway, key);
    let work = Work::new(texts, form, headers);
    // Until the answer is written: what is read takes a multiple of its bytes.
    let held = gateway.budget.begin();
    let answered = collect(&waiter, work, admitted, &held).await.and_then(|bytes| match read(&bytes) {
        Ok(rows) if rows.len() == wanted => Ok(ok(shape(rows))),
        Ok(_) | Err(_) => Err(Error::WorkerAnswer { id: key.id.clone() }),
    });
    waiter.answer(answered)
}

async fn collect(
    waiter: &Waiter<'_>,
    work: Work,
    admitted: Admitted,
    held: &Held,
) -> Result<bytes::Bytes, Error> {
    let deadline = admitted.deadline;
    let body = dispatch::embed(waiter, work, admitted).await?;
    let read = Limited::new(body, LARGEST_ANSWER).collect().await;
    let id = &waiter.key().id;
    let bytes = read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            Error::AnswerTooLarge { limit: LARGEST_ANSWER }
        } else if deadline.at <= Instant::now() {
            too_late(id, deadline, "an answer")
        } else {
            Error::WorkerLost { id: id.clone() }
        }
    })?;
    held.grow(READ_FACTOR * bytes.len()).map_err(|OverBudget| too_many_bytes(waiter.gateway()))?;
    Ok(bytes)
}
