//! Which worker the kubelet has to look at once more, so that it is not called ready a second late (decision 018). PURE.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::{desired::deployment::CONTAINER, labels};

/// A container that runs, has not said that it is ready, and is not noted yet in the annotation [`labels::STARTED`] of its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pub pod: String,
    pub uid: String,
    /// As the container runtime calls it; a restart is another one.
    pub container: String,
}

impl Started {
    /// The worker of a pod, if it is one.
    pub fn of(pod: &Pod) -> Option<Self> {
        let metadata = &pod.metadata;
        let container = starting(pod)?.container_id.clone()?;
        let noted = metadata.annotations.as_ref().and_then(|annotations| annotations.get(labels::STARTED));
        let is_due = metadata.deletion_timestamp.is_none() && noted != Some(&container);
        let (pod, uid) = (metadata.name.clone()?, metadata.uid.clone()?);
        is_due.then_some(Self { pod, uid, container })
    }
}

fn starting(pod: &Pod) -> Option<&ContainerStatus> {
    let mut containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.find(|container| {
        let runs = container.state.as_ref().is_some_and(|state| state.running.is_some());
        container.name == CONTAINER && runs && !container.ready
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "search-1", "uid": "u1"},
            "status": {"containerStatuses": [{
                "name": CONTAINER, "containerID": "containerd://c1", "ready": false, "restartCount": 0,
                "image": "worker", "imageID": "", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }]},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap_or_else(|error| unreachable!("{error}"))
    }

    fn container(pod: &mut Value) -> &mut Value {
        &mut pod["status"]["containerStatuses"][0]
    }

    #[test]
    fn a_container_that_runs_and_is_not_ready_is_noted_once() {
        let started = Started {
            pod: "search-1".to_owned(),
            uid: "u1".to_owned(),
            container: "containerd://c1".to_owned(),
        };
        assert_eq!(Started::of(&pod(|_| ())), Some(started));
        let noted = |id: &str| {
            let id = id.to_owned();
            Started::of(&pod(|pod| pod["metadata"]["annotations"] = json!({labels::STARTED: id})))
        };
        assert_eq!(noted("containerd://c1"), None);
        assert!(noted("containerd://c0").is_some(), "of the container before a restart");
    }

    #[test]
    fn what_gains_nothing_is_left_alone() {
        let cases: [fn(&mut Value); 5] = [
            |pod| container(pod)["ready"] = json!(true),
            |pod| container(pod)["state"] = json!({"waiting": {"reason": "ContainerCreating"}}),
            |pod| container(pod)["name"] = json!("injected-proxy"),
            |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
            |pod| pod["status"] = json!({}),
        ];
        for case in cases {
            assert_eq!(Started::of(&pod(case)), None);
        }
    }
}
