//! The status of an endpoint that is attached to the deployment of another one (`deploymentId`): that one's state, told
//! again. Such an endpoint has no children and needs no plan. PURE.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use lexiscale_crds::{InferenceEndpoint, InferenceEndpointStatus};

use super::conditions::{Said, Verdict};
use crate::{
    catalog::Catalog,
    validated::{Invalid, alone_with_its_id},
};

/// The status of an endpoint attached to `deployment_id`. `peers` are endpoints of its namespace, the one that has the
/// deployment among them, if there is one.
pub fn status(
    endpoint: &InferenceEndpoint,
    deployment_id: &str,
    peers: &[InferenceEndpoint],
    catalog: &Catalog,
    now: Timestamp,
) -> InferenceEndpointStatus {
    let generation = endpoint.metadata.generation;
    let before = endpoint.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let conditions = |verdict: Verdict| verdict.conditions(before, generation, now);
    let found =
        alone_with_its_id(endpoint, peers).and_then(|()| holder(endpoint, deployment_id, peers, catalog));
    match found {
        Err(invalid) => InferenceEndpointStatus {
            observed_generation: generation,
            conditions: conditions(Verdict::Stuck(Said::new(invalid.reason(), invalid.to_string()))),
            ..InferenceEndpointStatus::default()
        },
        Ok(holder) => {
            let theirs = holder.status.clone().unwrap_or_default();
            let told = if theirs.conditions.is_empty() {
                let message = format!("InferenceEndpoint {} has not begun yet", holder.name_any());
                conditions(Verdict::Working(Said::new("WaitingForDeployment", message)))
            } else {
                retold(theirs.conditions, generation)
            };
            InferenceEndpointStatus {
                observed_generation: generation,
                conditions: told,
                url: theirs.url,
                model: theirs.model,
                pending_model: theirs.pending_model,
                allocations: theirs.allocations,
                sizing: theirs.sizing,
                // No selector: it is for scaling, and this endpoint cannot be scaled.
                ..InferenceEndpointStatus::default()
            }
        }
    }
}

fn retold(conditions: Vec<Condition>, observed_generation: Option<i64>) -> Vec<Condition> {
    conditions.into_iter().map(|condition| Condition { observed_generation, ..condition }).collect()
}

fn holder<'a>(
    endpoint: &InferenceEndpoint,
    deployment_id: &str,
    peers: &'a [InferenceEndpoint],
    catalog: &Catalog,
) -> Result<&'a InferenceEndpoint, Invalid> {
    let has_it = |peer: &&InferenceEndpoint| {
        peer.inference_id() == deployment_id
            && peer.spec.service_settings.deployment_id.is_none()
            && peer.metadata.deletion_timestamp.is_none()
    };
    let age = |peer: &&InferenceEndpoint| (peer.creation_timestamp().map(|time| time.0), peer.name_any());
    let holder = peers.iter().filter(has_it).min_by_key(age);
    let holder = holder.ok_or_else(|| Invalid::NoDeployment(deployment_id.to_owned()))?;
    let Some(asked) = endpoint.spec.service_settings.model_id.as_deref() else { return Ok(holder) };
    let serves = catalog.resolve(holder.spec.service, holder.spec.service_settings.model_id.as_deref())?.id;
    if asked == serves {
        return Ok(holder);
    }
    Err(Invalid::OtherModel { deployment: deployment_id.to_owned(), asked: asked.to_owned(), serves })
}

#[cfg(test)]
mod tests {
    use lexiscale_crds::{ConditionType, Conditions};
    use serde_json::{Value, json};

    use super::*;

    fn endpoint(name: &str, settings: &Value) -> InferenceEndpoint {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "generation": 7},
            "spec": {"taskType": "sparse_embedding", "service": "elser", "serviceSettings": settings},
        }))
        .unwrap()
    }

    fn holder(name: &str) -> InferenceEndpoint {
        let mut holder = endpoint(name, &json!({"numAllocations": 3, "numThreads": 1}));
        holder.status = serde_json::from_value(json!({
            "observedGeneration": 4,
            "allocations": {"desired": 3, "current": 2, "ready": 1},
            "selector": "a=b",
            "url": "http://holder",
            "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "1 of 3",
                            "observedGeneration": 4, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap();
        holder
    }

    fn status_of(settings: &Value, peers: &[InferenceEndpoint]) -> InferenceEndpointStatus {
        let catalog =
            Catalog::parse("models: [{ids: [.elser_model_2_linux-x86_64], source: hf://a/b}]").unwrap();
        status(&endpoint("attached", settings), "holder", peers, &catalog, Timestamp::UNIX_EPOCH)
    }

    fn stall(status: InferenceEndpointStatus) -> String {
        let mut told = endpoint("attached", &json!({}));
        told.status = Some(status);
        assert!(!told.is(ConditionType::Ready));
        told.condition(ConditionType::Stalled).map(|condition| condition.reason.clone()).unwrap_or_default()
    }

    #[test]
    fn the_state_is_that_of_the_endpoint_with_the_deployment() {
        let settings = json!({"deploymentId": "holder", "modelId": ".elser_model_2_linux-x86_64"});
        let status = status_of(&settings, &[holder("holder")]);
        assert_eq!(status.observed_generation, Some(7), "its own, or clients would think it is behind");
        assert_eq!(status.conditions[0].observed_generation, Some(7));
        assert_eq!((status.conditions.len(), status.conditions[0].message.as_str()), (1, "1 of 3"));
        assert_eq!(status.allocations.map(|allocations| allocations.ready), Some(1));
        assert_eq!(status.selector, None, "an autoscaler must not scale what is not its own");
    }

    #[test]
    fn what_cannot_be_attached_stalls() {
        let attached = json!({"deploymentId": "holder"});
        assert_eq!(stall(status_of(&attached, &[])), "DeploymentNotFound");
        let chained = endpoint("holder", &json!({"deploymentId": "another"}));
        assert_eq!(stall(status_of(&attached, &[chained])), "DeploymentNotFound");
        let other = json!({"deploymentId": "holder", "modelId": "a/b"});
        assert_eq!(stall(status_of(&other, &[holder("holder")])), "OtherModel");
        let mut silent = holder("holder");
        silent.status = None;
        assert_eq!(stall(status_of(&attached, &[silent])), "", "not a stall: it has only just been made");
    }
}
