//! The downloads of a cache: how the latest one ended, and whether another should start. PURE.
//!
//! All memory is in the cluster: each attempt is a Job that says its number and what it was made from, and the claim says
//! what lies on its volume. A controller that is killed between any two writes goes on from there.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition},
    core::v1::{ContainerStateTerminated, PersistentVolumeClaim, Pod},
};
use kube::ResourceExt;
use lexiscale_wire::{FetchFailure, FetchReport, FetchedModel};

use crate::{failure, labels, volume::model_on};

/// Tries after which a failure that might pass, but should have by then, is final. An unreachable hub is tried for ever.
const MOST_TRIES: u32 = 6;
const FIRST_DELAY: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_DELAY: SignedDuration = SignedDuration::from_mins(10);

/// One attempt as its Job and its pod show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub job: String,
    pub number: u32,
    pub tries: u32,
    pub state: State,
    inputs: String,
    claim_uid: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// No pod of it has begun to work.
    Waiting,
    Running,
    Succeeded(Box<FetchedModel>),
    Failed(Failed),
    /// The Job is being deleted; its pod may still write to the volume.
    Leaving,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
    pub pod: Option<String>,
    pub exit_code: Option<i32>,
    /// What the revision resolved to, where the hub had answered before the failure.
    pub revision: Option<String>,
    persistence: Persistence,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persistence {
    /// It may pass at any time: tried until it does.
    Outage,
    /// It may pass, but not for ever.
    Mishap,
    /// The same again would fail the same.
    Final,
}

/// What to do next about a cache.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The claim has to be there first: a Job remembers which one it fills.
    AwaitClaim,
    /// The model is there; the claim has to say so, if it does not yet.
    Done(Box<FetchedModel>),
    /// An attempt is under way.
    Watch,
    /// Start this attempt.
    Start { number: u32, tries: u32 },
    /// Delete the latest attempt: what it does is no longer wanted. Another starts when it is gone.
    Abandon,
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Only a change by somebody can help.
    GiveUp,
}

impl Step {
    /// Number and tries of the attempt that this step starts.
    pub fn started(&self) -> Option<(u32, u32)> {
        match self {
            Self::Start { number, tries } => Some((*number, *tries)),
            Self::AwaitClaim
            | Self::Done(_)
            | Self::Watch
            | Self::Abandon
            | Self::RetryAt(_)
            | Self::GiveUp => None,
        }
    }
}

impl Attempt {
    /// Reads a Job that is one of ours.
    pub fn new(job: &Job, pods: &[Pod]) -> Option<Self> {
        let annotation = |key| job.annotations().get(key);
        let number = |key| annotation(key).and_then(|text| text.parse().ok());
        Some(Self {
            job: job.name_any(),
            number: number(labels::ATTEMPT)?,
            tries: number(labels::TRY)?,
            inputs: annotation(labels::INPUTS)?.clone(),
            claim_uid: annotation(labels::CLAIM)?.clone(),
            state: state(job, pods),
        })
    }

    fn next(&self) -> Step {
        Step::Start { number: self.number.saturating_add(1), tries: 1 }
    }
}

/// The pod of a Job: there is at most one that counts.
pub fn pod_of<'a>(job: &Job, pods: &'a [Pod]) -> Option<&'a Pod> {
    let uid = job.metadata.uid.as_deref()?;
    let owned = |pod: &&Pod| crate::identity::owners(&pod.metadata).any(|owner| owner.uid == uid);
    pods.iter().filter(owned).max_by_key(|pod| pod.creation_timestamp().map(|time| time.0))
}

/// Decides. `attempted` is the highest attempt number that the status remembers, for the case that its Job was deleted.
pub fn next_step(
    claim: Option<&PersistentVolumeClaim>,
    latest: Option<&Attempt>,
    attempted: u32,
    inputs: &str,
    now: Timestamp,
) -> Step {
    let Some((claim, claim_uid)) = claim.and_then(|claim| Some((claim, claim.metadata.uid.as_deref()?)))
    else {
        return Step::AwaitClaim;
    };
    if let Some(model) = model_on(claim) {
        return Step::Done(Box::new(model));
    }
    let Some(latest) = latest else {
        return Step::Start { number: attempted.saturating_add(1), tries: 1 };
    };
    let same_claim = latest.claim_uid == claim_uid;
    match &latest.state {
        State::Leaving => Step::Watch,
        State::Succeeded(model) if same_claim => Step::Done(model.clone()),
        State::Succeeded(_) => latest.next(),
        State::Running if same_claim => Step::Watch,
        // A pod that never began, because its image is not to be had, must not hold up one with a better image.
        State::Waiting if same_claim && latest.inputs == inputs => Step::Watch,
        State::Running | State::Waiting => Step::Abandon,
        State::Failed(_) if !same_claim || latest.inputs != inputs => latest.next(),
        State::Failed(failed) => after_failure(latest, failed, now),
    }
}

fn after_failure(latest: &Attempt, failed: &Failed, now: Timestamp) -> Step {
    let give_up = match failed.persistence {
        Persistence::Outage => false,
        Persistence::Mishap => latest.tries >= MOST_TRIES,
        Persistence::Final => true,
    };
    let at = failed.at + delay(latest.tries);
    if give_up {
        Step::GiveUp
    } else if at <= now {
        Step::Start { number: latest.number.saturating_add(1), tries: latest.tries.saturating_add(1) }
    } else {
        Step::RetryAt(at)
    }
}

/// 10 s, 20 s, 40 s, ... 10 min.
fn delay(tries: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(tries.saturating_sub(1).min(16));
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}

fn state(job: &Job, pods: &[Pod]) -> State {
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
        persistence: Persistence::Mishap,
    }
}

fn failure(job: &Job, condition: &JobCondition, pod: Option<&Pod>, report: Option<FetchReport>) -> Failed {
    let terminated = pod.and_then(terminated);
    let (reason, message, persistence, revision) = match report {
        Some(FetchReport::Failed(FetchFailure { reason, message, revision, bytes: _ })) => {
            (reason.as_str().to_owned(), message, persistence(reason), revision)
        }
        Some(FetchReport::Succeeded(_)) | None => {
            let (reason, message) = unreported(condition, pod, terminated);
            (reason, message, Persistence::Mishap, None)
        }
    };
    Failed {
        reason,
        message,
        at: ended_at(job, condition),
        pod: pod.map(ResourceExt::name_any),
        exit_code: terminated.map(|terminated| terminated.exit_code),
        revision,
        persistence,
    }
}

fn persistence(reason: lexiscale_wire::FetchReason) -> Persistence {
    use lexiscale_wire::FetchReason;
    match reason {
        FetchReason::HubUnreachable | FetchReason::Interrupted => Persistence::Outage,
        FetchReason::ChecksumMismatch | FetchReason::Internal => Persistence::Mishap,
        FetchReason::ModelNotFound
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
