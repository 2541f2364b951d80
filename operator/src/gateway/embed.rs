//! Texts in, vectors out, for the routes that need more of an answer than to pass it on: they read it, and write it in a
//! shape of their own.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lexiscale_wire::{InferenceResponse, InputType, TextEmbedding};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::admission::Admitted;
use super::budget::{Held, OverBudget};
use super::directory::EndpointKey;
use super::dispatch::{self, too_late, too_many_bytes};
use super::error::Error;
use super::presentation::ok;
use super::sending::Sending;
use super::tenancy::Tenant;
use super::wake::Waiter;
use super::work::{Form, Work};
use super::writing;

/// Bytes of an answer, which is held until it is whole. 10 MiB of text embed to less.
const LARGEST_ANSWER: usize = 64 << 20;

/// What an answer takes once it is read and written again, for each of its bytes.
const READ_FACTOR: usize = 4;

/// Bytes of an answer that are read where they are, in less than a millisecond. More of them must not keep other requests
/// waiting.
const READ_HERE: usize = 64 << 10;

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
    shape: impl FnOnce(Vec<TextEmbedding>) -> Vec<u8> + Send + 'static,
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
    shape: impl FnOnce(Vec<Vec<TokenWeight>>) -> Vec<u8> + Send + 'static,
) -> Result<Response, Error> {
    let form = Form::EmbedSparse { truncate: long_texts == LongTexts::Cut };
    answer(gateway, call, texts, form, |bytes| serde_json::from_slice(bytes), shape).await
}

async fn answer<T>(
    gateway: &Gateway,
    call: Call<'_>,
    texts: Vec<String>,
    form: Form,
    read: impl FnOnce(&[u8]) -> Result<Vec<T>, serde_json::Error> + Send + 'static,
    shape: impl FnOnce(Vec<T>) -> Vec<u8> + Send + 'static,
) -> Result<Response, Error> {
    let Call { key, admitted, headers } = call;
    let wanted = texts.len();
    if wanted == 0 {
        return Ok(ok(shape(Vec::new())));
    }
    let waiter = Waiter::new(gateway, key);
    let work = Box::new(Work::new(texts, form, headers));
    // What is read takes a multiple of its bytes until it is written, and what is written its own until it is sent.
    let held = gateway.budget.begin(&key.namespace);
    let deadline = admitted.deadline;
    let answered = match collect(&waiter, work, admitted.clone(), &held).await {
        Ok(bytes) => {
            let write = move |bytes: &[u8]| {
                let rows = read(bytes).ok().filter(|rows| rows.len() == wanted)?;
                Some(shape(rows))
            };
            let written = timeout_at(deadline.at, written(key, bytes, Arc::clone(&held), write)).await;
            match written {
                Ok(Some(written)) => Ok(ok(Sending::whole(written, admitted, held))),
                Ok(None) => Err(Error::WorkerAnswer { id: key.id.clone() }),
                Err(_) => Err(too_late(&key.id, deadline, "the answer to be written")),
            }
        }
        Err(error) => Err(error),
    };
    waiter.answer(answered)
}

/// What `write` makes of an answer.
async fn written(
    key: &EndpointKey,
    answer: Bytes,
    held: Arc<Held>,
    write: impl FnOnce(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> Option<Vec<u8>> {
    if answer.len() <= READ_HERE {
        return write(&answer);
    }
    let tenant = Tenant(key.namespace.clone());
    writing::write(&tenant, held, move || write(&answer)).await.ok().flatten()
}

async fn collect(
    waiter: &Waiter<'_>,
    work: Box<Work>,
    admitted: Admitted,
    held: &Held,
) -> Result<Bytes, Error> {
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
