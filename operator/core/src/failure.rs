//! What is wrong with a pod, in words that its owner can act on. PURE.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition,
};
use lexiscale_crds::Failure;
use lexiscale_wire::CERTIFICATE_EXIT_CODE;

use crate::{desired::tls, labels::Component};

/// Longest message taken over from elsewhere: enough for a cause, too short to drown the reader.
const LONGEST_MESSAGE: usize = 600;

/// Whether a failure may pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The cluster is still trying, and nobody has to do anything yet.
    Passing,
    /// Somebody has to change something.
    Stalling,
}

/// A failing pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodFailure {
    pub severity: Severity,
    pub failure: Failure,
}

/// The failure of a pod, if it has one. A pod on its way out, or one whose containers run and answer, has none, whatever
/// happened to it before.
pub fn of_pod(pod: &Pod, component: Component) -> Option<PodFailure> {
    let status = pod.status.as_ref()?;
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if pod.metadata.deletion_timestamp.is_some() || finished {
        return None;
    }
    let found = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|status| of_container(pod, status, component))
        .or_else(|| status.conditions.iter().flatten().find_map(of_scheduling))?;
    let Found { severity, reason, message, exit_code } = found;
    let pod = pod.metadata.name.clone();
    let failure =
        Failure { component: component.as_str().to_owned(), pod, reason, message, exit_code, time: None };
    Some(PodFailure { severity, failure })
}

/// The worst failure of several pods; of equal ones that of the first pod by name, so that two passes agree.
pub fn worst<'a>(pods: impl Iterator<Item = &'a Pod>, component: Component) -> Option<PodFailure> {
    let mut failures: Vec<_> = pods.filter_map(|pod| of_pod(pod, component)).collect();
    failures.sort_by(|left, right| {
        right.severity.cmp(&left.severity).then_with(|| left.failure.pod.cmp(&right.failure.pod))
    });
    failures.into_iter().next()
}

/// How a container ended, with its last words.
pub fn last_words(terminated: &ContainerStateTerminated) -> String {
    let message = terminated.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    message.map_or_else(|| format!("it ended with exit code {}", terminated.exit_code), shortened)
}

/// The end of a long text: the last lines of a log are the ones that say why.
pub(crate) fn shortened(text: &str) -> String {
    let text = text.trim();
    let start = text.len().saturating_sub(LONGEST_MESSAGE);
    if start == 0 { text.to_owned() } else { format!("...{}", &text[text.ceil_char_boundary(start)..]) }
}

struct Found {
    severity: Severity,
    reason: String,
    message: String,
    exit_code: Option<i32>,
}

fn of_container(pod: &Pod, status: &ContainerStatus, component: Component) -> Option<Found> {
    if status.ready {
        return None;
    }
    let state = status.state.as_ref()?;
    of_waiting(status, state).or_else(|| match component {
        Component::Worker | Component::Gateway | Component::Controller => {
            let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let terminated =
                state.terminated.as_ref().or(last).filter(|terminated| terminated.exit_code != 0)?;
            Some(of_certificate(pod, terminated).unwrap_or_else(|| of_crash(status, terminated)))
        }
        // A download ends once, and its Job says how a moment later, in the download's own words.
        Component::ModelCache => None,
    })
}

fn of_waiting(status: &ContainerStatus, state: &ContainerState) -> Option<Found> {
    let waiting = state.waiting.as_ref()?;
    let detail = waiting.message.as_deref().unwrap_or_default();
    let (reason, message) = match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => {
            ("ImagePullFailed", format!("image {} cannot be pulled: {}", status.image, pull_error(detail)))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            ("ContainerCannotStart", format!("container {} cannot start: {}", status.name, shortened(detail)))
        }
        _ => return None,
    };
    Some(Found { severity: Severity::Stalling, reason: reason.to_owned(), message, exit_code: None })
}

/// The kubelet wraps the same error differently while it pulls and while it waits; unwrapped it stays one message, and the
/// status is not written anew at each try.
pub(crate) fn pull_error(detail: &str) -> String {
    let detail = detail.rsplit_once("ErrImagePull: ").map_or(detail, |(_, error)| error);
    if detail.starts_with("Back-off pulling image") {
        "see the pod's events".to_owned()
    } else {
        shortened(detail)
    }
}

/// No restart mends a Secret.
fn of_certificate(pod: &Pod, terminated: &ContainerStateTerminated) -> Option<Found> {
    if terminated.exit_code != i32::from(CERTIFICATE_EXIT_CODE) {
        return None;
    }
    let volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    let secret =
        volumes.filter(|volume| volume.name == tls::VOLUME).find_map(|volume| volume.secret.as_ref())?;
    let secret = secret.secret_name.as_deref().unwrap_or_default();
    Some(Found {
        severity: Severity::Stalling,
        reason: "CertificateUnusable".to_owned(),
        message: format!(
            "Secret {secret} must hold tls.crt, tls.key and ca.crt that workers can serve by: {}",
            last_words(terminated)
        ),
        exit_code: Some(terminated.exit_code),
    })
}

fn of_crash(status: &ContainerStatus, terminated: &ContainerStateTerminated) -> Found {
    let out_of_memory = terminated.reason.as_deref() == Some("OOMKilled");
    let (reason, message) = if out_of_memory {
        (
            "OOMKilled",
            format!(
                "container {} needs more memory than its limit; raise spec.deployment.memory",
                status.name
            ),
        )
    } else {
        ("Crashed", format!("container {} crashed: {}", status.name, last_words(terminated)))
    };
    // One crash may be bad luck. The count, and not the state, so that the seconds between two crashes change nothing.
    let severity = if status.restart_count >= 2 { Severity::Stalling } else { Severity::Passing };
    Found { severity, reason: reason.to_owned(), message, exit_code: Some(terminated.exit_code) }
}

fn of_scheduling(condition: &PodCondition) -> Option<Found> {
    let unschedulable = condition.type_ == "PodScheduled"
        && condition.status == "False"
        && condition.reason.as_deref() == Some("Unschedulable");
    let words = shortened(condition.message.as_deref().unwrap_or_default());
    let reason = if words.contains("ersistentvolumeclaim") || words.contains("PersistentVolumeClaim") {
        "VolumePending"
    } else {
        "InsufficientCapacity"
    };
    // A cluster autoscaler may be adding a node just now; the Deployment's deadline tells when to stop hoping.
    unschedulable.then(|| Found {
        severity: Severity::Passing,
        reason: reason.to_owned(),
        message: format!("no node can take the pod: {words}"),
        exit_code: None,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::PodStatus, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let status: PodStatus = serde_json::from_value(status).unwrap();
        let metadata = ObjectMeta { name: Some("pod-1".to_owned()), ..ObjectMeta::default() };
        Pod { metadata, status: Some(status), spec: None }
    }

    fn container(state: &Value, last: &Value, restarts: i32, ready: bool) -> Pod {
        pod(json!({"phase": "Running", "containerStatuses": [{
            "name": "worker", "image": "w:1", "imageID": "", "ready": ready, "restartCount": restarts,
            "state": state, "lastState": last,
        }]}))
    }

    fn reason(pod: &Pod) -> Option<(Severity, String, String)> {
        of_pod(pod, Component::Worker)
            .map(|found| (found.severity, found.failure.reason, found.failure.message))
    }

    #[test]
    fn an_image_that_cannot_be_pulled_reads_the_same_while_pulling_and_while_waiting() {
        let waiting = |reason, message| {
            container(&json!({"waiting": {"reason": reason, "message": message}}), &json!({}), 0, false)
        };
        let pulling = reason(&waiting("ErrImagePull", "not found")).unwrap();
        let backing_off =
            reason(&waiting("ImagePullBackOff", "Back-off pulling image \"w:1\": ErrImagePull: not found"))
                .unwrap();
        assert_eq!(pulling, backing_off);
        assert_eq!(pulling.1, "ImagePullFailed");
        assert_eq!(pulling.2, "image w:1 cannot be pulled: not found");
    }

    #[test]
    fn a_crash_loop_stalls_from_the_second_restart_and_says_the_last_words() {
        let crashed =
            json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "model.onnx is missing\n"}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let first = reason(&container(&waiting, &crashed, 1, false)).unwrap();
        assert_eq!(
            first,
            (Severity::Passing, "Crashed".into(), "container worker crashed: model.onnx is missing".into())
        );
        let second = reason(&container(&waiting, &crashed, 2, false)).unwrap();
        let between = reason(&container(&json!({"running": {}}), &crashed, 2, false)).unwrap();
        assert_eq!(second.0, Severity::Stalling);
        assert_eq!(second, between, "the seconds in which it runs again must not change the status");
        assert_eq!(reason(&container(&json!({"running": {}}), &crashed, 2, true)), None, "it serves again");
    }

    #[test]
    fn a_secret_that_workers_cannot_serve_by_stalls_at_once_and_is_named() {
        let words = "the certificate for TLS cannot be used: failed to find a private key in tls.key";
        let ended = json!({"terminated": {"exitCode": CERTIFICATE_EXIT_CODE, "message": words}});
        let mut pod = container(&ended, &json!({}), 0, false);
        pod.spec = serde_json::from_value(json!({"containers": [], "volumes": [
            {"name": "cache"}, {"name": "tls", "secret": {"secretName": "worker-tls"}},
        ]}))
        .unwrap();
        let (severity, name, message) = reason(&pod).unwrap();
        assert_eq!((severity, name.as_str()), (Severity::Stalling, "CertificateUnusable"));
        assert!(message.starts_with("Secret worker-tls must hold") && message.ends_with(words), "{message}");
        pod.spec = None;
        assert_eq!(reason(&pod).unwrap().1, "Crashed", "a pod without such a volume only crashed");
    }

    #[test]
    fn out_of_memory_says_which_field_to_raise() {
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let (_, reason, message) = reason(&container(&json!({"running": {}}), &killed, 1, false)).unwrap();
        assert_eq!(reason, "OOMKilled");
        assert!(message.contains("spec.deployment.memory"), "{message}");
    }

    #[test]
    fn a_download_that_ended_is_its_jobs_to_tell() {
        let ended = json!({"terminated": {"exitCode": 1, "message": "{\"outcome\":\"Failed\"}"}});
        let pod = container(&ended, &json!({}), 0, false);
        assert_eq!(of_pod(&pod, Component::ModelCache), None);
    }

    #[test]
    fn a_pod_without_a_node_repeats_the_schedulers_words() {
        let condition = |message| {
            pod(json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
            ]}))
        };
        let (severity, name, message) =
            reason(&condition("0/1 nodes are available: 1 Insufficient cpu.")).unwrap();
        assert_eq!((severity, name.as_str()), (Severity::Passing, "InsufficientCapacity"));
        assert_eq!(message, "no node can take the pod: 0/1 nodes are available: 1 Insufficient cpu.");
        let (_, name, _) = reason(&condition("pod has unbound immediate PersistentVolumeClaims")).unwrap();
        assert_eq!(name, "VolumePending");
    }
}
