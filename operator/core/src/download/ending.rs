//! How an attempt stands, or how it ended, as its Job and its pod show it. PURE.

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition},
    core::v1::{ContainerStateTerminated, Pod},
};
use kube::ResourceExt;
use lexiscale_wire::{FetchFailure, FetchReason, FetchReport};

use super::{Failed, Persistence, State, pod_of};
use crate::{desired::job::SECRET_VOLUME, failure};

pub(super) fn state(job: &Job, pods: &[Pod]) -> State {
    let pod = pod_of(job, pods);
    let conditions = || job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let condition =
        |kind: &str| conditions().find(|condition| condition.type_ == kind && condition.status == "True");
    let terminated = pod.and_then(terminated);
    let report = terminated.and_then(|terminated| serde_json::from_str(terminated.message.as_deref()?).ok());
    if job.metadata.deletion_timestamp.is_some() {
        State::Leaving
    } else if let Some(complete) = condition("Complete") {
        match report {
            Some(FetchReport::Succeeded(model)) => State::Succeeded(Box::new(model)),
            // Its pod, or what that said, is lost. Fetching what is there already takes a second and says it again.
            Some(FetchReport::Failed(_)) | None => State::Failed(lost(job, complete)),
        }
    } else if let Some(failed) = condition("Failed") {
        State::Failed(failure(job, failed, pod, report))
    } else if pod.is_some_and(has_begun) {
        State::Running
    } else {
        State::Waiting
    }
}

fn has_begun(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(|phase| phase != "Pending")
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|status| status.state.as_ref()?.terminated.as_ref())
}

fn ended_at(job: &Job, condition: &JobCondition) -> Timestamp {
    let time = condition.last_transition_time.clone().or_else(|| job.creation_timestamp());
    time.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

fn lost(job: &Job, condition: &JobCondition) -> Failed {
    Failed {
        reason: "Interrupted".to_owned(),
        message: "the download ended well, but its report was lost".to_owned(),
        at: ended_at(job, condition),
        pod: None,
        exit_code: None,
        revision: None,
        reported: None,
        persistence: Persistence::Mishap,
    }
}

fn failure(job: &Job, condition: &JobCondition, pod: Option<&Pod>, report: Option<FetchReport>) -> Failed {
    let terminated = pod.and_then(terminated);
    let at = ended_at(job, condition);
    let exit_code = terminated.map(|terminated| terminated.exit_code);
    let pod_name = pod.map(ResourceExt::name_any);
    match report {
        Some(FetchReport::Failed(FetchFailure { reason, message, revision, bytes: _ })) => Failed {
            reason: reason.as_str().to_owned(),
            message,
            at,
            pod: pod_name,
            exit_code,
            revision,
            reported: Some(reason),
            persistence: persistence(reason, has_secret(job)),
        },
        Some(FetchReport::Succeeded(_)) | None => {
            let (reason, message) = unreported(condition, pod, terminated);
            Failed {
                reason,
                message,
                at,
                pod: pod_name,
                exit_code,
                revision: None,
                reported: None,
                persistence: Persistence::Mishap,
            }
        }
    }
}

/// Whether the download was given credentials.
fn has_secret(job: &Job) -> bool {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut volumes = pod.into_iter().flat_map(|pod| pod.volumes.iter().flatten());
    volumes.any(|volume| volume.name == SECRET_VOLUME)
}

fn persistence(reason: FetchReason, has_secret: bool) -> Persistence {
    match reason {
        FetchReason::HubUnreachable | FetchReason::Interrupted => Persistence::Outage,
        // The operator may not look into Secrets and so cannot see one change; the next download can.
        FetchReason::Unauthorized if has_secret => Persistence::Outage,
        FetchReason::ChecksumMismatch | FetchReason::Internal | FetchReason::TooSlow => Persistence::Mishap,
        FetchReason::AddressNotAllowed
        | FetchReason::SignatureInvalid
        | FetchReason::ModelNotFound
        | FetchReason::RevisionNotFound
        | FetchReason::Unauthorized
        | FetchReason::InsufficientStorage
        | FetchReason::UnsupportedModel
        | FetchReason::InvalidModel
        | FetchReason::UnsafeModel => Persistence::Final,
    }
}

/// Reason and message of a failure that the download could not report itself: it was killed, or never ran.
fn unreported(
    condition: &JobCondition,
    pod: Option<&Pod>,
    terminated: Option<&ContainerStateTerminated>,
) -> (String, String) {
    if let Some(terminated) = terminated {
        let out_of_memory = terminated.reason.as_deref() == Some("OOMKilled");
        let reason = if out_of_memory { "OOMKilled" } else { "Crashed" };
        return (reason.to_owned(), format!("the download crashed: {}", failure::last_words(terminated)));
    }
    let status = pod.and_then(|pod| pod.status.as_ref());
    let reason = status.and_then(|status| status.reason.clone()).or_else(|| condition.reason.clone());
    let message = status.and_then(|status| status.message.clone()).or_else(|| condition.message.clone());
    (
        reason.unwrap_or_else(|| "Interrupted".to_owned()),
        message.unwrap_or_else(|| "the download was killed".to_owned()),
    )
}
