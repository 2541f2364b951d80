//! One inference request and its wait for a first allocation: what the answer tells its client of it.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::gateway::directory::EndpointKey;
use crate::gateway::error::Error;

/// How long the request waited for a first allocation. Absent on one that did not have to.
const COLD_START: HeaderName = HeaderName::from_static("x-inference-cold-start-ms");
/// Bounds of `Retry-After`, in seconds.
const SOONEST: u64 = 1;
const LATEST: u64 = 300;

pub(crate) struct Waiter<'a> {
    gateway: &'a Gateway,
    key: &'a EndpointKey,
    /// Since when the endpoint was waited for, by this request or an earlier one.
    since: Option<Instant>,
    waited: Duration,
}

/// A request that waits, until this is dropped.
pub(crate) struct Waiting<'w, 'a> {
    waiter: &'w mut Waiter<'a>,
    began: Instant,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(gateway: &'a Gateway, key: &'a EndpointKey) -> Self {
        Self { gateway, key, since: None, waited: Duration::ZERO }
    }

    /// To be called when the request begins to wait, and the result kept until it has its allocation. Never blocks: whatever
    /// has to be asked of the cluster is asked by a task of its own. The endpoint may have allocations at this time that are
    /// only busy, or are about to go.
    pub(crate) fn begin(&mut self) -> Waiting<'_, 'a> {
        let began = Instant::now();
        self.since = self.gateway.wakes.enter(self.gateway, self.key).or(self.since);
        Waiting { waiter: self, began }
    }

    /// The answer with what is known of the start.
    pub(crate) fn answer(self, result: Result<Response, Error>) -> Result<Response, Error> {
        match (result, self.since) {
            (Ok(mut response), Some(_)) => {
                let milliseconds = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
                response.headers_mut().insert(COLD_START, HeaderValue::from(milliseconds));
                Ok(response)
            }
            (Err(error @ Error::TooManyHeld { .. }), _)
            | (Err(error @ Error::InferTimeout { .. }), Some(_)) => {
                let left = self.gateway.wakes.time_left(&self.gateway.directory(), self.key, self.since);
                let mut response = error.into_response();
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after(left)));
                Ok(response)
            }
            (result, _) => result,
        }
    }
}

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        let Self { waiter, began } = self;
        let left = waiter.gateway.wakes.leave(waiter.gateway, waiter.key);
        waiter.since = waiter.since.or(left);
        if let Some(since) = waiter.since {
            waiter.waited += since.max(*began).elapsed();
        }
    }
}

/// Whole seconds, rounded up: whoever comes at that time shall not be too early.
fn retry_after(left: Duration) -> u64 {
    left.as_millis().div_ceil(1000).try_into().unwrap_or(LATEST).clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_a_time_that_it_can_wait_for() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (14_900, 15), (900_000, 300)] {
            assert_eq!(retry_after(Duration::from_millis(milliseconds)), seconds, "{milliseconds} ms");
        }
    }
}
