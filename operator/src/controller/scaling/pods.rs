//! The pods whose load is read, as a watch keeps them: who they are, where they are, and whether they serve.

use std::{net::IpAddr, pin::pin};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, reflector, reflector::store::Writer, watcher},
};
use lexiscale_core::labels;

/// Keeps the store at what the API server has. Of a pod only what is needed here is kept.
pub(crate) async fn follow(api: Api<Pod>, selector: String, writer: Writer<Pod>) {
    let config = watcher::Config::default().labels(&selector);
    let events = watcher::watcher(api, config).default_backoff().modify(slim);
    let mut events = pin!(reflector(writer, events));
    while let Some(event) = events.next().await {
        if let Err(error) = event {
            tracing::warn!(%error, "failed to watch pods, trying again");
        }
    }
}

fn slim(pod: &mut Pod) {
    pod.managed_fields_mut().clear();
    if let Some(spec) = pod.spec.take() {
        let mut containers = spec.containers;
        for container in &mut containers {
            let ports = container.ports.take();
            *container = k8s_openapi::api::core::v1::Container { ports, ..Default::default() };
        }
        pod.spec = Some(PodSpec { containers, ..PodSpec::default() });
    }
}

/// Where a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It serves.
    Ready,
    /// It has a node and its first process, and does not serve yet.
    Starting,
    /// It has no node, fails, or is on its way out.
    Other,
}

pub(super) fn standing(pod: &Pod) -> Standing {
    let Some(status) = &pod.status else { return Standing::Other };
    if pod.metadata.deletion_timestamp.is_some() || is_over(pod) {
        return Standing::Other;
    }
    let holds =
        |kind: &str| status.conditions.iter().flatten().any(|one| one.type_ == kind && one.status == "True");
    let restarted = status.container_statuses.iter().flatten().any(|one| one.restart_count > 0);
    match (holds("Ready"), holds("PodScheduled") && !restarted) {
        (true, _) => Standing::Ready,
        (false, true) => Standing::Starting,
        (false, false) => Standing::Other,
    }
}

/// Seconds since it began to serve.
pub(super) fn ready_for(pod: &Pod, now: Timestamp) -> Option<f64> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|one| one.type_ == "Ready" && one.status == "True")?;
    let since = ready.last_transition_time.as_ref()?.0;
    Some(now.duration_since(since).as_secs_f64().max(0.0))
}

/// It will never run again.
pub(super) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

pub(super) fn ip(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// The port that a container names.
pub(super) fn port(pod: &Pod, name: &str) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// Whether a worker is a standby allocation.
pub(super) fn is_standby(pod: &Pod) -> bool {
    pod.labels().contains_key(labels::STANDBY_OF)
}

/// The endpoint that a worker is of.
pub(super) fn endpoint(pod: &Pod) -> Option<super::Key> {
    Some((pod.namespace()?, pod.annotations().get(labels::ENDPOINT)?.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(conditions: &[(&str, &str)], restarts: i32, extra: &Value) -> Pod {
        let conditions: Vec<_> =
            conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
        let container =
            json!({"name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": restarts});
        let mut pod = json!({
            "metadata": {"name": "p"},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions, "containerStatuses": [container]},
        });
        if let Some(phase) = extra.get("phase") {
            pod["status"]["phase"] = phase.clone();
        }
        if let Some(time) = extra.get("deletionTimestamp") {
            pod["metadata"]["deletionTimestamp"] = time.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    /// What counts as starting keeps an endpoint from shrinking, so it must end.
    #[test]
    fn only_what_will_serve_soon_is_starting() {
        let scheduled = ("PodScheduled", "True");
        let (none, going) = (json!({}), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
        let table = [
            (pod(&[scheduled, ("Ready", "True")], 1, &none), Standing::Ready),
            (pod(&[scheduled, ("Ready", "False")], 0, &none), Standing::Starting),
            (pod(&[scheduled], 1, &none), Standing::Other),
            (pod(&[("PodScheduled", "False")], 0, &none), Standing::Other),
            (pod(&[scheduled, ("Ready", "True")], 0, &going), Standing::Other),
            (pod(&[scheduled], 0, &json!({"phase": "Failed"})), Standing::Other),
        ];
        for (pod, expected) in table {
            assert_eq!(standing(&pod), expected, "{pod:?}");
        }
    }

    #[test]
    fn a_slim_pod_still_says_where_its_ports_are() {
        let mut pod = pod(&[], 0, &json!({}));
        pod.spec = serde_json::from_value(json!({"nodeName": "n", "containers": [
            {"name": "gateway", "image": "i", "ports": [{"name": "http", "containerPort": 9200}, {"name": "admin", "containerPort": 8080}]},
        ]}))
        .unwrap();
        slim(&mut pod);
        assert_eq!((port(&pod, "admin"), port(&pod, "metrics")), (Some(8080), None));
        assert_eq!(ip(&pod), Some(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(pod.spec.unwrap().node_name, None);
    }
}
