//! From an admitted request to a worker's answer: wait in the endpoint's line for a slot of an allocation, send,
//! and come back to the head of the line where another try can help. A request with many texts goes in pieces
//! (`pieces.rs`), one with few is streamed through.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use hyper::body::Incoming;
use lexiscale_trace::Kind;
use lexiscale_wire::{TOKENS_HEADER, WorkerErrorKind};
use tokio::time::Instant;

use super::Gateway;
use super::admission::{Admitted, Deadline};
use super::budget::OverBudget;
use super::directory::EndpointKey;
use super::error::Error;
use super::line::{Before, Ended, Line, Refusal, Slot, Turn, Wish};
use super::metrics::Rejection;
use super::pieces::in_pieces;
use super::pod::{FAILED, OVERLOADED, Role};
use super::presentation::ok;
use super::queue::Claim;
use super::wake::Waiter;
use super::work::{Message, Work};
use super::worker::{Failure, Relay};

/// A request that made one worker die is given to one more and no third: it may be the request's fault.
const MOST_LOST: usize = 1;

/// For whom workers are asked, and until when.
pub(crate) struct Errand<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) key: &'a EndpointKey,
    waiter: &'a Waiter<'a>,
    pub(crate) line: Arc<Line>,
    pub(crate) deadline: Deadline,
}

/// What a worker has answered to a message.
pub(crate) struct Taken {
    pub(crate) body: Incoming,
    pub(crate) tokens: Option<u64>,
}

/// The answer to a request.
pub(crate) struct Answered {
    pub(crate) body: Body,
    /// Tokens that it came to, where all workers told.
    pub(crate) tokens: Option<u64>,
}

impl Answered {
    pub(crate) fn into_response(self) -> Response {
        let mut response = ok(self.body);
        if let Some(tokens) = self.tokens {
            response.headers_mut().insert(TOKENS_HEADER, HeaderValue::from(tokens));
        }
        response
    }
}

/// Embeds all texts of a request. This is what every route that embeds ends in. The work goes from hand to hand in a box, as each
/// hand is a future with room for it.
pub(crate) async fn embed(
    waiter: &Waiter<'_>,
    work: Box<Work>,
    admitted: Admitted,
) -> Result<Answered, Error> {
    let gateway = waiter.gateway();
    // Short texts take more than their bytes.
    let held = gateway.budget.begin();
    held.grow(work.texts() * size_of::<String>() * 2).map_err(|OverBudget| too_many_bytes(gateway))?;
    let mut pieces = work.pieces(gateway.settings.piece_texts);
    match (pieces.next(), pieces.len()) {
        (Some(only), 0) => {
            let message = work.message(only);
            drop(work);
            dispatch(waiter, &message, admitted).await
        }
        (Some(_) | None, _) => Box::pin(in_pieces(waiter, work, admitted)).await,
    }
}

/// Has one worker answer, and streams what it says.
pub(crate) async fn dispatch(
    waiter: &Waiter<'_>,
    message: &Message,
    admitted: Admitted,
) -> Result<Answered, Error> {
    let errand = Errand::new(waiter, admitted.deadline)?;
    let slot = ready_pod(&errand, message, Claim::IfRoom, None).await?;
    // Boxed, or every request that waits for its slot would have room for it.
    let Taken { body, tokens } = Box::pin(answer(&errand, message, slot)).await?;
    Ok(Answered { body: Relay::body(body, admitted), tokens })
}

impl<'a> Errand<'a> {
    pub(crate) fn new(waiter: &'a Waiter<'a>, deadline: Deadline) -> Result<Self, Error> {
        let (gateway, key) = (waiter.gateway(), waiter.key());
        let directory = gateway.directory();
        let entry = directory.get(key).ok_or_else(|| Error::NotFound { id: key.id.clone() })?;
        Ok(Self { gateway, key, waiter, line: Arc::clone(&entry.line), deadline })
    }

    pub(crate) fn too_late(&self, waited_for: &'static str) -> Error {
        too_late(&self.key.id, self.deadline, waited_for)
    }

    fn refused(&self, refusal: Refusal) -> Error {
        let id = self.key.id.clone();
        match refusal {
            // It has another line by now: what it is attached to came or went.
            Refusal::Gone if self.gateway.directory().get(self.key).is_some() => Error::WorkerLost { id },
            Refusal::Gone => Error::NotFound { id },
            Refusal::Stalled { reason, message } => Error::NotServing { id, reason, message },
            Refusal::Full { limit, retry_after } => Error::QueueFull { id, limit, retry_after },
            Refusal::TooManyHeld { limit } => Error::TooManyHeld { id, limit },
        }
    }
}

/// A slot of an allocation that is free now, or the next one that gets free before the deadline.
pub(crate) async fn ready_pod(
    errand: &Errand<'_>,
    message: &Message,
    claim: Claim,
    before: Option<Before>,
) -> Result<Slot, Error> {
    let Message { class, texts, .. } = *message;
    let wish = Wish { class, texts, deadline: errand.deadline.at, claim, before };
    let asked = errand.line.ask(wish, Instant::now()).map_err(|refusal| errand.refused(refusal));
    let mut waiting = match asked? {
        Turn::Now(slot) => return Ok(lent(errand, slot)),
        Turn::Later(waiting) => waiting,
    };
    // This is the demand that wakes an endpoint from zero.
    let _begun = errand.waiter.begin();
    let waits_for =
        if waiting.is_for_first_allocation() { "a ready allocation" } else { "a free allocation" };
    let mut span =
        errand.gateway.traces.begin(Kind::Internal, || format!("wait for {waits_for}"), &message.headers);
    let slot = waiting.slot(errand.deadline.at).await;
    slot.map(|slot| lent(errand, slot)).map_err(|ended| match ended {
        Ended::Refused(refusal) => {
            span.failed(|| "refused".to_owned());
            errand.refused(refusal)
        }
        Ended::Late => {
            span.failed(|| "deadline".to_owned());
            errand.too_late(waits_for)
        }
    })
}

/// Takes note of a slot that is a standby's.
fn lent(errand: &Errand<'_>, slot: Slot) -> Slot {
    if slot.pod().role() == Role::Standby {
        errand.gateway.bursts.lent(errand.gateway, errand.key);
    }
    slot
}

/// The answer of the worker that the slot is of, or of another one where that can help.
pub(crate) async fn answer(errand: &Errand<'_>, message: &Message, mut slot: Slot) -> Result<Taken, Error> {
    let mut lost = 0;
    let mut overloaded = None;
    loop {
        let address = slot.pod().address();
        let failure = match errand.gateway.workers.infer(address, message, errand.deadline.at).await {
            Ok(answer) => {
                slot.answered(answer.load, answer.worked, Instant::now());
                return Ok(Taken { body: answer.body, tokens: answer.tokens });
            }
            Err(failure) => failure,
        };
        let before = slot.before();
        match failure {
            Failure::DeadlinePassed => return Err(errand.too_late("an answer")),
            // The worker never saw it, so it may be sent again as often as the deadline allows.
            Failure::Unreachable => slot.failed(FAILED, Instant::now()),
            Failure::Lost if lost == MOST_LOST => {
                slot.lost(FAILED, Instant::now());
                return Err(Error::WorkerLost { id: errand.key.id.clone() });
            }
            Failure::Lost => {
                slot.failed(FAILED, Instant::now());
                lost += 1;
            }
            Failure::Refused { error, retry_after } => {
                let kind = error.kind;
                let refusal =
                    Error::Worker { id: errand.key.id.clone(), kind, message: error.error, retry_after };
                match kind {
                    WorkerErrorKind::NotReady => slot.failed(FAILED, Instant::now()),
                    // Full, and not by us alone: other gateways use it too.
                    WorkerErrorKind::Overloaded => {
                        slot.failed(OVERLOADED, Instant::now());
                        overloaded = Some(refusal);
                    }
                    WorkerErrorKind::TooLarge | WorkerErrorKind::BadRequest | WorkerErrorKind::Internal => {
                        return Err(refusal);
                    }
                }
            }
        }
        errand.line.metrics().retried();
        slot = match (ready_pod(errand, message, Claim::Kept, Some(before)).await, overloaded.take()) {
            (Ok(slot), refusal) => {
                overloaded = refusal;
                slot
            }
            // What kept it waiting says more than that it waited.
            (Err(Error::InferTimeout { .. }), Some(refusal)) => return Err(refusal),
            (Err(error), _) => return Err(error),
        };
    }
}

pub(crate) fn too_many_bytes(gateway: &Gateway) -> Error {
    gateway.metrics.rejected(Rejection::Bytes);
    Error::TooManyBytes { limit: gateway.budget.limit() }
}

pub(crate) fn too_late(id: &str, deadline: Deadline, waited_for: &'static str) -> Error {
    Error::InferTimeout { id: id.to_owned(), timeout: deadline.timeout, waited_for }
}
