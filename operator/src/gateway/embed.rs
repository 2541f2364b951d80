//! Texts in, vectors out, for the routes that need more of an answer than to pass it on. Long lists go to the workers in
//! pieces, a few at once; all pieces share the request's place and its deadline. This is the one file that knows how pieces
//! reach workers.

use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lexiscale_wire::{InferenceRequest, InferenceResponse, InputType, TextEmbedding};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Gateway;
use super::admission::Admitted;
use super::directory::EndpointKey;
use super::dispatch::{dispatch, too_late};
use super::error::Error;
use super::presentation::json;
use super::worker::{Message, Route};

/// Texts of one piece: Elasticsearch sends as many to a model at once.
const PIECE: usize = 10;
/// Pieces of one request that are under way at once: enough to keep some allocations busy, too few to fill their queues.
const PIECES_AT_ONCE: usize = 8;
/// Bytes of all answers to the pieces of one request, which are held until the last is there. 10 MiB of text embed to less.
const LARGEST_ANSWER: usize = 64 << 20;

/// Whose request it is.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) key: &'a EndpointKey,
    pub(crate) admitted: Admitted,
    /// Of the client.
    pub(crate) headers: &'a HeaderMap,
}

/// The vectors of texts, in their order.
pub(crate) async fn embed(
    gateway: &Gateway,
    call: &Call<'_>,
    texts: Vec<String>,
    input_type: Option<InputType>,
) -> Result<Vec<TextEmbedding>, Error> {
    let ask = |texts| {
        let request = InferenceRequest::new(texts, input_type).expect("a piece is never empty");
        Message::to(Route::Inference, json(&request), call.headers)
    };
    let read = |bytes: &[u8]| {
        serde_json::from_slice(bytes).map(|InferenceResponse { sparse_embedding }| sparse_embedding)
    };
    in_pieces(gateway, call, texts, ask, read).await
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

#[derive(Serialize)]
struct EmbedSparse {
    inputs: Vec<String>,
    truncate: bool,
}

/// The vectors of texts by token id, in their order.
pub(crate) async fn embed_sparse(
    gateway: &Gateway,
    call: &Call<'_>,
    texts: Vec<String>,
    long_texts: LongTexts,
) -> Result<Vec<Vec<TokenWeight>>, Error> {
    let ask = |inputs| {
        let request = EmbedSparse { inputs, truncate: long_texts == LongTexts::Cut };
        Message::to(Route::EmbedSparse, json(&request), call.headers)
    };
    in_pieces(gateway, call, texts, ask, |bytes| serde_json::from_slice(bytes)).await
}

async fn in_pieces<T>(
    gateway: &Gateway,
    call: &Call<'_>,
    texts: Vec<String>,
    ask: impl Fn(Vec<String>) -> Message,
    read: impl Fn(&[u8]) -> Result<Vec<T>, serde_json::Error>,
) -> Result<Vec<T>, Error> {
    let mut rows = Vec::with_capacity(texts.len());
    let mut bytes = 0;
    let (read, ask) = (&read, &ask);
    let answer = |piece: Vec<String>| async move {
        let wanted = piece.len();
        let body = answer(gateway, call, ask(piece)).await?;
        match read(&body) {
            Ok(rows) if rows.len() == wanted => Ok((rows, body.len())),
            Ok(_) | Err(_) => Err(Error::WorkerAnswer { id: call.key.id.clone() }),
        }
    };
    let mut pieces = pieces(texts);
    // An endpoint at zero is woken by one piece; the others would only take places among those that wait.
    let first = stream::iter(pieces.next()).then(&answer);
    let rest = stream::iter(pieces).map(&answer).buffered(PIECES_AT_ONCE);
    let mut answers = std::pin::pin!(first.chain(rest));
    while let Some((piece, size)) = answers.try_next().await? {
        bytes += size;
        if bytes > LARGEST_ANSWER {
            return Err(Error::AnswerTooLarge { limit: LARGEST_ANSWER });
        }
        rows.extend(piece);
    }
    Ok(rows)
}

/// Lists of at most [`PIECE`] texts, none of them empty.
fn pieces(texts: Vec<String>) -> impl Iterator<Item = Vec<String>> {
    let mut texts = texts.into_iter();
    std::iter::from_fn(move || {
        let piece: Vec<_> = texts.by_ref().take(PIECE).collect();
        (!piece.is_empty()).then_some(piece)
    })
}

async fn answer(gateway: &Gateway, call: &Call<'_>, message: Message) -> Result<bytes::Bytes, Error> {
    let body = {
        let waiter = super::wake::Waiter::new(gateway, call.key);
        dispatch(gateway, call.key, message, call.admitted.clone(), &waiter).await?
    };
    let read = Limited::new(body, LARGEST_ANSWER).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        let deadline = call.admitted.deadline;
        if error.is::<LengthLimitError>() {
            Error::AnswerTooLarge { limit: LARGEST_ANSWER }
        } else if deadline.at <= Instant::now() {
            too_late(&call.key.id, deadline, "an answer")
        } else {
            Error::WorkerLost { id: call.key.id.clone() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_small_complete_and_in_order() {
        for (texts, sizes) in
            [(0, vec![]), (1, vec![1]), (10, vec![10]), (11, vec![10, 1]), (25, vec![10, 10, 5])]
        {
            let texts: Vec<_> = (0..texts).map(|number| number.to_string()).collect();
            let cut: Vec<_> = pieces(texts.clone()).collect();
            assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            assert_eq!(cut.concat(), texts);
        }
    }
}
