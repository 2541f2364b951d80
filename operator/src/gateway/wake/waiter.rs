//! One inference request and its wait for a first allocation: what the answer tells its client of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use lexiscale_wire::VOCABULARY_HEADER;
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
    wait: Mutex<Wait>,
}

/// What a request's waiting comes to. Its pieces wait side by side.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// Since when the endpoint was waited for, by this request or an earlier one.
    since: Option<Instant>,
    /// From the first piece that waited for a start to the last.
    began: Option<Instant>,
    ended: Option<Instant>,
}

/// A request that waits, until this is dropped.
pub(crate) struct Waiting<'w, 'a> {
    waiter: &'w Waiter<'a>,
    began: Instant,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(gateway: &'a Gateway, key: &'a EndpointKey) -> Self {
        Self { gateway, key, wait: Mutex::default() }
    }

    pub(crate) fn gateway(&self) -> &'a Gateway {
        self.gateway
    }

    pub(crate) fn key(&self) -> &'a EndpointKey {
        self.key
    }

    /// To be called when the request begins to wait, and the result kept until it has its allocation. Never blocks: whatever
    /// has to be asked of the cluster is asked by a task of its own. The endpoint may have allocations at this time that are
    /// only busy, or are about to go.
    pub(crate) fn begin(&self) -> Waiting<'_, 'a> {
        let began = Instant::now();
        let since = self.gateway.wakes.enter(self.gateway, self.key);
        let mut wait = self.lock();
        wait.since = since.or(wait.since);
        Waiting { waiter: self, began }
    }

    fn vocabulary(&self) -> Option<HeaderValue> {
        let directory = self.gateway.directory();
        let status = directory.get(self.key)?.deployment().status.as_ref()?;
        HeaderValue::from_str(status.model.as_ref()?.vocabulary.as_deref()?).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Wait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer with what is known of the start and of whose tokens it has.
    pub(crate) fn answer(self, result: Result<Response, Error>) -> Result<Response, Error> {
        let result = result.map(|mut response| {
            if let Some(vocabulary) = self.vocabulary() {
                response.headers_mut().insert(VOCABULARY_HEADER, vocabulary);
            }
            response
        });
        let Wait { since, began, ended } = *self.lock();
        match (result, since) {
            (Ok(mut response), Some(_)) => {
                let waited = ended.zip(began).map_or(Duration::ZERO, |(ended, began)| ended - began);
                let milliseconds = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                response.headers_mut().insert(COLD_START, HeaderValue::from(milliseconds));
                Ok(response)
            }
            (Err(error @ Error::TooManyHeld { .. }), _)
            | (Err(error @ Error::InferTimeout { .. }), Some(_)) => {
                let left = self.gateway.wakes.time_left(&self.gateway.directory(), self.key, since);
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
        let mut wait = waiter.lock();
        wait.since = wait.since.or(left);
        if let Some(since) = wait.since {
            wait.began.get_or_insert(since.max(*began));
            wait.ended = Some(Instant::now());
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
