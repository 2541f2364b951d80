//! What the loop counts.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::metrics::registered;

/// From a handful of endpoints to thousands, and gateways that do not answer.
const ROUND_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5];

#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub(super) enum Source {
    Gateway,
    Worker,
}

#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
enum Outcome {
    Answered,
    Failed,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct ReadLabels {
    source: Source,
    outcome: Outcome,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct EndpointLabels {
    namespace: String,
    endpoint: String,
}

/// The loop's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::controller) struct ScalingMetrics {
    desired: Family<EndpointLabels, Gauge>,
    decisions: Family<ReasonLabels, Counter>,
    reads: Family<ReadLabels, Counter>,
    rounds: Histogram,
    age: Gauge<f64, AtomicU64>,
}

impl ScalingMetrics {
    pub(in crate::controller) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("scaling");
        Self {
            desired: registered(
                registry,
                "desired_allocations",
                "Allocations that each adaptive endpoint should have",
                Family::default(),
            ),
            decisions: registered(
                registry,
                "decisions",
                "Looks at an endpoint's load, by what came of them",
                Family::default(),
            ),
            reads: registered(
                registry,
                "reads",
                "Gateways and workers asked for their load",
                Family::default(),
            ),
            rounds: registered(
                registry,
                "round_duration_seconds",
                "Duration of a round over all endpoints",
                Histogram::new(ROUND_BUCKETS),
            ),
            age: registered(
                registry,
                "observation_age_seconds",
                "Age of what the gateway that was silent for longest has said",
                Gauge::default(),
            ),
        }
    }

    pub(super) fn read(&self, source: Source, answered: bool) {
        let outcome = if answered { Outcome::Answered } else { Outcome::Failed };
        self.reads.get_or_create(&ReadLabels { source, outcome }).inc();
    }

    pub(super) fn gateways_age(&self, age: Option<Duration>) {
        self.age.set(age.unwrap_or_default().as_secs_f64());
    }

    pub(super) fn round(&self, took: Duration) {
        self.rounds.observe(took.as_secs_f64());
    }

    pub(super) fn decided(
        &self,
        (namespace, name): &super::Key,
        desired: u32,
        reason: lexiscale_core::scaling::Reason,
    ) {
        self.decisions.get_or_create(&ReasonLabels { reason: reason.to_string() }).inc();
        self.desired.get_or_create(&labels(namespace, name)).set(i64::from(desired));
    }

    pub(super) fn forget(&self, (namespace, name): &super::Key) {
        self.desired.remove(&labels(namespace, name));
    }
}

fn labels(namespace: &str, name: &str) -> EndpointLabels {
    EndpointLabels { namespace: namespace.to_owned(), endpoint: name.to_owned() }
}
