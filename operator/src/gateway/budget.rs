//! How many bytes this gateway holds for requests: bodies while they are worked on, and answers that are joined
//! from pieces. Counted as they arrive, so that nobody reserves by announcing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use hyper::body::{Frame, SizeHint};

use super::Gateway;
use super::metrics::Rejection;
use super::shares::{Among, Share, Shares};
use super::tenancy::Tenant;

#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Shares>);

/// What one request holds; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    share: Share,
    is_refused: AtomicBool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("as many bytes are held for requests as may be")]
pub(crate) struct OverBudget;

impl Budget {
    pub(crate) fn new(limit: usize, among: Among) -> Self {
        Self(Shares::new(limit, among))
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit()
    }

    pub(crate) fn begin(&self, tenant: &str) -> Arc<Held> {
        Arc::new(Held { share: self.0.begin(tenant), is_refused: AtomicBool::new(false) })
    }
}

impl Held {
    /// Whether something did not fit, of which the request's body may be a part.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.share.limit()
    }

    pub(crate) fn grow(&self, bytes: usize) -> Result<(), OverBudget> {
        self.share.take(bytes).map_err(|_| {
            self.is_refused.store(true, Ordering::Relaxed);
            OverBudget
        })
    }

    /// Gives back what is held above `bytes`.
    pub(crate) fn shrink(&self, bytes: usize) {
        self.share.shrink(bytes);
    }
}

/// A request whose body is counted, if it has one.
pub(crate) struct BodyCount(Option<Arc<Held>>);

/// Counts the body of a request for as long as the request is worked on. A reader that inflates it adds what it makes
/// of it to the request's [`Held`], which is among its extensions.
pub(crate) fn count_body(gateway: &Gateway, request: &mut Request) -> BodyCount {
    if hyper::body::Body::is_end_stream(request.body()) {
        return BodyCount(None);
    }
    let tenant = Tenant::of(request.extensions(), gateway);
    // A tenant that is not served is refused before its body is read.
    let tenant = tenant.as_ref().map_or(gateway.settings.namespace.as_str(), |Tenant(name)| name);
    let held = gateway.budget.begin(tenant);
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = Body::new(Counted { body, held: Arc::clone(&held) });
    request.extensions_mut().insert(Arc::clone(&held));
    BodyCount(Some(held))
}

impl BodyCount {
    /// Counts a refusal.
    pub(crate) fn note(self, gateway: &Gateway) {
        if self.0.is_some_and(|held| held.is_refused()) {
            gateway.metrics.rejected(Rejection::Bytes);
        }
    }
}

struct Counted {
    body: Body,
    held: Arc<Held>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(over) = self.held.grow(data.len())
        {
            return Poll::Ready(Some(Err(axum::Error::new(over))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_breaks_off_where_it_does_not_fit() {
        let budget = Budget::new(10, Among::One);
        for (size, fits) in [(10, true), (11, false)] {
            let held = budget.begin("a");
            let body = Body::new(Counted { body: Body::from(vec![b' '; size]), held: Arc::clone(&held) });
            assert_eq!(body.collect().await.is_ok(), fits, "{size}");
            assert_eq!(held.is_refused(), !fits);
        }
    }
}
