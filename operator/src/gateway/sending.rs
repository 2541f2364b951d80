//! An answer that is held whole while its client reads it: one that was joined from those of several workers, or written in
//! another shape or look. It counts as held to its last byte, and breaks off at the deadline as one that streams through does, or
//! clients that read a few bytes a minute would fill the gateway's memory for as long as they like.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::admission::Admitted;
use super::budget::Held;
use super::work::Form;
use super::worker::RelayError;

/// What is given at a time: what was given once does not come back at the deadline.
const PIECE: usize = 64 << 10;

/// Holds the request's place, if it has one, and its bytes until the last of them is through.
pub(crate) struct Sending {
    chunks: VecDeque<Bytes>,
    left: u64,
    has_begun: bool,
    deadline: Pin<Box<Sleep>>,
    _admitted: Option<Admitted>,
    _held: Arc<Held>,
}

impl Sending {
    /// `entries` are those of the pieces, in order.
    pub(crate) fn joined(form: Form, entries: Vec<Bytes>, admitted: Admitted, held: Arc<Held>) -> Body {
        let (open, close) = form.frame();
        let mut chunks = VecDeque::with_capacity(2 * entries.len() + 1);
        for (index, entries) in entries.into_iter().enumerate() {
            chunks.push_back(Bytes::from_static(if index == 0 { open } else { b"," }));
            chunks.extend(pieces(entries));
        }
        chunks.push_back(Bytes::from_static(close));
        Self::body(chunks, admitted.deadline.at, Some(admitted), held)
    }

    /// An answer of which nothing but itself is held any more.
    pub(crate) fn whole(answer: impl Into<Bytes>, admitted: Admitted, held: Arc<Held>) -> Body {
        let answer = answer.into();
        held.shrink(answer.len());
        Self::body(pieces(answer).collect(), admitted.deadline.at, Some(admitted), held)
    }

    /// An answer that looks otherwise than it was given; whatever place its request had is free.
    pub(crate) fn dressed(answer: Bytes, deadline: Instant, held: Arc<Held>) -> Body {
        held.shrink(answer.len());
        Self::body(pieces(answer).collect(), deadline, None, held)
    }

    fn body(chunks: VecDeque<Bytes>, deadline: Instant, admitted: Option<Admitted>, held: Arc<Held>) -> Body {
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let deadline = Box::pin(sleep_until(deadline));
        Body::new(Self { chunks, left, has_begun: false, deadline, _admitted: admitted, _held: held })
    }
}

fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(PIECE))))
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        // What is ready in time begins in time, whenever it is asked for.
        if self.has_begun && !self.chunks.is_empty() && self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(RelayError::DeadlinePassed)));
        }
        self.has_begun = true;
        let chunk = self.chunks.pop_front();
        self.left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;
    use crate::gateway::admission::{Admission, Began, Deadline};
    use crate::gateway::budget::Budget;
    use crate::gateway::shares::Among;
    use crate::gateway::tenancy::Tenant;

    fn admitted() -> Admitted {
        let deadline = Deadline::of(Began(Instant::now()), Duration::from_secs(1));
        Admission::new(1, Among::One).admit(&Tenant("a".to_owned()), deadline).unwrap()
    }

    #[tokio::test]
    async fn pieces_become_one_answer_of_known_length() {
        let form = Form::Inference { input_type: None };
        let entries = vec![Bytes::from_static(b"1,2"), Bytes::from_static(b"3")];
        let body = Sending::joined(form, entries, admitted(), Budget::new(1, Among::One).begin("a"));
        let expected = br#"{"sparse_embedding":[1,2,3]}"#;
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(expected.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), &expected[..]);
    }

    type Send = fn(Vec<u8>, Arc<Held>) -> Body;

    /// A thousand of them would otherwise be a thousand answers in memory that no bound knows of.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_read_counts_as_held_and_ends_at_the_deadline() {
        let size = 3 * PIECE;
        let answers: [Send; 2] = [
            |answer, held| Sending::whole(answer, admitted(), held),
            |answer, held| Sending::dressed(answer.into(), Instant::now() + Duration::from_secs(1), held),
        ];
        for send in answers {
            let budget = Budget::new(4 * size, Among::One);
            let held = budget.begin("a");
            held.grow(4 * size).unwrap();
            let mut body = send(vec![b' '; size], held);
            assert!(budget.begin("a").grow(3 * size).is_ok(), "what it took to write it is given back");
            assert!(budget.begin("a").grow(3 * size + 1).is_err());
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE);
            tokio::time::advance(Duration::from_secs(2)).await;
            assert!(body.frame().await.unwrap().is_err());
            drop(body);
            assert!(budget.begin("a").grow(4 * size).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_answer_that_was_ready_in_time_is_given_whole() {
        let body = Sending::whole(b"{}".to_vec(), admitted(), Budget::new(10, Among::One).begin("a"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(body.collect().await.unwrap().to_bytes(), "{}");
    }
}
