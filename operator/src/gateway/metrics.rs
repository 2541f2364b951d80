//! What the gateway counts. Guards count on drop, so that a request whose client went away is counted too.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::auth::AuthMetrics;
use super::directory::EndpointKey;
use super::wake::WakeMetrics;

/// A query takes milliseconds on a warm worker, a cold start a minute.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Operation {
    Create,
    Update,
    Get,
    Delete,
    Infer,
    Info,
    Other,
}

impl Operation {
    const ALL: [Self; 7] =
        [Self::Create, Self::Update, Self::Get, Self::Delete, Self::Infer, Self::Info, Self::Other];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Infer => "infer",
            Self::Info => "info",
            Self::Other => "other",
        }
    }
}

/// How a request ended, as coarse as a label may be.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Outcome {
    Success,
    ClientError,
    ServerError,
    /// The client left before the answer was complete.
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Success, Self::ClientError, Self::ServerError, Self::Cancelled];
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    operation: Operation,
    namespace: String,
    /// Empty for ids that do not exist, or any client could make any number of series.
    endpoint: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ByOperation {
    operation: Operation,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ByEndpoint {
    namespace: String,
    endpoint: String,
}

impl ByEndpoint {
    /// `key` is of an endpoint that exists.
    pub(crate) fn of(key: &EndpointKey) -> Self {
        let EndpointKey { namespace, id: endpoint } = key.clone();
        Self { namespace, endpoint }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ByReason {
    namespace: String,
    endpoint: String,
    reason: Rejection,
}

/// Why a request was answered 429 by the gateway itself.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Rejection {
    /// Too many texts stand in line for the endpoint.
    Queue,
    /// Too many requests wait for the endpoint's first allocation.
    Held,
    /// Too many requests at once, of all endpoints.
    Requests,
    /// Too many bytes held for them.
    Bytes,
}

/// To whom a certificate is shown.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Purpose {
    Clients,
    Workers,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ByPurpose {
    purpose: Purpose,
}

#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Family<Labels, Counter>,
    seconds: Family<ByOperation, Histogram>,
    in_flight: Family<ByOperation, Gauge>,
    held: Family<ByEndpoint, Gauge>,
    queued: Family<ByEndpoint, Gauge>,
    wait_seconds: Family<ByEndpoint, Histogram>,
    worker_seconds: Family<ByEndpoint, Histogram>,
    retries: Family<ByEndpoint, Counter>,
    rejected: Family<ByReason, Counter>,
    connections: Gauge,
    pub(crate) wake: WakeMetrics,
    pub(crate) auth: AuthMetrics,
    certificate_expiry: Family<ByPurpose, Gauge>,
}

impl Default for Metrics {
    /// Counts that nobody reads.
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("lexiscale_gateway");
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Family::default(),
            held: Family::default(),
            queued: Family::default(),
            wait_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            worker_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            retries: Family::default(),
            rejected: Family::default(),
            connections: Gauge::default(),
            wake: WakeMetrics::new(registry),
            auth: AuthMetrics::new(registry),
            certificate_expiry: Family::default(),
        };
        registry.register(
            "requests",
            "Requests by operation, endpoint and outcome",
            metrics.requests.clone(),
        );
        registry.register("request_duration_seconds", "Time from head to last byte", metrics.seconds.clone());
        registry.register("requests_in_flight", "Requests being answered", metrics.in_flight.clone());
        registry.register(
            "requests_held",
            "Requests that wait for a first ready allocation",
            metrics.held.clone(),
        );
        registry.register("queued_texts", "Texts that wait for a free allocation", metrics.queued.clone());
        registry.register(
            "queue_wait_seconds",
            "Time of a piece of work from the queue's end to a free allocation",
            metrics.wait_seconds.clone(),
        );
        registry.register(
            "worker_seconds",
            "Time of a piece of work at a worker, until its answer begins",
            metrics.worker_seconds.clone(),
        );
        registry.register(
            "dispatch_retries",
            "Pieces of work sent to a worker once more",
            metrics.retries.clone(),
        );
        registry.register("rejected", "Requests refused for want of room", metrics.rejected.clone());
        registry.register("connections", "Open client connections", metrics.connections.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a TLS certificate in use ends",
            metrics.certificate_expiry.clone(),
        );
        metrics
    }

    pub(crate) fn certificate_ends(&self, purpose: Purpose, second: i64) {
        self.certificate_expiry.get_or_create(&ByPurpose { purpose }).set(second);
    }

    /// `key` is of an endpoint that exists.
    pub(crate) fn finished(
        &self,
        operation: Operation,
        key: Option<EndpointKey>,
        outcome: Outcome,
        seconds: f64,
    ) {
        let EndpointKey { namespace, id: endpoint } = key.unwrap_or_else(|| EndpointKey::new("", ""));
        self.requests.get_or_create(&Labels { operation, namespace, endpoint, outcome }).inc();
        self.seconds.get_or_create(&ByOperation { operation }).observe(seconds);
    }

    /// A request that was refused before its endpoint was looked at.
    pub(crate) fn rejected(&self, reason: Rejection) {
        let labels = ByReason { namespace: String::new(), endpoint: String::new(), reason };
        self.rejected.get_or_create(&labels).inc();
    }

    pub(crate) fn in_flight(&self, operation: Operation) -> Raised {
        Raised::new(self.in_flight.get_or_create_owned(&ByOperation { operation }))
    }

    /// What is counted of an endpoint that exists, at hand for each of its requests.
    pub(crate) fn line(&self, key: &EndpointKey) -> LineMetrics {
        let labels = ByEndpoint::of(key);
        LineMetrics {
            held: self.held.get_or_create_owned(&labels),
            queued: self.queued.get_or_create_owned(&labels),
            wait_seconds: self.wait_seconds.get_or_create_owned(&labels),
            worker_seconds: self.worker_seconds.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            rejected: self.rejected.clone(),
            labels,
        }
    }

    /// Ids come and go; series that only grow would be a leak.
    pub(crate) fn forget(&self, line: &LineMetrics) {
        let LineMetrics {
            labels,
            held: _,
            queued: _,
            wait_seconds: _,
            worker_seconds: _,
            retries: _,
            rejected: _,
        } = line;
        self.held.remove(labels);
        self.queued.remove(labels);
        self.wait_seconds.remove(labels);
        self.worker_seconds.remove(labels);
        self.retries.remove(labels);
        for reason in [Rejection::Queue, Rejection::Held] {
            self.rejected.remove(&line.rejection(reason));
        }
        self.wake.forget(labels);
        let ByEndpoint { namespace, endpoint } = labels;
        for operation in Operation::ALL {
            for outcome in Outcome::ALL {
                let (namespace, endpoint) = (namespace.clone(), endpoint.clone());
                self.requests.remove(&Labels { operation, namespace, endpoint, outcome });
            }
        }
    }

    pub(crate) fn connection(&self) -> Raised {
        Raised::new(self.connections.clone())
    }
}

/// Counts of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct LineMetrics {
    labels: ByEndpoint,
    held: Gauge,
    queued: Gauge,
    wait_seconds: Histogram,
    worker_seconds: Histogram,
    retries: Counter,
    rejected: Family<ByReason, Counter>,
}

impl LineMetrics {
    pub(crate) fn in_line(&self, texts: usize, held: usize) {
        self.queued.set(i64::try_from(texts).unwrap_or(i64::MAX));
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.wait_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn worked(&self, time: Duration) {
        self.worker_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    pub(crate) fn rejected(&self, reason: Rejection) {
        self.rejected.get_or_create(&self.rejection(reason)).inc();
    }

    fn rejection(&self, reason: Rejection) -> ByReason {
        let ByEndpoint { namespace, endpoint } = self.labels.clone();
        ByReason { namespace, endpoint, reason }
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

/// The registry of a process that has only these metrics.
pub(crate) fn registry() -> (Arc<Registry>, Metrics) {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    (Arc::new(registry), metrics)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn names_and_labels_are_what_dashboards_ask_for() {
        let (registry, metrics) = registry();
        let counts = metrics.line(&EndpointKey::new("default", "articles"));
        counts.in_line(7, 1);
        counts.waited(Duration::from_millis(3));
        counts.worked(Duration::from_millis(30));
        counts.retried();
        counts.rejected(Rejection::Queue);
        metrics.rejected(Rejection::Bytes);
        let in_flight = metrics.in_flight(Operation::Infer);
        drop(in_flight);
        metrics.finished(
            Operation::Infer,
            Some(EndpointKey::new("default", "articles")),
            Outcome::Success,
            0.5,
        );
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"lexiscale_gateway_requests_total{operation="Infer",namespace="default",endpoint="articles",outcome="Success"} 1"#,
            r#"lexiscale_gateway_request_duration_seconds_bucket{le="0.5",operation="Infer"} 1"#,
            r#"lexiscale_gateway_requests_in_flight{operation="Infer"} 0"#,
            r#"lexiscale_gateway_requests_held{namespace="default",endpoint="articles"} 1"#,
            r#"lexiscale_gateway_queued_texts{namespace="default",endpoint="articles"} 7"#,
            r#"lexiscale_gateway_queue_wait_seconds_bucket{le="0.005",namespace="default",endpoint="articles"} 1"#,
            r#"lexiscale_gateway_worker_seconds_bucket{le="0.05",namespace="default",endpoint="articles"} 1"#,
            r#"lexiscale_gateway_dispatch_retries_total{namespace="default",endpoint="articles"} 1"#,
            r#"lexiscale_gateway_rejected_total{namespace="default",endpoint="articles",reason="Queue"} 1"#,
            r#"lexiscale_gateway_rejected_total{namespace="",endpoint="",reason="Bytes"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.forget(&counts);
        text.clear();
        encode(&mut text, &registry).unwrap();
        for name in ["held", "queued_texts", "queue_wait", "worker_seconds", "retries", "Queue"] {
            let left = text.lines().find(|line| line.contains(name) && line.contains("articles"));
            assert_eq!(left, None);
        }
    }
}
