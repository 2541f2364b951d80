//! An attempt that reads an image volume: what speaks against trying that again. PURE.
//!
//! Nothing of it is final: whatever went wrong with the volume, a fetch has the last word on what the source is.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use lexiscale_wire::FetchReason;

use super::State;
use crate::{desired::job, failure};

/// A pull says nothing of how far it is. A node that ignores the volume never starts the container, and does not say so either.
const PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// What an attempt with an image volume shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub trouble: Option<Trouble>,
    /// When waiting for the container to start ends; absent while the pod has no node, which is no fault of the volume.
    pub patience_ends: Option<Timestamp>,
}

/// Why the volume is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub reason: String,
    pub message: String,
}

impl Mount {
    /// Nothing for an attempt that fetches.
    pub(super) fn new(job: &Job, pod: Option<&Pod>, state: &State) -> Option<Self> {
        let image = job::mounted_image(job)?;
        let trouble = match state {
            State::Waiting => pod.and_then(|pod| waiting(pod, image)),
            State::Failed(failed) => failed.reported.filter(|reason| is_of_volume(*reason)).map(|reason| {
                let message = failure::shortened(&failed.message);
                Trouble { reason: reason.as_str().to_owned(), message }
            }),
            State::Running | State::Succeeded(_) | State::Leaving => None,
        };
        let since = match pod {
            Some(pod) => scheduled(pod),
            None => job.creation_timestamp().map(|time| time.0),
        };
        Some(Self { trouble, patience_ends: since.map(|since| since + PATIENCE) })
    }

    /// What speaks against the volume at this time.
    pub(super) fn trouble_at(&self, now: Timestamp) -> Option<Trouble> {
        let is_late = self.patience_ends.is_some_and(|end| end <= now);
        let late = || Trouble {
            reason: "NotStarted".to_owned(),
            message: format!("the pod that mounts it has not started within {PATIENCE:#}"),
        };
        self.trouble.clone().or_else(|| is_late.then(late))
    }
}

/// The kubelet pulls the images of volumes before that of the container, and tells both as the container's. What names neither is
/// held against the volume: a fetch then waits for the worker's image just as well.
fn waiting(pod: &Pod, image: &str) -> Option<Trouble> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = statuses.iter().find_map(|status| status.state.as_ref()?.waiting.as_ref())?;
    let reason = waiting.reason.as_deref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    let is_trouble = matches!(
        reason,
        "ErrImagePull"
            | "ImagePullBackOff"
            | "ImageInspectError"
            | "ErrImageNeverPull"
            | "InvalidImageName"
            | "RegistryUnavailable"
            | "SignatureValidationFailed"
            | "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
    );
    let (name, digest) = image.split_once('@').unwrap_or((image, image));
    let names_volume = message.contains(digest) || message.contains(name);
    let container = pod.spec.iter().flat_map(|spec| &spec.containers).find_map(|it| it.image.as_deref());
    let names_worker = container.is_some_and(|image| message.contains(without_tag(image)));
    (is_trouble && (names_volume || !names_worker))
        .then(|| Trouble { reason: reason.to_owned(), message: failure::pull_error(message) })
}

/// Runtimes write an image's name in full, and leave a tag out where there is a digest.
fn without_tag(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

fn scheduled(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_it = |condition: &&_| {
        let condition: &k8s_openapi::api::core::v1::PodCondition = condition;
        condition.type_ == "PodScheduled" && condition.status == "True"
    };
    conditions.find(is_it)?.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a fetch may end otherwise: with other files, or with better words about what is missing.
fn is_of_volume(reason: FetchReason) -> bool {
    match reason {
        FetchReason::ModelNotFound
        | FetchReason::RevisionNotFound
        | FetchReason::Unauthorized
        | FetchReason::AddressNotAllowed
        | FetchReason::HubUnreachable
        | FetchReason::TooSlow
        | FetchReason::ChecksumMismatch
        | FetchReason::SignatureInvalid
        | FetchReason::UnsupportedModel
        | FetchReason::InvalidModel
        | FetchReason::Internal => true,
        // Too little room, a node that went, files made to harm: the same bytes by another way change none of it.
        FetchReason::InsufficientStorage | FetchReason::Interrupted | FetchReason::UnsafeModel => false,
    }
}
