//! How every process of the operator counts: one registry, and each group of metrics puts itself there by a `register` of its own.

use prometheus_client::{
    metrics::info::Info,
    registry::{Metric, Registry},
};

/// Prefix of all metrics.
const PREFIX: &str = "lexiscale";

/// A registry that already holds `lexiscale_build_info`.
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running version", build);
    registry
}

/// A metric that is in the registry.
pub(crate) fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}
