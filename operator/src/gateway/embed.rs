//! Texts in, vectors out, for the routes that need more of an answer than to pass it on: they read it, and write it in a
//! shape of their own.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lexiscale_wire::{InferenceRequest, InferenceResponse, InputType, Options, TextEmbedding};
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::admission::Admitted;
use super::budget::{Held, OverBudget};
use super::directory::EndpointKey;
use super::dispatch::{self, Answered, too_late, too_many_bytes};
use super::error::Error;
use super::presentation::ok;
use super::tenancy::Tenant;
use super::wake::Waiter;
use super::work::{BrokenFrame, Form, Work};
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

/// What is to be embedded, and how.
#[derive(Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) texts: Vec<String>,
    pub(crate) input_type: Option<InputType>,
    pub(crate) options: Options,
}

impl From<InferenceRequest> for Wanted {
    fn from(request: InferenceRequest) -> Self {
        let (texts, input_type, options) = request.into_parts();
        Self { texts, input_type, options }
    }
}

/// Answers with the vectors of texts, in their order, as `shape` writes them.
pub(crate) async fn embed(
    gateway: &Gateway,
    call: Call<'_>,
    wanted: Wanted,
    shape: impl FnOnce(Vec<TextEmbedding>) -> Vec<u8> + Send + 'static,
) -> Result<Response, Error> {
    let Wanted { texts, input_type, options } = wanted;
    let number = texts.len();
    if number == 0 {
        return Ok(ok(shape(Vec::new())));
    }
    let Call { key, admitted, headers } = call;
    let waiter = Waiter::new(gateway, key);
    let work = Box::new(Work::new(texts, Form::Inference { input_type }, options, headers));
    // Until the answer is written: what is read takes a multiple of its bytes.
    let held = gateway.budget.begin();
    let deadline = admitted.deadline;
    let answered = match collect(&waiter, work, admitted, &held, READ_FACTOR).await {
        Ok((bytes, tokens)) => {
            let write = move |bytes: &[u8]| {
                let InferenceResponse { sparse_embedding } = serde_json::from_slice(bytes).ok()?;
                (sparse_embedding.len() == number).then(|| shape(sparse_embedding))
            };
            match timeout_at(deadline.at, written(key, bytes, held, write)).await {
                Ok(Some(written)) => Ok(Answered { body: written.into(), tokens }.into_response()),
                Ok(None) => Err(Error::WorkerAnswer { id: key.id.clone() }),
                Err(_) => Err(too_late(&key.id, deadline, "the answer to be written")),
            }
        }
        Err(error) => Err(error),
    };
    waiter.answer(answered)
}

/// Answers with the vectors of texts by token id, in their order, as the worker writes them. Whole or not at all, as clients of that
/// shape know a deadline by its status.
pub(crate) async fn embed_sparse(
    gateway: &Gateway,
    call: Call<'_>,
    wanted: Wanted,
) -> Result<Response, Error> {
    let Wanted { texts, input_type, options } = wanted;
    let Call { key, admitted, headers } = call;
    let waiter = Waiter::new(gateway, key);
    let form = Form::EmbedSparse { input_type };
    let work = Box::new(Work::new(texts, form, options, headers));
    let held = gateway.budget.begin();
    let answered = match collect(&waiter, work, admitted, &held, 1).await {
        Ok((bytes, tokens)) => match form.entries(&bytes) {
            Ok(_) => Ok(Answered { body: bytes.into(), tokens }.into_response()),
            Err(BrokenFrame) => Err(Error::WorkerAnswer { id: key.id.clone() }),
        },
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
    factor: usize,
) -> Result<(Bytes, Option<u64>), Error> {
    let deadline = admitted.deadline;
    let Answered { body, tokens } = dispatch::embed(waiter, work, admitted).await?;
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
    held.grow(factor * bytes.len()).map_err(|OverBudget| too_many_bytes(waiter.gateway()))?;
    Ok((bytes, tokens))
}
