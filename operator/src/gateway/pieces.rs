//! Requests with many texts: cut into pieces that are worked on side by side, a bounded number at a time, and
//! joined to one answer. One piece of a request stands in line at a time, so requests take turns. The first piece
//! that fails fails the request, and what is under way of it is given up.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Bytes;
use bytes::BytesMut;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use super::admission::Admitted;
use super::budget::{Held, OverBudget};
use super::dispatch::{Answered, Errand, Taken, answer, ready_pod, too_many_bytes};
use super::error::Error;
use super::joined::Joined;
use super::queue::Claim;
use super::wake::Waiter;
use super::work::{BrokenFrame, Work};

/// Pieces of one request that are under way or in line, as many as Elasticsearch has batches in flight.
const AT_ONCE: usize = 20;

/// What the pieces of a request share.
struct Shared<'a> {
    errand: Errand<'a>,
    work: &'a Work,
    held: Arc<Held>,
    /// Whose turn it is to stand in line, and by what right.
    in_line: Mutex<Claim>,
}

/// An answer to one of them.
struct Piece {
    index: usize,
    entries: Bytes,
    tokens: Option<u64>,
}

pub(crate) async fn in_pieces(
    waiter: &Waiter<'_>,
    work: Box<Work>,
    admitted: Admitted,
) -> Result<Answered, Error> {
    let gateway = waiter.gateway();
    let shared = Shared {
        errand: Errand::new(waiter, admitted.deadline)?,
        work: &work,
        held: gateway.budget.begin(),
        in_line: Mutex::new(Claim::WhenRoom),
    };
    let mut ranges = work.pieces(gateway.settings.piece_texts).enumerate();
    let mut answers = Vec::with_capacity(ranges.len());
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((index, range)) = ranges.next()
        {
            running.push(shared.piece(index, range));
        }
        match running.next().await {
            Some(answer) => answers.push(answer?),
            None => break,
        }
    }
    drop(running);
    answers.sort_unstable_by_key(|piece| piece.index);
    let tokens = answers.iter().map(|piece| piece.tokens).sum();
    let entries = answers.into_iter().map(|piece| piece.entries).collect();
    Ok(Answered { body: Joined::body(work.form(), entries, admitted, shared.held), tokens })
}

impl Shared<'_> {
    async fn piece(&self, index: usize, range: Range<usize>) -> Result<Piece, Error> {
        let mut claim = self.in_line.lock().await;
        // Made only now: as long as it waits, a piece is nothing but a range.
        let message = self.work.message(range);
        let slot = ready_pod(&self.errand, &message, *claim, None).await?;
        *claim = Claim::Kept;
        drop(claim);
        let Taken { body, tokens } = answer(&self.errand, &message, slot).await?;
        drop(message);
        let answer = self.collect(body).await?;
        match self.work.form().entries(&answer) {
            Ok(entries) => Ok(Piece { index, entries, tokens }),
            Err(BrokenFrame) => Err(Error::AnswerBroken),
        }
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, Error> {
        let gateway = self.errand.gateway;
        let mut whole = BytesMut::new();
        let mut only = Bytes::new();
        loop {
            let frame = timeout_at(self.errand.deadline.at, body.frame()).await;
            let frame = match frame.map_err(|_| self.errand.too_late("an answer"))? {
                None => break,
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Err(Error::WorkerLost { id: self.errand.key.id.clone() }),
            };
            let Ok(data) = frame.into_data() else { continue };
            if let Err(OverBudget) = self.held.grow(data.len()) {
                return Err(too_many_bytes(gateway));
            }
            // Most answers are one frame, which needs no copy.
            if whole.is_empty() && only.is_empty() {
                only = data;
            } else {
                whole.extend_from_slice(&std::mem::take(&mut only));
                whole.extend_from_slice(&data);
            }
        }
        Ok(if whole.is_empty() { only } else { whole.freeze() })
    }
}
