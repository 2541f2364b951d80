//! The downloads of a cache: how the latest one ended, and whether another should start. PURE.
//!
//! All memory is in the cluster: each attempt is a Job that says its number and what it was made from, and the claim says
//! what lies on its volume. A controller that is killed between any two writes goes on from there.

mod ending;
mod mount;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::ResourceExt;
use lexiscale_wire::{FetchReason, FetchedModel};

pub use mount::{Mount, Trouble};

use crate::{failure, labels, quantity::Bytes, volume::model_on};

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
    /// Of an attempt that reads an image volume.
    pub mount: Option<Mount>,
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
    /// Absent where the download could not say itself why it failed.
    reported: Option<FetchReason>,
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
    /// The volume of the latest attempt is of no use. To be remembered first; once it is, the files are fetched.
    FallBack(Trouble),
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Only a change by somebody can help.
    GiveUp,
    /// The volume is smaller than what is known of the model: no download is even begun.
    NoRoom { needed: Bytes, size: Bytes },
}

impl Step {
    /// A download that would be started, unless it is known beforehand that it cannot fit.
    #[must_use]
    pub fn within(self, needed: Option<Bytes>, size: Bytes) -> Self {
        match (self, needed) {
            (Self::Start { .. }, Some(needed)) if needed > size => Self::NoRoom { needed, size },
            (step, _) => step,
        }
    }

    /// Number and tries of the attempt that this step starts.
    pub fn started(&self) -> Option<(u32, u32)> {
        match self {
            Self::Start { number, tries } => Some((*number, *tries)),
            Self::AwaitClaim
            | Self::Done(_)
            | Self::Watch
            | Self::Abandon
            | Self::FallBack(_)
            | Self::RetryAt(_)
            | Self::GiveUp
            | Self::NoRoom { .. } => None,
        }
    }
}

impl Attempt {
    /// Reads a Job that is one of ours.
    pub fn new(job: &Job, pods: &[Pod]) -> Option<Self> {
        let annotation = |key| job.annotations().get(key);
        let number = |key| annotation(key).and_then(|text| text.parse().ok());
        let state = ending::state(job, pods);
        Some(Self {
            job: job.name_any(),
            number: number(labels::ATTEMPT)?,
            tries: number(labels::TRY)?,
            inputs: annotation(labels::INPUTS)?.clone(),
            claim_uid: annotation(labels::CLAIM)?.clone(),
            mount: Mount::new(job, pod_of(job, pods), &state),
            state,
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

/// What an attempt would be that starts now.
#[derive(Clone, Copy, Debug)]
pub struct Next<'a> {
    pub inputs: &'a str,
    /// Whether it must not read an image volume.
    pub forbids_volume: bool,
}

/// Decides. `attempted` is the highest attempt number that the status remembers, for the case that its Job was deleted.
pub fn next_step(
    claim: Option<&PersistentVolumeClaim>,
    latest: Option<&Attempt>,
    attempted: u32,
    next: Next<'_>,
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
    let Next { inputs, forbids_volume } = next;
    let same_claim = latest.claim_uid == claim_uid;
    let mount = latest.mount.as_ref();
    match &latest.state {
        State::Leaving => Step::Watch,
        State::Succeeded(model) if same_claim => Step::Done(model.clone()),
        State::Succeeded(_) => latest.next(),
        State::Running if same_claim => Step::Watch,
        // A pod that never began, because its image is not to be had, must not hold up one with a better image.
        State::Waiting if same_claim && latest.inputs == inputs => match mount {
            Some(_) if forbids_volume => Step::Abandon,
            Some(mount) => mount.trouble_at(now).map_or(Step::Watch, Step::FallBack),
            None => Step::Watch,
        },
        State::Running | State::Waiting => Step::Abandon,
        State::Failed(_) if !same_claim || latest.inputs != inputs => latest.next(),
        State::Failed(failed) => {
            let step = after_failure(latest, failed, now);
            match mount.and_then(|mount| trouble_of(mount, failed, &step)) {
                // The fetch is no new try of the same, so it need not wait for its turn.
                Some(_) if forbids_volume => latest.next(),
                Some(trouble) => Step::FallBack(trouble),
                None => step,
            }
        }
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
/// What speaks against the volume of a failed attempt: what the download said, or that all tries ended without a word of it. A pod that
/// was evicted while the image came, or that the runtime could not start with it, says nothing.
fn trouble_of(mount: &Mount, failed: &Failed, step: &Step) -> Option<Trouble> {
    let is_in_vain = *step == Step::GiveUp && failed.reported.is_none();
    let in_vain = || Trouble { reason: failed.reason.clone(), message: failure::shortened(&failed.message) };
    mount.trouble.clone().or_else(|| is_in_vain.then(in_vain))
}

fn delay(tries: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(tries.saturating_sub(1).min(16));
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}
