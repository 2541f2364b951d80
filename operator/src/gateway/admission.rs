//! How many inference requests this gateway works on at once. What is above is refused at once: a queue
//! without an end only makes every client wait for an answer that comes too late.

use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::error::Error;

pub(crate) struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
}

/// A request that may be worked on, and until when. Its pieces share its place.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) deadline: Deadline,
    _place: Arc<OwnedSemaphorePermit>,
}

/// A point in time, and the span that was asked for, which is what the client is told when it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
}

/// When a request came. It goes with the request, among its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began(pub(crate) Instant);

impl Began {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        *extensions.get().expect("whoever counts a request says when it came")
    }
}

impl Deadline {
    pub(crate) fn of(Began(began): Began, timeout: Duration) -> Self {
        Self { at: began + timeout, timeout }
    }
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))), limit }
    }

    pub(crate) fn admit(&self, deadline: Deadline) -> Result<Admitted, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Error::TooManyRequests { limit: self.limit })?;
        Ok(Admitted { deadline, _place: Arc::new(place) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_free_again_once_its_request_is_done() {
        let admission = Admission::new(1);
        let deadline = Deadline::of(Began(Instant::now()), Duration::from_secs(1));
        let admitted = admission.admit(deadline).unwrap();
        assert!(matches!(admission.admit(deadline), Err(Error::TooManyRequests { limit: 1 })));
        drop(admitted);
        assert!(admission.admit(deadline).is_ok());
    }
}
