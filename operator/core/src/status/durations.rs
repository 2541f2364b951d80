//! How long it took until a cache or an endpoint was ready. PURE.
//!
//! Computed once, by the pass whose status says `Ready`, from what the objects and the download's report say of themselves: no
//! write and no memory more. Kubernetes tells times by the second and so too early by up to one, which makes a total too
//! long and never too short.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ContainerState, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{ResourceExt, core::Duration};
use lexiscale_crds::{
    CacheDurations, ConditionType, Conditions, EndpointDurations, InferenceEndpointStatus, ModelCache,
    ModelCacheStatus,
};
use lexiscale_wire::{FetchDurations, FetchedModel};

use crate::{
    download::{Attempt, pod_of},
    observed::{ObservedCache, ObservedEndpoint},
    rollout::is_ready,
};

/// Of a cache whose model is there.
pub(super) fn of_cache(
    observed: &ObservedCache,
    attempt: Option<&Attempt>,
    fetched: &FetchedModel,
    previous: &ModelCacheStatus,
    now: Timestamp,
) -> Option<CacheDurations> {
    if previous.digest.as_ref() == Some(&fetched.digest) {
        return previous.durations;
    }
    // Beside the digest of what lies on the volume, that of the source outlives a volume that was lost.
    let since = match &previous.source_digest {
        Some(_) => ready(&previous.conditions, "False")?.0,
        None => observed.cache.creation_timestamp()?.0,
    };
    let FetchDurations { resolving, downloading, verifying, converting, comparing, publishing } =
        fetched.durations.unwrap_or_default();
    let began = attempt.and_then(|attempt| began(observed, attempt));
    Some(CacheDurations {
        starting: began.and_then(|began| between(since, began.min(now))),
        resolving: milliseconds(resolving.into()),
        downloading: milliseconds(downloading.into()),
        verifying: milliseconds(verifying.into()),
        converting: milliseconds(converting.into()),
        comparing: milliseconds(comparing.into()),
        publishing: milliseconds(publishing.into()),
        total: between(since, now),
    })
}

/// When the container of an attempt began.
fn began(observed: &ObservedCache, attempt: &Attempt) -> Option<Timestamp> {
    let job = observed.jobs.iter().find(|job| job.name_any() == attempt.job)?;
    container_began(pod_of(job, &observed.pods)?)
}

/// Of an endpoint, if this pass is the one that makes it ready for the first time.
pub(super) fn of_endpoint(
    observed: &ObservedEndpoint,
    cache: Option<&ModelCache>,
    previous: &InferenceEndpointStatus,
    conditions: &[Condition],
    now: Timestamp,
) -> Option<EndpointDurations> {
    let is_first = previous.durations.is_none()
        && ready(conditions, "True").is_some()
        && waits_since_its_beginning(&previous.conditions, observed.deployment.as_ref());
    let pod = latest(&observed.pods).filter(|_| is_first)?;
    let created = observed.endpoint.creation_timestamp()?.0;
    let model = cache
        .and_then(|cache| cache.condition(ConditionType::Ready))
        .map(|ready| &ready.last_transition_time);
    // In this order, whatever the clocks say that they come from: a time that is not known, or before the one before it, takes nothing.
    let mut last = created;
    let mut until = |time: Option<Timestamp>| {
        let time = time.unwrap_or(last).clamp(last, now.max(last));
        let passed = between(last, time);
        last = time;
        passed
    };
    Some(EndpointDurations {
        model: until(model.map(|time| time.0)),
        creating: until(pod.creation_timestamp().map(|time| time.0)),
        starting: until(container_began(pod)),
        loading: until(Some(now)),
        total: between(created, now),
    })
}

/// Whether it was not ready when its Deployment was made. One that an older version brought up, or that lost its pods later, was.
fn waits_since_its_beginning(before: &[Condition], deployment: Option<&Deployment>) -> bool {
    let made = deployment.and_then(|deployment| deployment.metadata.creation_timestamp.as_ref());
    ready(before, "False").zip(made).is_some_and(|(since, made)| since.0 <= made.0)
}

fn ready<'a>(conditions: &'a [Condition], status: &str) -> Option<&'a Time> {
    let found = conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
    found.filter(|ready| ready.status == status).map(|ready| &ready.last_transition_time)
}

/// The pod that was waited for: the youngest of those that serve, or of all, if none was seen to yet.
fn latest(pods: &[Pod]) -> Option<&Pod> {
    pods.iter().max_by_key(|pod| (is_ready(pod), pod.creation_timestamp().map(|time| time.0)))
}

fn container_began(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ContainerState { running, terminated, waiting: _ } = statuses.first()?.state.as_ref()?;
    let running = running.as_ref().and_then(|state| state.started_at.as_ref());
    let terminated = terminated.as_ref().and_then(|state| state.started_at.as_ref());
    running.or(terminated).map(|time| time.0)
}

fn between(from: Timestamp, to: Timestamp) -> Option<Duration> {
    milliseconds(u64::try_from(to.duration_since(from).as_millis()).ok()?)
}

fn milliseconds(count: u64) -> Option<Duration> {
    (count > 0).then(|| std::time::Duration::from_millis(count).into())
}
