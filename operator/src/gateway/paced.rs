//! A request's body that has to keep a pace and a limit. A client that sends a byte now and then would
//! otherwise hold its place for all the time that a large body may take.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::error::Error;

/// So much must come in each window but the first.
const LEAST: usize = 1 << 10;
const WINDOW: Duration = Duration::from_secs(5);

pub(crate) struct Paced {
    body: Limited<Body>,
    limit: usize,
    window_ends: Instant,
    /// Of this window.
    least: usize,
    came: usize,
}

impl Paced {
    pub(crate) fn new(body: Body, limit: usize) -> Self {
        let window_ends = Instant::now() + WINDOW;
        Self { body: Limited::new(body, limit), limit, window_ends, least: 0, came: 0 }
    }

    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Ok(frame) = timeout_at(self.window_ends, self.body.frame()).await else {
                if self.came < self.least {
                    return Err(Error::BodyTrickles { least: self.least, within: WINDOW });
                }
                (self.least, self.came) = (LEAST, 0);
                // From now on: what came at once for longer than a window has left the last one's end behind.
                self.window_ends = Instant::now() + WINDOW;
                continue;
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Error::BodyTooLarge { limit: self.limit }
                } else {
                    Error::BodyBroken
                }
            })?;
            // Trailers say nothing that is of use here.
            let Ok(piece) = frame.into_data() else { continue };
            self.came += piece.len();
            return Ok(Some(piece));
        }
    }

    /// All of it, in one buffer: pieces of a byte each would cost a multiple of what they hold.
    pub(crate) async fn collect(mut self) -> Result<Bytes, Error> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if bytes.is_empty() && self.body.is_end_stream() {
                return Ok(piece);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    fn body(pieces: impl futures::Stream<Item = Bytes> + Send + 'static) -> Paced {
        let pieces = pieces.map(Ok::<_, std::convert::Infallible>);
        Paced::new(Body::from_stream(pieces), 1 << 20)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_a_byte_a_second_is_given_up_after_the_second_window() {
        let began = Instant::now();
        let trickles = stream::repeat(Bytes::from_static(b" ")).then(async |byte| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            byte
        });
        let read = body(trickles).collect().await;
        assert!(matches!(read, Err(Error::BodyTrickles { .. })));
        assert_eq!(began.elapsed().as_secs(), 2 * WINDOW.as_secs());
    }

    /// A gateway that is short of CPU reads what has long come; a pause after that is no trickle.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_there_is_not_too_slow_because_it_is_read_slowly() {
        let there = stream::iter(0..4).then(async |_| {
            tokio::time::advance(2 * WINDOW).await;
            Bytes::from(vec![b' '; LEAST])
        });
        let late = stream::once(async {
            tokio::time::sleep(WINDOW / 2).await;
            Bytes::from_static(b" ")
        });
        assert_eq!(body(there.chain(late)).collect().await.unwrap().len(), 4 * LEAST + 1);
    }
}
