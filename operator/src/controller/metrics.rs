//! What the controller counts. Labels come from enums, so their number is known.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// From a pass that reads eight lists on a near API server, to one that waits for a far and busy one.
const DURATION_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The kinds that are reconciled.
#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub(super) enum Kind {
    InferenceEndpoint,
    ModelCache,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub(super) enum Ending {
    Settled,
    Waiting,
    Invalid,
    Gone,
    Failed,
}

/// What a write did.
#[derive(Clone, Copy, Debug, Eq, EncodeLabelValue, Hash, PartialEq)]
pub(super) enum Verb {
    Apply,
    Delete,
    Resize,
    Scale,
    Status,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct PassLabels {
    kind: Kind,
    outcome: Ending,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct KindLabels {
    kind: Kind,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct WriteLabels {
    kind: &'static str,
    verb: Verb,
}

/// The controller's metrics.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    passes: Family<PassLabels, Counter>,
    durations: Family<KindLabels, Histogram>,
    writes: Family<WriteLabels, Counter>,
    rejections: Family<WriteLabels, Counter>,
    leader: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Registers everything.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            passes: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            writes: Family::default(),
            rejections: Family::default(),
            leader: Gauge::default(),
        };
        registry.register(
            "controller_reconciles",
            "Passes over an object, by how they ended",
            metrics.passes.clone(),
        );
        registry.register(
            "controller_reconcile_duration_seconds",
            "Duration of a pass over an object",
            metrics.durations.clone(),
        );
        registry.register("controller_writes", "Objects written, by kind", metrics.writes.clone());
        registry.register(
            "controller_rejected_writes",
            "Writes that the API server refused, by kind",
            metrics.rejections.clone(),
        );
        registry.register("controller_leader", "1 on the replica that reconciles", metrics.leader.clone());
        metrics
    }

    pub(super) fn pass(&self, kind: Kind, outcome: Ending, duration: Duration) {
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
        self.durations.get_or_create(&KindLabels { kind }).observe(duration.as_secs_f64());
    }

    pub(super) fn wrote(&self, kind: &'static str, verb: Verb) {
        self.writes.get_or_create(&WriteLabels { kind, verb }).inc();
    }

    pub(super) fn rejected(&self, kind: &'static str, verb: Verb) {
        self.rejections.get_or_create(&WriteLabels { kind, verb }).inc();
    }

    pub(super) fn leads(&self, leads: bool) {
        self.leader.set(u64::from(leads));
    }
}
