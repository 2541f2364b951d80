//! The Deployment, Service and NetworkPolicy of an endpoint's standby allocations: those of its workers, with a small CPU request and
//! labels of their own, so that nothing that counts or addresses allocations sees them.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::Service,
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{ReadyCache, Workers, deployment, network_policy, service};
use crate::{children::Child, labels, name::standby_child_name, standby::IDLE};

/// The children that do not wait for the model.
pub fn children(workers: &Workers<'_>) -> Vec<Child> {
    vec![Child::new(policy(workers)), Child::new(service(workers))]
}

pub fn deployment(workers: &Workers<'_>, cache: &ReadyCache, replicas: u32) -> Deployment {
    let selector = labels::standby_selector(workers.endpoint.identity.name());
    let mut object = deployment::deployment(workers, cache);
    rename(&mut object.metadata, workers);
    object.spec.replicas = Some(i32::try_from(replicas).unwrap_or(i32::MAX));
    // Old ones go first. Nobody relies on a standby, and those of an old model would serve it for as long as a new one finds no
    // room, while the status says that the new model serves.
    object.spec.strategy = Some(DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(0)),
            max_unavailable: Some(IntOrString::String("100%".to_owned())),
        }),
    });
    if let Some(pod_labels) =
        object.spec.template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut())
    {
        pod_labels.remove(labels::ENDPOINT);
        pod_labels.extend(selector.clone());
    }
    object.spec.selector = LabelSelector { match_labels: Some(selector), match_expressions: None };
    let containers = object.spec.template.spec.iter_mut().flat_map(|spec| &mut spec.containers);
    for requests in containers.filter_map(|container| container.resources.as_mut()?.requests.as_mut()) {
        requests.insert("cpu".to_owned(), IDLE.into());
    }
    object
}

fn service(workers: &Workers<'_>) -> Service {
    let mut object = service::service(workers.endpoint, workers.settings);
    rename(&mut object.metadata, workers);
    object.metadata.labels.get_or_insert_default().insert(labels::STANDBY.to_owned(), "true".to_owned());
    if let Some(spec) = &mut object.spec {
        spec.selector = Some(labels::standby_selector(workers.endpoint.identity.name()));
    }
    object
}

fn policy(workers: &Workers<'_>) -> NetworkPolicy {
    let mut object = network_policy::of_workers(workers.endpoint, workers.settings);
    rename(&mut object.metadata, workers);
    if let Some(spec) = &mut object.spec {
        spec.pod_selector = Some(LabelSelector {
            match_labels: Some(labels::standby_selector(workers.endpoint.identity.name())),
            match_expressions: None,
        });
    }
    object
}

fn rename(metadata: &mut ObjectMeta, workers: &Workers<'_>) {
    metadata.name = Some(standby_child_name(workers.endpoint.identity.name()));
}
