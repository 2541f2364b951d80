//! Requests of clients, by what they ask for and of which endpoint. Guards count on drop, so that a request whose client went away is
//! counted too.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{ByEndpoint, ByOperation, ByOperationAndOutcome, Operation, Outcome};
use super::{Histograms, Raised, seconds};
use crate::gateway::directory::EndpointKey;
use crate::metrics::registered;

#[derive(Clone)]
pub(super) struct RequestMetrics {
    requests: Family<ByOperationAndOutcome, Counter>,
    seconds: Histograms<ByOperation>,
    in_flight: Family<ByOperation, Gauge>,
}

impl RequestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let histograms = Family::new_with_constructor(seconds as fn() -> Histogram);
        Self {
            requests: registered(
                registry,
                "requests",
                "Requests by operation, endpoint and outcome",
                Family::default(),
            ),
            seconds: registered(
                registry,
                "request_duration_seconds",
                "Time from head to last byte",
                histograms,
            ),
            in_flight: registered(
                registry,
                "requests_in_flight",
                "Requests being answered",
                Family::default(),
            ),
        }
    }

    /// `key` is of an endpoint that exists.
    pub(super) fn finished(
        &self,
        operation: Operation,
        key: Option<&EndpointKey>,
        outcome: Outcome,
        seconds: f64,
    ) {
        let operation = labels(operation, key);
        self.seconds.get_or_create(&operation).observe(seconds);
        self.requests.get_or_create(&ByOperationAndOutcome { operation, outcome }).inc();
    }

    /// Likewise.
    pub(super) fn in_flight(&self, operation: Operation, key: Option<&EndpointKey>) -> Raised {
        Raised::new(self.in_flight.get_or_create_owned(&labels(operation, key)))
    }

    pub(super) fn forget(&self, endpoint: &ByEndpoint) {
        for operation in Operation::ALL {
            let operation = ByOperation { operation, endpoint: endpoint.clone() };
            self.seconds.remove(&operation);
            self.in_flight.remove(&operation);
            for outcome in Outcome::ALL {
                let operation = operation.clone();
                self.requests.remove(&ByOperationAndOutcome { operation, outcome });
            }
        }
    }
}

fn labels(operation: Operation, key: Option<&EndpointKey>) -> ByOperation {
    ByOperation { operation, endpoint: key.map_or_else(ByEndpoint::none, ByEndpoint::of) }
}
