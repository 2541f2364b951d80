//! What the gateway counts: requests as clients see them, lines and workers as endpoints see them, and what else there is to know
//! of the process. Each group registers itself.

mod labels;
mod line;
mod requests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub(crate) use self::labels::{
    ByEndpoint, ByOutcome, Operation, Outcome, Purpose, Rejection, Waited, Worked,
};
pub(crate) use self::line::LineMetrics;

use self::labels::ByPurpose;
use self::line::LinesMetrics;
use self::requests::RequestMetrics;
use super::auth::AuthMetrics;
use super::directory::EndpointKey;
use super::wake::WakeMetrics;
use crate::metrics::registered;

/// A query takes milliseconds on a warm worker, a cold start a minute.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

#[derive(Clone)]
pub(crate) struct Metrics {
    requests: RequestMetrics,
    lines: LinesMetrics,
    pub(crate) wake: WakeMetrics,
    pub(crate) auth: AuthMetrics,
    connections: Gauge,
    certificate_expiry: Family<ByPurpose, Gauge>,
}

impl Default for Metrics {
    /// Counts that nobody reads.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("gateway");
        Self {
            requests: RequestMetrics::register(registry),
            lines: LinesMetrics::register(registry),
            wake: WakeMetrics::register(registry),
            auth: AuthMetrics::register(registry),
            connections: registered(registry, "connections", "Open client connections", Gauge::default()),
            certificate_expiry: registered(
                registry,
                "certificate_expiry_timestamp_seconds",
                "When a TLS certificate in use ends",
                Family::default(),
            ),
        }
    }

    pub(crate) fn certificate_ends(&self, purpose: Purpose, second: i64) {
        self.certificate_expiry.get_or_create(&ByPurpose { purpose }).set(second);
    }

    /// `key` is of an endpoint that exists.
    pub(crate) fn finished(
        &self,
        operation: Operation,
        key: Option<&EndpointKey>,
        outcome: Outcome,
        seconds: f64,
    ) {
        self.requests.finished(operation, key, outcome, seconds);
    }

    /// Likewise.
    pub(crate) fn in_flight(&self, operation: Operation, key: Option<&EndpointKey>) -> Raised {
        self.requests.in_flight(operation, key)
    }

    /// A request that was refused before its endpoint was looked at.
    pub(crate) fn rejected(&self, reason: Rejection) {
        self.lines.rejected(reason);
    }

    pub(crate) fn line(&self, key: &EndpointKey) -> LineMetrics {
        self.lines.of(key)
    }

    /// Ids come and go; series that only grow would be a leak.
    pub(crate) fn forget(&self, line: &LineMetrics) {
        let Self { requests, lines, wake, auth: _, connections: _, certificate_expiry: _ } = self;
        line.end();
        let endpoint = line.endpoint();
        requests.forget(endpoint);
        lines.forget(endpoint);
        wake.forget(endpoint);
    }

    pub(crate) fn connection(&self) -> Raised {
        Raised::new(self.connections.clone())
    }
}

/// A gauge one higher for as long as this lives.
pub(crate) struct Raised(Gauge);

impl Raised {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The registry of a gateway's process.
pub(crate) fn registry() -> (Arc<Registry>, Metrics) {
    let mut registry = crate::metrics::registry();
    let metrics = Metrics::register(&mut registry);
    (Arc::new(registry), metrics)
}
