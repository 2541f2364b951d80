//! Pieces of work in an endpoint's line and at its workers. Endpoints that are attached to another share its line, and are counted under
//! its name here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{ByEndpoint, ByOutcome, ByReason, Rejection, Waited, Worked};
use super::{Histograms, seconds};
use crate::gateway::directory::EndpointKey;
use crate::metrics::registered;

/// Of all lines.
#[derive(Clone)]
pub(super) struct LinesMetrics {
    held: Family<ByEndpoint, Gauge>,
    queued: Family<ByEndpoint, Gauge>,
    wait_seconds: Histograms<ByOutcome<Waited>>,
    worker_seconds: Histograms<ByOutcome<Worked>>,
    retries: Family<ByEndpoint, Counter>,
    rejected: Family<ByReason, Counter>,
}

impl LinesMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let histogram = seconds as fn() -> Histogram;
        Self {
            held: registered(
                registry,
                "requests_held",
                "Requests that wait for a first ready allocation",
                Family::default(),
            ),
            queued: registered(
                registry,
                "queued_texts",
                "Texts that wait for a free allocation",
                Family::default(),
            ),
            wait_seconds: registered(
                registry,
                "queue_wait_seconds",
                "Time of a piece of work in the queue, by how it left it",
                Family::new_with_constructor(histogram),
            ),
            worker_seconds: registered(
                registry,
                "worker_seconds",
                "Time of a piece of work at a worker, until its answer begins",
                Family::new_with_constructor(histogram),
            ),
            retries: registered(
                registry,
                "dispatch_retries",
                "Pieces of work sent to a worker once more",
                Family::default(),
            ),
            rejected: registered(
                registry,
                "rejected",
                "Requests refused for want of room",
                Family::default(),
            ),
        }
    }

    /// A request that was refused before its endpoint was looked at.
    pub(super) fn rejected(&self, reason: Rejection) {
        self.rejected.get_or_create(&ByReason { endpoint: ByEndpoint::none(), reason }).inc();
    }

    /// What is counted of an endpoint that exists, at hand for each of its requests.
    pub(super) fn of(&self, key: &EndpointKey) -> LineMetrics {
        let labels = ByEndpoint::of(key);
        let served = ByOutcome { endpoint: labels.clone(), outcome: Waited::Served };
        let answered = ByOutcome { endpoint: labels.clone(), outcome: Worked::Answered };
        LineMetrics {
            held: self.held.get_or_create_owned(&labels),
            queued: self.queued.get_or_create_owned(&labels),
            served_seconds: self.wait_seconds.get_or_create_owned(&served),
            answered_seconds: self.worker_seconds.get_or_create_owned(&answered),
            retries: self.retries.get_or_create_owned(&labels),
            all: self.clone(),
            is_over: Arc::default(),
            labels,
        }
    }

    pub(super) fn forget(&self, endpoint: &ByEndpoint) {
        let Self { held, queued, wait_seconds, worker_seconds, retries, rejected } = self;
        held.remove(endpoint);
        queued.remove(endpoint);
        retries.remove(endpoint);
        for outcome in Waited::ALL {
            wait_seconds.remove(&ByOutcome { endpoint: endpoint.clone(), outcome });
        }
        for outcome in Worked::ALL {
            worker_seconds.remove(&ByOutcome { endpoint: endpoint.clone(), outcome });
        }
        for reason in [Rejection::Queue, Rejection::Held] {
            rejected.remove(&ByReason { endpoint: endpoint.clone(), reason });
        }
    }
}

/// Counts of one endpoint. What happens to every piece is at hand; what goes wrong is looked up.
#[derive(Clone)]
pub(crate) struct LineMetrics {
    labels: ByEndpoint,
    held: Gauge,
    queued: Gauge,
    served_seconds: Histogram,
    answered_seconds: Histogram,
    retries: Counter,
    all: LinesMetrics,
    /// Its series are gone. Those who stood in the line are still told so, and must not bring them back.
    is_over: Arc<AtomicBool>,
}

impl fmt::Debug for LineMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("LineMetrics").field(&self.labels).finish()
    }
}

impl LineMetrics {
    pub(super) fn endpoint(&self) -> &ByEndpoint {
        &self.labels
    }

    /// Before its series are removed.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub(crate) fn in_line(&self, texts: usize, held: usize) {
        self.queued.set(i64::try_from(texts).unwrap_or(i64::MAX));
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
    }

    /// For an allocation.
    pub(crate) fn waited(&self, time: Duration) {
        self.served_seconds.observe(time.as_secs_f64());
    }

    /// For nothing.
    pub(crate) fn waited_in_vain(&self, time: Duration, outcome: Waited) {
        if self.is_over() {
            return;
        }
        let labels = ByOutcome { endpoint: self.labels.clone(), outcome };
        self.all.wait_seconds.get_or_create(&labels).observe(time.as_secs_f64());
    }

    /// To an answer.
    pub(crate) fn worked(&self, time: Duration) {
        self.answered_seconds.observe(time.as_secs_f64());
    }

    /// To none.
    pub(crate) fn worked_in_vain(&self, time: Duration, outcome: Worked) {
        if self.is_over() {
            return;
        }
        let labels = ByOutcome { endpoint: self.labels.clone(), outcome };
        self.all.worker_seconds.get_or_create(&labels).observe(time.as_secs_f64());
    }

    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    pub(crate) fn rejected(&self, reason: Rejection) {
        if self.is_over() {
            return;
        }
        let labels = ByReason { endpoint: self.labels.clone(), reason };
        self.all.rejected.get_or_create(&labels).inc();
    }
}
