//! How far the Deployment of an endpoint is: which model serves, which is on its way, and what hinders it. PURE.

use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentCondition, DeploymentStatus},
    core::v1::Pod,
};
use kube::ResourceExt;
use lexiscale_crds::ServedPrecision;

use crate::{
    failure::{self, PodFailure},
    labels::{self, Component},
};

/// The state of a Deployment and its pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// Pods, ready or not, of every revision.
    pub current: u32,
    /// Pods that serve, of every revision.
    pub ready: u32,
    /// All pods are of the latest revision, as many as there should be, and none of an older one still answers while it drains.
    pub complete: bool,
    /// Cache and model id in the pod template.
    pub template: Option<ServedModel>,
    /// Cache and model id of pods that serve while they are replaced.
    pub replaced: Option<ServedModel>,
    /// The worst failure among the pods of the latest revision.
    pub failure: Option<PodFailure>,
    /// The Deployment has not got on for too long.
    pub overdue: Option<String>,
    /// Pods are refused: a quota or a policy.
    pub refused: Option<String>,
}

/// A model as the pods that serve it are marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedModel {
    pub cache: String,
    pub model_id: String,
    /// Unknown for pods of an older version.
    pub precision: Option<ServedPrecision>,
}

impl Rollout {
    /// Reads the Deployment, if there is one, and the endpoint's pods.
    pub fn new(deployment: Option<&Deployment>, pods: &[Pod]) -> Self {
        let Some(deployment) = deployment else {
            return Self::default();
        };
        let status = deployment.status.clone().unwrap_or_default();
        let template = deployment.spec.template.metadata.as_ref();
        let annotations = template.and_then(|metadata| metadata.annotations.as_ref());
        let revision = annotations.and_then(|annotations| annotations.get(labels::REVISION));
        let (latest, old): (Vec<_>, Vec<_>) =
            pods.iter().partition(|pod| pod.annotations().get(labels::REVISION) == revision);
        let replaced =
            old.iter().filter(|pod| is_ready(pod)).find_map(|pod| ServedModel::new(pod.annotations()));
        Self {
            current: count(status.replicas),
            ready: count(status.ready_replicas),
            complete: replaced.is_none() && is_complete(deployment, &status),
            template: annotations.and_then(ServedModel::new),
            replaced,
            failure: failure::worst(latest.into_iter(), Component::Worker),
            overdue: message(&status, "Progressing", "False", "ProgressDeadlineExceeded"),
            refused: message(&status, "ReplicaFailure", "True", "FailedCreate"),
        }
    }

    /// True when the pods of an old revision still serve.
    pub fn old_revision_serves(&self) -> bool {
        self.replaced.is_some()
    }
}

impl ServedModel {
    fn new(annotations: &std::collections::BTreeMap<String, String>) -> Option<Self> {
        Some(Self {
            cache: annotations.get(labels::MODEL_CACHE)?.clone(),
            model_id: annotations.get(labels::MODEL_ID)?.clone(),
            precision: annotations.get(labels::PRECISION).and_then(|precision| precision.parse().ok()),
        })
    }
}

fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn message(status: &DeploymentStatus, kind: &str, holds: &str, reason: &str) -> Option<String> {
    let matches = |condition: &&DeploymentCondition| {
        condition.type_.as_deref() == Some(kind)
            && condition.status.as_deref() == Some(holds)
            && condition.reason.as_deref() == Some(reason)
    };
    let condition = status.conditions.iter().flatten().find(matches)?;
    Some(condition.message.clone().unwrap_or_default())
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}
