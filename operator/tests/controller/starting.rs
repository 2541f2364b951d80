//! A worker's pod that starts is noted once, which has the kubelet look at it again (decision 018).

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    cluster::{World, with_operator},
    fixtures::succeeded,
};

const QUIET: Duration = Duration::from_secs(1);
const STARTED: &str = "inference.lexiscale.io/started";

impl World {
    /// The kubelet's word on a worker's only container.
    async fn tell_container(&self, pod: &Pod, id: &str, is_ready: bool) {
        let ready = if is_ready { "True" } else { "False" };
        let container = json!({
            "name": "worker", "image": "w", "imageID": "w", "restartCount": 0, "ready": is_ready,
            "containerID": id, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        });
        let status = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [container],
        });
        self.set_status(pod, status).await;
    }

    async fn until_noted(&self, pod: &Pod, id: &str) {
        let is_noted = |pod: &Pod| pod.annotations().get(STARTED).is_some_and(|noted| noted == id);
        self.until(&pod.name_any(), "noted", is_noted).await;
    }

    fn notes(&self, pod: &Pod) -> usize {
        let path = format!("/pods/{}", pod.name_any());
        self.proxy.writes().iter().filter(|write| write.contains(&path)).count()
    }
}

#[tokio::test]
async fn a_worker_that_starts_is_noted_once() {
    with_operator(async |world| {
        let one = |endpoint: &mut Value| {
            endpoint["spec"]["serviceSettings"] =
                json!({"modelId": "first", "numAllocations": 1, "numThreads": 1});
        };
        world.create_endpoint("search", one).await;
        world.end_download(&succeeded("first")).await;
        let pod = world.pods("worker", 1).await.remove(0);

        world.tell_container(&pod, "containerd://1", false).await;
        world.until_noted(&pod, "containerd://1").await;
        world.until_quiet(QUIET).await;
        assert_eq!(world.notes(&pod), 1);

        world.tell_container(&pod, "containerd://1", true).await;
        world.until_says::<lexiscale_crds::InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
        world.until_quiet(QUIET).await;
        assert_eq!(world.notes(&pod), 1, "one that is ready gains nothing");

        world.tell_container(&pod, "containerd://2", false).await;
        world.until_noted(&pod, "containerd://2").await;
    })
    .await;
}
