//! What every process of the operator exposes about itself.

use prometheus_client::{metrics::info::Info, registry::Registry};

/// Prefix of all metrics.
const PREFIX: &str = "lexiscale";

/// A registry that already holds `lexiscale_build_info`.
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running version", build);
    registry
}
