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
                self.window_ends += WINDOW;
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
