//! The status of a cache. PURE.

mod delivery;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lexiscale_crds::{CachePhase, CacheProgress, Failure, Int8Status, ModelCache, ModelCacheStatus};
use lexiscale_wire::{ByteSize, FetchReason, FetchedInt8, FetchedModel, Phase, Progress};

use super::{
    Verdict,
    conditions::{Said, last_failure, of_failed_pass as of_failure},
    durations,
};
use crate::{
    download::{Attempt, Failed, State, Step},
    failure::{self, PodFailure, Severity},
    labels::Component,
    observed::{ObservedCache, Rejection},
    plan::model_cache::{CachePlan, InvalidCache},
    quantity::Bytes,
};

/// The status of a cache whose spec makes no sense.
pub fn of_invalid(observed: &ObservedCache, invalid: &InvalidCache, now: Timestamp) -> ModelCacheStatus {
    let previous = observed.cache.status.clone().unwrap_or_default();
    let generation = observed.cache.metadata.generation;
    let verdict = Verdict::Stuck(Said::new("InvalidSpec", invalid.to_string()));
    ModelCacheStatus {
        observed_generation: generation,
        conditions: verdict.conditions(&previous.conditions, generation, now),
        phase: Some(CachePhase::Failed),
        ..previous
    }
}

/// The status of a cache after a pass.
pub fn of_plan(
    observed: &ObservedCache,
    plan: &CachePlan,
    rejections: &[Rejection],
    now: Timestamp,
) -> ModelCacheStatus {
    let previous = observed.cache.status.clone().unwrap_or_default();
    let generation = observed.cache.metadata.generation;
    let Standing { verdict, phase, failure } = standing(observed, plan, rejections);
    let settled = verdict.is_settled();
    let fetched = match &plan.step {
        Step::Done(model) => Some(&**model),
        Step::AwaitClaim
        | Step::Watch
        | Step::Start { .. }
        | Step::Abandon
        | Step::FallBack(_)
        | Step::RetryAt(_)
        | Step::GiveUp
        | Step::NoRoom { .. } => None,
    };
    let attempt = plan.attempt.as_ref();
    let durations =
        fetched.and_then(|fetched| durations::of_cache(observed, attempt, fetched, &previous, now));
    let resolved =
        fetched.map(|model| model.revision.clone()).or_else(|| resolved(plan)).or(previous.revision);
    ModelCacheStatus {
        observed_generation: generation,
        conditions: verdict.conditions(&previous.conditions, generation, now),
        phase: Some(phase),
        durations,
        progress: progress(observed, fetched, previous.progress),
        attempts: Some(i32::try_from(plan.attempts).unwrap_or(i32::MAX)),
        delivery: delivery::of_plan(plan).or(previous.delivery),
        image_volume_failure: delivery::failure(plan, rejections, previous.image_volume_failure),
        revision: resolved,
        claim: Some(plan.claim.clone()),
        access_mode: Some(plan.access_mode.as_str().to_owned()),
        digest: fetched.map(|model| model.digest.clone()),
        // Outlives the volume: what comes again must be the same.
        source_digest: fetched.and_then(|model| model.source_digest.clone()).or(previous.source_digest),
        unused_since: plan.users.is_empty().then(|| previous.unused_since.unwrap_or(Time(now))),
        bytes: fetched.map(|model| signed(model.bytes)),
        int8: fetched.and_then(|model| model.int8.as_ref()).map(int8),
        memory_bytes: fetched.map(|model| signed(model.memory_bytes)),
        max_tokens: fetched.map(|model| i64::from(model.max_tokens)),
        vocabulary_size: fetched.map(|model| i64::from(model.vocabulary_size)),
        vocabulary: fetched.and_then(|model| model.vocabulary.clone()),
        used_by: plan.users.clone(),
        last_failure: last_failure(previous.last_failure.as_ref(), failure, settled, now),
    }
}

fn int8(fetched: &FetchedInt8) -> Int8Status {
    let FetchedInt8 { available, automatic, message, memory_bytes } = fetched;
    Int8Status {
        available: *available,
        automatic: *automatic,
        message: message.clone(),
        memory_bytes: memory_bytes.map(signed),
    }
}

/// The status of a cache whose pass failed, if that is news.
pub fn of_failed_pass(cache: &ModelCache, said: Said, now: Timestamp) -> Option<ModelCacheStatus> {
    let previous = cache.status.clone().unwrap_or_default();
    let generation = cache.metadata.generation;
    let conditions = of_failure(&previous.conditions, generation, said, now)?;
    Some(ModelCacheStatus { observed_generation: generation, conditions, ..previous })
}

struct Standing {
    verdict: Verdict,
    phase: CachePhase,
    failure: Option<Failure>,
}

fn standing(observed: &ObservedCache, plan: &CachePlan, rejections: &[Rejection]) -> Standing {
    if let Some(trouble) = delivery::trouble(plan, rejections) {
        return delivery::falling_back(plan, &trouble);
    }
    if let Some(Rejection { child, message }) = rejections.first() {
        let said = Said::new("WriteRejected", format!("the API server rejects {child}: {message}"));
        return Standing { verdict: Verdict::Stuck(said), phase: CachePhase::Pending, failure: None };
    }
    if !plan.leftovers.is_empty() {
        return pending(
            "WaitingForCleanup",
            format!("waiting for the deletion of {}", plan.leftovers.join(", ")),
        );
    }
    match &plan.step {
        Step::Done(model) => done(model),
        Step::AwaitClaim => pending("CreatingVolume", "the volume claim is being made".to_owned()),
        Step::Abandon => pending("Restarting", delivery::restarting(plan)),
        Step::Start { number, .. } => pending("Starting", delivery::starting(*number, &plan.choice)),
        Step::FallBack(trouble) => delivery::falling_back(plan, trouble),
        Step::Watch => watching(observed, plan),
        Step::RetryAt(at) => failed(plan.attempt.as_ref(), Some(*at)),
        Step::GiveUp => failed(plan.attempt.as_ref(), None),
        Step::NoRoom { needed, size } => no_room(*needed, *size),
    }
}

fn no_room(needed: Bytes, size: Bytes) -> Standing {
    let (needed, size) = (ByteSize(needed.get()), ByteSize(size.get()));
    let message = format!("the model has {needed}, but its volume only {size}; raise storage.size");
    let verdict = Verdict::Stuck(Said::new(FetchReason::InsufficientStorage.as_str(), message));
    Standing { verdict, phase: CachePhase::Failed, failure: None }
}

fn done(model: &FetchedModel) -> Standing {
    let FetchedModel { revision, bytes, .. } = model;
    let message = format!("revision {revision}, {}, verified", ByteSize(*bytes));
    Standing {
        verdict: Verdict::Settled(Said::new("Ready", message)),
        phase: CachePhase::Ready,
        failure: None,
    }
}

fn pending(reason: &str, message: String) -> Standing {
    Standing {
        verdict: Verdict::Working(Said::new(reason, message)),
        phase: CachePhase::Pending,
        failure: None,
    }
}

/// A download that is under way, or that its pod hinders from being.
fn watching(observed: &ObservedCache, plan: &CachePlan) -> Standing {
    if plan.attempt.as_ref().is_some_and(|attempt| attempt.state == State::Leaving) {
        return pending("Restarting", "the last download is being deleted, and another follows".to_owned());
    }
    if let Some(PodFailure { severity, failure }) =
        failure::worst(observed.pods.iter(), Component::ModelCache)
    {
        let said = Said::new(&failure.reason, &failure.message);
        let verdict = match severity {
            Severity::Passing => Verdict::Working(said),
            Severity::Stalling => Verdict::Stuck(said),
        };
        return Standing { verdict, phase: CachePhase::Pending, failure: Some(failure) };
    }
    let running = plan.attempt.as_ref().is_some_and(|attempt| attempt.state == State::Running);
    if !running {
        let pulls = plan.attempt.as_ref().is_some_and(|attempt| attempt.mount.is_some());
        let message = if pulls {
            "the node pulls the image that the download reads"
        } else {
            "the download's pod is being started"
        };
        return pending("Starting", message.to_owned());
    }
    let preparing = match observed.progress.as_ref().map(|progress| progress.phase) {
        Some(Phase::Verifying | Phase::Converting | Phase::Publishing) => true,
        Some(Phase::Resolving | Phase::Downloading) => false,
        // Too busy to answer, or just ending: what was known of this attempt still holds.
        None => observed.cache.status.as_ref().is_some_and(|before| {
            let same_attempt =
                before.attempts.is_some_and(|attempts| u32::try_from(attempts) == Ok(plan.attempts));
            same_attempt && before.phase == Some(CachePhase::Preparing)
        }),
    };
    let (phase, reason, message) = if preparing {
        (CachePhase::Preparing, "Preparing", "the model is being verified and prepared")
    } else {
        (
            CachePhase::Downloading,
            "Downloading",
            "the model is being downloaded; status.progress says how far",
        )
    };
    Standing { verdict: Verdict::Working(Said::new(reason, message)), phase, failure: None }
}

fn failed(attempt: Option<&Attempt>, retry_at: Option<Timestamp>) -> Standing {
    let found = attempt.and_then(|attempt| match &attempt.state {
        State::Failed(failed) => Some((attempt, failed)),
        State::Waiting | State::Running | State::Succeeded(_) | State::Leaving => None,
    });
    let Some((attempt, failed)) = found else {
        // Only a failed attempt is followed by these steps.
        return pending("Starting", "the download is being started".to_owned());
    };
    let Failed { reason, message, at, pod, exit_code, .. } = failed;
    let failure = Failure {
        component: Component::ModelCache.as_str().to_owned(),
        pod: pod.clone(),
        reason: reason.clone(),
        message: failure::shortened(message),
        exit_code: *exit_code,
        time: Some(Time(*at)),
    };
    let verdict = match retry_at {
        Some(at) => {
            let next = format!("{}; try {} begins at {at:.0}", failure.message, attempt.tries + 1);
            Verdict::Working(Said::new(reason, next))
        }
        None => Verdict::Stuck(Said::new(reason, &failure.message)),
    };
    Standing { verdict, phase: CachePhase::Failed, failure: Some(failure) }
}

/// What a failed attempt found behind a branch or tag: the next one asks for just that.
fn resolved(plan: &CachePlan) -> Option<String> {
    match &plan.attempt.as_ref()?.state {
        State::Failed(failed) => failed.revision.clone(),
        State::Waiting | State::Running | State::Succeeded(_) | State::Leaving => None,
    }
}

fn progress(
    observed: &ObservedCache,
    fetched: Option<&FetchedModel>,
    previous: Option<CacheProgress>,
) -> Option<CacheProgress> {
    if let Some(model) = fetched {
        return Some(CacheProgress {
            bytes_done: signed(model.bytes),
            bytes_total: signed(model.bytes),
            percent: 100,
            bytes_per_second: None,
            eta_seconds: None,
            text: format!("{}, complete", ByteSize(model.bytes)),
        });
    }
    let Some(now) = &observed.progress else {
        return previous;
    };
    let percent = now.percent();
    Some(CacheProgress {
        bytes_done: signed(now.bytes_done),
        bytes_total: signed(now.bytes_total.unwrap_or_default()),
        percent: i32::from(percent.unwrap_or_default()),
        bytes_per_second: (now.bytes_per_second > 0).then(|| signed(now.bytes_per_second)),
        eta_seconds: now.eta_seconds.map(signed),
        text: line(now, percent),
    })
}

/// `43 % of 266.1 MiB, 12.0 MiB/s, 14 s left`.
fn line(progress: &Progress, percent: Option<u8>) -> String {
    let Progress { phase, bytes_done, bytes_total, bytes_per_second, eta_seconds, .. } = progress;
    match phase {
        Phase::Downloading => {}
        Phase::Resolving | Phase::Verifying | Phase::Converting | Phase::Publishing => {
            return phase.to_string();
        }
    }
    let amount = match (percent, bytes_total) {
        (Some(percent), Some(total)) => format!("{percent} % of {}", ByteSize(*total)),
        (Some(_) | None, _) => ByteSize(*bytes_done).to_string(),
    };
    let speed = (*bytes_per_second > 0).then(|| format!("{}/s", ByteSize(*bytes_per_second)));
    let left = eta_seconds.map(|seconds| format!("{seconds} s left"));
    [Some(amount), speed, left].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
