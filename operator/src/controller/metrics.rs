//! What the controller counts. Labels come from enums, so their number is known.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::scaling::ScalingMetrics;
use crate::metrics::registered;

/// From a pass that reads eight lists on a near API server, to one that waits for a far and busy one.
const DURATION_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// From a worker of a cached model to a large model over a slow line.
const READY_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

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
    Annotate,
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
struct PhaseLabels {
    kind: Kind,
    phase: &'static str,
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
    ready: Family<PhaseLabels, Histogram>,
    writes: Family<WriteLabels, Counter>,
    rejections: Family<WriteLabels, Counter>,
    leader: Gauge<u64, AtomicU64>,
    pub(super) scaling: ScalingMetrics,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let scaling = ScalingMetrics::register(registry);
        let registry = registry.sub_registry_with_prefix("controller");
        Self {
            passes: registered(
                registry,
                "reconciles",
                "Passes over an object, by how they ended",
                Family::default(),
            ),
            durations: registered(
                registry,
                "reconcile_duration_seconds",
                "Duration of a pass over an object",
                Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            ),
            ready: registered(
                registry,
                "ready_duration_seconds",
                "What an object took to be ready for the first time, by phase",
                Family::new_with_constructor(|| Histogram::new(READY_BUCKETS)),
            ),
            writes: registered(registry, "writes", "Objects written, by kind", Family::default()),
            rejections: registered(
                registry,
                "rejected_writes",
                "Writes that the API server refused, by kind",
                Family::default(),
            ),
            leader: registered(registry, "leader", "1 on the replica that reconciles", Gauge::default()),
            scaling,
        }
    }

    pub(super) fn pass(&self, kind: Kind, outcome: Ending, duration: Duration) {
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
        self.durations.get_or_create(&KindLabels { kind }).observe(duration.as_secs_f64());
    }

    /// An object is ready; a phase that is not known is not counted.
    pub(super) fn became_ready(
        &self,
        kind: Kind,
        phases: impl IntoIterator<Item = (&'static str, Option<kube::core::Duration>)>,
    ) {
        for (phase, took) in phases {
            if let Some(took) = took {
                let seconds = Duration::from(took).as_secs_f64();
                self.ready.get_or_create(&PhaseLabels { kind, phase }).observe(seconds);
            }
        }
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
