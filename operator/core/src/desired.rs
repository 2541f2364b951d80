//! The child objects as they should be, one file each. PURE: a value in, an object out.

pub mod claim;
pub mod deployment;
pub mod job;
pub mod model_cache;
pub mod network_policy;
mod pod;
pub mod pod_disruption_budget;
pub mod service;
pub mod service_account;
pub mod standby;
pub mod tls;

use lexiscale_crds::{Int8Status, ServedPrecision};

use crate::{
    autoscaler::Decision,
    children::Child,
    identity::Identity,
    labels,
    name::{cache_child_name, child_name},
    settings::{AccessMode, Settings},
    validated::ValidatedEndpoint,
    volume::Volume,
};

/// What the workers of an endpoint are made from.
#[derive(Clone, Copy, Debug)]
pub struct Workers<'a> {
    pub endpoint: &'a ValidatedEndpoint,
    pub settings: &'a Settings,
    pub decision: &'a Decision,
}

/// A cache whose model lies on its volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyCache {
    /// Name of the `ModelCache`.
    pub name: String,
    pub claim: String,
    pub access_mode: AccessMode,
    pub digest: String,
    /// What its workers compute with.
    pub precision: ServedPrecision,
    /// Memory that one worker needs with that, as the download estimated it.
    pub memory_bytes: Option<u64>,
    /// Absent from caches that an older version made.
    pub int8: Option<Int8Status>,
}

/// The children of an endpoint that do not wait for the model.
pub fn of_endpoint(workers: &Workers<'_>) -> Vec<Child> {
    let Workers { endpoint, settings, decision: _ } = workers;
    vec![
        Child::new(service_account::service_account(
            &endpoint.identity,
            child_name(endpoint.identity.name()),
            labels::of_endpoint(endpoint.identity.name()),
        )),
        Child::new(network_policy::of_workers(endpoint, settings)),
        Child::new(service::service(endpoint, settings)),
        Child::new(pod_disruption_budget::pod_disruption_budget(endpoint)),
    ]
}

/// The children of a cache that do not wait for anything.
pub fn of_cache(cache: &Identity, hub_endpoint: &str, settings: &Settings, volume: &Volume) -> Vec<Child> {
    vec![
        Child::new(service_account::service_account(
            cache,
            cache_child_name(cache.name()),
            labels::of_cache(cache.name()),
        )),
        Child::new(network_policy::of_cache(cache, hub_endpoint, settings)),
        Child::new(claim::claim(cache, volume)),
    ]
}
