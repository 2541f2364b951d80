//! The PodDisruptionBudget of an endpoint's workers: a drain takes one worker at a time.
//!
//! `maxUnavailable: 1` and not `minAvailable`: it means the same for many workers, and it lets the only worker of a small
//! endpoint go as well. A budget that protects a single worker would block the drain of its node for ever.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::{labels, name::child_name, validated::ValidatedEndpoint};

pub fn pod_disruption_budget(endpoint: &ValidatedEndpoint) -> PodDisruptionBudget {
    let identity = &endpoint.identity;
    PodDisruptionBudget {
        metadata: identity.child_metadata(child_name(identity.name()), labels::of_endpoint(identity.name())),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(labels::worker_selector(identity.name())),
                match_expressions: None,
            }),
            // A worker that is not ready serves nobody; it must not hold a node either.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
