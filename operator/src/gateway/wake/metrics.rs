//! What is counted of wake-ups.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::gateway::directory::EndpointKey;
use crate::gateway::metrics::{ByEndpoint, ByOutcome};
use crate::metrics::registered;

/// From a request that finds nobody to the answer of the API server. The aim is 50 ms.
const DECISION_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0];
/// A worker that finds image and model takes a second, a node that is added some minutes.
const START_SECONDS: [f64; 11] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0];

/// How an attempt to wake an endpoint ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Asked {
    /// This gateway's patch.
    Here,
    /// Another was faster, or the endpoint does not sleep any more.
    Elsewhere,
    /// The API server was away or refused.
    Failed,
}

impl Asked {
    const ALL: [Self; 3] = [Self::Here, Self::Elsewhere, Self::Failed];
}

#[derive(Clone)]
pub(crate) struct WakeMetrics {
    decision_seconds: Histogram,
    requests: Family<ByOutcome<Asked>, Counter>,
    cold_starts: Family<ByEndpoint, Counter>,
    cold_start_seconds: Family<ByEndpoint, Histogram, fn() -> Histogram>,
}

fn start_seconds() -> Histogram {
    Histogram::new(START_SECONDS)
}

impl WakeMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            decision_seconds: registered(
                registry,
                "wake_decision_seconds",
                "Time from the first request that found no allocation to the endpoint's wake-up being stored",
                Histogram::new(DECISION_SECONDS),
            ),
            requests: registered(
                registry,
                "wake_requests",
                "Attempts to wake endpoints by outcome",
                Family::default(),
            ),
            cold_starts: registered(
                registry,
                "cold_starts",
                "Starts from zero that requests waited for",
                Family::default(),
            ),
            cold_start_seconds: registered(
                registry,
                "cold_start_seconds",
                "Time from the first request to the first ready allocation",
                Family::new_with_constructor(start_seconds as fn() -> Histogram),
            ),
        }
    }

    /// `key` is of an endpoint that exists.
    pub(crate) fn asked(&self, key: &EndpointKey, outcome: Asked) {
        self.requests.get_or_create(&ByOutcome { endpoint: ByEndpoint::of(key), outcome }).inc();
    }

    pub(crate) fn decided(&self, took: Duration) {
        self.decision_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn forget(&self, endpoint: &ByEndpoint) {
        for outcome in Asked::ALL {
            self.requests.remove(&ByOutcome { endpoint: endpoint.clone(), outcome });
        }
        self.cold_starts.remove(endpoint);
        self.cold_start_seconds.remove(endpoint);
    }

    pub(crate) fn cold_start(&self, key: &EndpointKey, took: Duration) {
        let labels = ByEndpoint::of(key);
        self.cold_starts.get_or_create(&labels).inc();
        self.cold_start_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
