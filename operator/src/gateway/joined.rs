//! An answer that was joined from those of several workers, on its way to the client.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

use super::admission::Admitted;
use super::budget::Held;
use super::work::Form;

/// Holds the request's place and its bytes until the last of them is through.
pub(crate) struct Joined {
    chunks: VecDeque<Bytes>,
    left: u64,
    _admitted: Admitted,
    _held: Arc<Held>,
}

impl Joined {
    /// `entries` are those of the pieces, in order.
    pub(crate) fn body(form: Form, entries: Vec<Bytes>, admitted: Admitted, held: Arc<Held>) -> Body {
        let (open, close) = form.frame();
        let mut chunks = VecDeque::with_capacity(2 * entries.len() + 1);
        for (index, entries) in entries.into_iter().enumerate() {
            chunks.push_back(Bytes::from_static(if index == 0 { open } else { b"," }));
            chunks.push_back(entries);
        }
        chunks.push_back(Bytes::from_static(close));
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Body::new(Self { chunks, left, _admitted: admitted, _held: held })
    }
}

impl hyper::body::Body for Joined {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
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
    use tokio::time::Instant;

    use super::*;
    use crate::gateway::admission::{Admission, Began, Deadline};
    use crate::gateway::budget::Budget;

    #[tokio::test]
    async fn pieces_become_one_answer_of_known_length() {
        let deadline = Deadline::of(Began(Instant::now()), Duration::from_secs(1));
        let admitted = Admission::new(1).admit(deadline).unwrap();
        let form = Form::Inference { input_type: None };
        let entries = vec![Bytes::from_static(b"1,2"), Bytes::from_static(b"3")];
        let body = Joined::body(form, entries, admitted, Budget::new(1).begin());
        let expected = br#"{"sparse_embedding":[1,2,3]}"#;
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(expected.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), &expected[..]);
    }
}
