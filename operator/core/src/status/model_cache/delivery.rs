//! What a cache's status says of the way that its files come by. PURE.

use lexiscale_crds::{CachePhase, Delivery, Failure, ImageVolumeFailure};

use super::Standing;
use crate::{
    delivery::Choice,
    download::{State, Step, Trouble},
    failure,
    labels::Component,
    observed::Rejection,
    plan::model_cache::CachePlan,
    status::{Verdict, conditions::Said},
};

pub(super) fn starting(number: u32, choice: &Choice) -> String {
    match choice {
        Choice::Only => format!("download {number} is being started"),
        Choice::Fetch(why) => format!("download {number} is being started; it fetches the files, as {why}"),
        Choice::ImageVolume(_) => {
            format!("download {number} is being started; it reads the image as a volume")
        }
    }
}

/// Why the latest attempt is let go.
pub(super) fn restarting(plan: &CachePlan) -> String {
    let is_mounted = plan.attempt.as_ref().is_some_and(|attempt| attempt.mount.is_some());
    match &plan.choice {
        Choice::Fetch(why) if is_mounted && plan.choice.forbids_volume() => {
            format!("the download starts anew and fetches the files, as {why}")
        }
        Choice::Only | Choice::Fetch(_) | Choice::ImageVolume(_) => {
            "the download starts anew, as its inputs changed".to_owned()
        }
    }
}

/// What speaks against an image volume since this pass: an attempt's end, or an API server that takes no such Job.
pub(super) fn trouble(plan: &CachePlan, rejections: &[Rejection]) -> Option<Trouble> {
    if let Step::FallBack(trouble) = &plan.step {
        return Some(trouble.clone());
    }
    // A Job that may not be for another reason than its volume may not be without one either.
    let is_refused = |rejection: &&Rejection| {
        rejection.child.starts_with("apply Job ") && !rejection.message.contains("exceeded quota")
    };
    let refused = plan.step.started().and(plan.choice.image()).and(rejections.iter().find(is_refused))?;
    Some(Trouble { reason: "WriteRejected".to_owned(), message: failure::shortened(&refused.message) })
}

/// What is remembered of it, for as long as it holds.
pub(super) fn failure(
    plan: &CachePlan,
    rejections: &[Rejection],
    previous: Option<ImageVolumeFailure>,
) -> Option<ImageVolumeFailure> {
    let inputs = plan.inputs.clone();
    let found = trouble(plan, rejections).map(|Trouble { reason, message }| ImageVolumeFailure {
        reason,
        message,
        inputs,
    });
    found.or_else(|| previous.filter(|failure| failure.inputs == plan.inputs))
}

/// How the files come by the attempt that there is, or that starts.
pub(super) fn of_plan(plan: &CachePlan) -> Option<Delivery> {
    // Nothing but a registry gives a choice.
    let chosen = plan.choice.delivery()?;
    if plan.step.started().is_some() {
        return Some(chosen);
    }
    let is_mounted = plan.attempt.as_ref()?.mount.is_some();
    Some(if is_mounted { Delivery::ImageVolume } else { Delivery::Fetch })
}

pub(super) fn falling_back(plan: &CachePlan, trouble: &Trouble) -> Standing {
    let Trouble { reason, message } = trouble;
    let said = Said::new(
        "ImageVolumeFailed",
        format!("the files are fetched, as the image volume is of no use: {reason}: {message}"),
    );
    let pod = plan.attempt.as_ref().and_then(|attempt| match &attempt.state {
        State::Failed(failed) => failed.pod.clone(),
        State::Waiting | State::Running | State::Succeeded(_) | State::Leaving => None,
    });
    let failure = Failure {
        component: Component::ModelCache.as_str().to_owned(),
        pod,
        reason: said.reason.clone(),
        message: said.message.clone(),
        exit_code: None,
        time: None,
    };
    Standing { verdict: Verdict::Working(said), phase: CachePhase::Pending, failure: Some(failure) }
}
