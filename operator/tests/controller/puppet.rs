//! Plays the kubelet: writes the status of pods that have no node.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use lexiscale_wire::FetchReport;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::World;

impl World {
    /// Waits for a download's pod and ends it with this report.
    pub(crate) async fn end_download(&self, report: &FetchReport) {
        let pod = self.pods("model-cache", 1).await.remove(0);
        let (phase, exit_code) = match report {
            FetchReport::Succeeded(_) => ("Succeeded", 0),
            FetchReport::Failed(_) => ("Failed", 1),
        };
        let terminated =
            json!({"terminated": {"exitCode": exit_code, "message": report.to_termination_message()}});
        self.set_status(
            &pod,
            json!({"phase": phase, "containerStatuses": [container("fetch", false, 0, &terminated)]}),
        )
        .await;
    }

    /// Waits for so many workers that do not serve yet, and makes them serve.
    pub(crate) async fn start_workers(&self, count: usize) {
        for pod in self.pods("worker", count).await {
            let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
            let status = json!({
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}, scheduled()],
                "containerStatuses": [container("worker", true, 0, &running)],
            });
            self.set_status(&pod, status).await;
        }
    }

    /// Waits for so many workers that do not serve yet, and makes them crash.
    pub(crate) async fn crash_workers(&self, count: usize, terminated: Value) {
        for pod in self.pods("worker", count).await {
            let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}});
            let mut crashed = container("worker", false, 3, &waiting);
            crashed["lastState"] = json!({"terminated": terminated});
            let status =
                json!({"phase": "Running", "conditions": [scheduled()], "containerStatuses": [crashed]});
            self.set_status(&pod, status).await;
        }
    }

    /// Pods of a component that wait for a node.
    pub(crate) async fn pods(&self, component: &str, count: usize) -> Vec<Pod> {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let mut pods = self.list::<Pod>().await;
            pods.retain(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                pod.labels()["app.kubernetes.io/component"] == component
                    && phase == Some("Pending")
                    && pod.metadata.deletion_timestamp.is_none()
            });
            if pods.len() == count {
                return pods;
            }
            assert!(
                Instant::now() < deadline,
                "{} pods of {component} wait for a node, not {count}",
                pods.len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A download that is under way and tells nobody how far it is.
    pub(crate) async fn begin_download(&self) {
        let pod = self.pods("model-cache", 1).await.remove(0);
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let status = json!({
            "phase": "Running",
            "conditions": [scheduled()],
            "containerStatuses": [container("fetch", true, 0, &running)],
        });
        self.set_status(&pod, status).await;
    }

    pub(crate) async fn set_status(&self, pod: &Pod, status: Value) {
        let api: Api<Pod> = self.api();
        let patch = Patch::Strategic(json!({"status": status}));
        api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.unwrap();
    }
}

/// The scheduler has said that no node will do; a pod that runs has got one.
fn scheduled() -> Value {
    json!({"type": "PodScheduled", "status": "True", "reason": null, "message": null})
}

fn container(name: &str, ready: bool, restarts: i32, state: &Value) -> Value {
    json!({"name": name, "image": "w", "imageID": "w", "ready": ready, "restartCount": restarts, "state": state})
}
