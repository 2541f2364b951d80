//! The status of an endpoint. PURE.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use lexiscale_crds::{
    AllocationStatus, CachePhase, ConditionType, Conditions, Failure, InferenceEndpoint,
    InferenceEndpointStatus, ModelCache, ModelStatus, ServedPrecision,
};

use super::{
    Verdict,
    conditions::{Said, last_failure, of_failed_pass as of_failure},
    durations,
};
use crate::{
    autoscaler::{self, Decision, Reason},
    failure::Severity,
    labels::{self, Component},
    observed::{ObservedEndpoint, Rejection},
    plan::endpoint::EndpointPlan,
    precision::Unavailable,
    rollout::{Rollout, ServedModel},
    sizing,
    validated::{Invalid, ValidatedEndpoint},
};

/// The status of an endpoint whose spec cannot be served. What it served before, it goes on serving.
pub fn of_invalid(observed: &ObservedEndpoint, invalid: &Invalid, now: Timestamp) -> InferenceEndpointStatus {
    let endpoint = &observed.endpoint;
    let previous = endpoint.status.clone().unwrap_or_default();
    let rollout = Rollout::new(observed.deployment.as_ref(), &observed.pods);
    let allocations = observed.deployment.as_ref().map(|deployment| AllocationStatus {
        desired: deployment.spec.replicas.unwrap_or_default(),
        current: signed(rollout.current),
        ready: signed(rollout.ready),
    });
    let stall = Said::new(invalid.reason(), invalid.to_string());
    let verdict = if rollout.ready > 0 {
        Verdict::ServingDespite(serving(&rollout, rollout.ready), stall)
    } else {
        Verdict::Stuck(stall)
    };
    InferenceEndpointStatus {
        observed_generation: endpoint.metadata.generation,
        conditions: verdict.conditions(&previous.conditions, endpoint.metadata.generation, now),
        allocations,
        ..previous
    }
}

/// The status of an endpoint after a pass.
pub fn of_plan(
    endpoint: &ValidatedEndpoint,
    observed: &ObservedEndpoint,
    plan: &EndpointPlan<'_>,
    rejections: &[Rejection],
    now: Timestamp,
) -> InferenceEndpointStatus {
    let object = &observed.endpoint;
    let identity = &endpoint.identity;
    let previous = object.status.clone().unwrap_or_default();
    let EndpointPlan { decision, cache, rollout, url, writes: _, standby, precision, leftovers } = plan;
    let hindrance = hindrance(endpoint, observed, plan, rejections);
    let verdict = verdict(endpoint, plan, hindrance.as_ref());
    let found = hindrance.and_then(|hindrance| hindrance.failure);
    let serving = rollout.replaced.as_ref().or(rollout.template.as_ref());
    let target = target(endpoint, &cache.name, precision.as_ref(), serving);
    let (serving, pending) = match serving {
        Some(serving) if (&serving.cache, serving.precision) != (&target.cache, target.precision) => {
            (serving, Some(&target))
        }
        Some(_) | None => (&target, None),
    };
    let model = |served: &ServedModel| model_status(served, observed, endpoint);
    let settled = verdict.is_settled() && leftovers.is_empty();
    let conditions = verdict.conditions(&previous.conditions, object.metadata.generation, now);
    let cold_start_seconds =
        cold_start(&previous, decision, cache.existing, &conditions, now).or(previous.cold_start_seconds);
    let durations =
        durations::of_endpoint(observed, cache.existing, &previous, &conditions, now).or(previous.durations);
    InferenceEndpointStatus {
        observed_generation: object.metadata.generation,
        conditions,
        url: Some(url.clone()),
        model: Some(model(serving)),
        pending_model: pending.map(model),
        allocations: Some(AllocationStatus {
            desired: signed(decision.replicas),
            current: signed(rollout.current),
            ready: signed(rollout.ready),
        }),
        decision: Some(decision.stored()),
        standby: standby.status(),
        sizing: sizing::status(previous.sizing.as_ref(), observed.sizing_told.as_ref()),
        durations,
        cold_start_seconds,
        selector: Some(labels::to_query(&labels::worker_selector(identity.name()))),
        last_failure: last_failure(previous.last_failure.as_ref(), found, settled, now),
    }
}

/// The status of an endpoint whose pass failed, if that is news.
pub fn of_failed_pass(
    endpoint: &InferenceEndpoint,
    said: Said,
    now: Timestamp,
) -> Option<InferenceEndpointStatus> {
    let previous = endpoint.status.clone().unwrap_or_default();
    let generation = endpoint.metadata.generation;
    let conditions = of_failure(&previous.conditions, generation, said, now)?;
    Some(InferenceEndpointStatus { observed_generation: generation, conditions, ..previous })
}

/// What keeps an endpoint from being all that its spec asks for.
struct Hindrance {
    severity: Severity,
    said: Said,
    failure: Option<Failure>,
}

impl Hindrance {
    fn passing(reason: &str, message: String) -> Self {
        Self { severity: Severity::Passing, said: Said::new(reason, message), failure: None }
    }
}

/// The first thing that is in the way, in the order in which an endpoint comes to life.
fn hindrance(
    endpoint: &ValidatedEndpoint,
    observed: &ObservedEndpoint,
    plan: &EndpointPlan<'_>,
    rejections: &[Rejection],
) -> Option<Hindrance> {
    let EndpointPlan { decision, cache, rollout, url: _, writes: _, standby: _, precision, leftovers } = plan;
    if !leftovers.is_empty() {
        let message = format!("waiting for the deletion of {}", leftovers.join(", "));
        return Some(Hindrance::passing("WaitingForCleanup", message));
    }
    if decision.waits_for_first_request() {
        return of_rejections(rejections);
    }
    of_rejections(rejections)
        .or_else(|| of_cache(cache.existing, &cache.name))
        .or_else(|| of_precision(precision.as_ref()))
        .or_else(|| of_nodes(endpoint, observed.largest_node, rollout))
        .or_else(|| of_workers(rollout))
        .or_else(|| (!rollout.complete).then(|| underway(rollout, decision)))
}

fn of_rejections(rejections: &[Rejection]) -> Option<Hindrance> {
    let Rejection { child, message } = rejections.first()?;
    Some(Hindrance {
        severity: Severity::Stalling,
        said: Said::new("WriteRejected", format!("the API server rejects {child}: {message}")),
        failure: None,
    })
}

fn of_cache(cache: Option<&ModelCache>, name: &str) -> Option<Hindrance> {
    let Some(cache) = cache else {
        return Some(Hindrance::passing("DownloadingModel", format!("ModelCache {name} is being made")));
    };
    if crate::plan::ready_cache(cache).is_some() {
        return None;
    }
    let status = cache.status.as_ref();
    let failure = status.and_then(|status| status.last_failure.clone());
    let underway = matches!(
        status.and_then(|status| status.phase),
        Some(CachePhase::Downloading | CachePhase::Preparing)
    );
    let (severity, condition) = match cache.condition(ConditionType::Stalled) {
        Some(stalled) => (Severity::Stalling, Some(stalled)),
        None => (Severity::Passing, cache.condition(ConditionType::Ready)),
    };
    // A failure of an earlier attempt is told as such, and the one under way as under way. How far it is only the cache
    // says: repeating every percent here would write every endpoint's status as often.
    let said = match condition.filter(|_| failure.is_some() && !underway) {
        Some(condition) => Said::new(&condition.reason, format!("ModelCache {name}: {}", condition.message)),
        None => Said::new(
            "DownloadingModel",
            format!("the model is being downloaded; `kubectl get modelcache {name}` shows the progress"),
        ),
    };
    Some(Hindrance { severity, said, failure })
}

fn of_precision(precision: Option<&Result<ServedPrecision, Unavailable>>) -> Option<Hindrance> {
    let Some(Err(unavailable)) = precision else { return None };
    Some(Hindrance {
        severity: Severity::Stalling,
        said: Said::new("PrecisionUnavailable", unavailable.to_string()),
        failure: None,
    })
}

/// Threads are the CPU limit of an allocation: on a node with fewer CPUs it would start and never be as fast as was asked for,
/// if its CPU request let it start at all. Asleep it needs no node, and the large one may come back when it wakes.
fn of_nodes(endpoint: &ValidatedEndpoint, largest: Option<u32>, rollout: &Rollout) -> Option<Hindrance> {
    let threads = endpoint.threads.get();
    let runs = rollout.ready > 0 || !rollout.complete;
    let largest = largest.filter(|largest| threads > *largest && runs)?;
    let message = format!(
        "serviceSettings.numThreads is {threads}, but the largest node has {largest} CPUs to give; add a larger node, or lower \
         numThreads"
    );
    Some(Hindrance {
        severity: Severity::Stalling,
        said: Said::new("InsufficientCapacity", message),
        failure: None,
    })
}

fn of_workers(rollout: &Rollout) -> Option<Hindrance> {
    let worker = |reason: &str, message: &String| Failure {
        component: Component::Worker.as_str().to_owned(),
        pod: None,
        reason: reason.to_owned(),
        message: message.clone(),
        exit_code: None,
        time: None,
    };
    if let Some(message) = &rollout.refused {
        return Some(Hindrance {
            severity: Severity::Stalling,
            said: Said::new("PodsRefused", format!("the API server refuses worker pods: {message}")),
            failure: Some(worker("PodsRefused", message)),
        });
    }
    if rollout.complete {
        return None;
    }
    let found = rollout.failure.clone().map(|found| (found.severity, found.failure));
    let overdue = rollout.overdue.as_ref();
    let (severity, failure) = match (found, overdue) {
        (Some((_, failure)), Some(_)) => (Severity::Stalling, failure),
        (Some(found), None) => found,
        (None, Some(message)) => (Severity::Stalling, worker("ProgressDeadlineExceeded", message)),
        (None, None) => return None,
    };
    let said = if severity == Severity::Stalling && rollout.old_revision_serves() {
        let message = format!(
            "the new revision fails ({}: {}); the previous revision goes on serving",
            failure.reason, failure.message
        );
        Said::new("RolloutFailed", message)
    } else {
        Said::new(&failure.reason, &failure.message)
    };
    Some(Hindrance { severity, said, failure: Some(failure) })
}

fn underway(rollout: &Rollout, decision: &Decision) -> Hindrance {
    let (ready, desired) = (rollout.ready, decision.replicas);
    if rollout.old_revision_serves() {
        Hindrance::passing("Rolling", format!("workers are being replaced; {ready} of {desired} serve"))
    } else if rollout.current > desired {
        Hindrance::passing(
            "Scaling",
            format!("{desired} allocations are asked for, {} are there", rollout.current),
        )
    } else if decision.reason == Reason::WokenUp && ready == 0 {
        Hindrance::passing(
            "WakingUp",
            format!("a request asked for it; 0 of {desired} allocations are ready"),
        )
    } else {
        Hindrance::passing("StartingWorkers", format!("{ready} of {desired} allocations are ready"))
    }
}

fn verdict(endpoint: &ValidatedEndpoint, plan: &EndpointPlan<'_>, hindrance: Option<&Hindrance>) -> Verdict {
    let EndpointPlan { decision, rollout, .. } = plan;
    let serves = rollout.ready >= autoscaler::required(endpoint.allocations, decision);
    let ready = if decision.waits_for_first_request() {
        Said::new(
            "Idle",
            "waits for its first request, which downloads the model where it is not there, and starts it",
        )
    } else {
        serving(rollout, decision.replicas)
    };
    match (serves, hindrance) {
        (true, None) => Verdict::Settled(ready),
        (true, Some(Hindrance { severity: Severity::Passing, said, .. })) => {
            Verdict::ServingWhile(ready, said.clone())
        }
        (true, Some(Hindrance { severity: Severity::Stalling, said, .. })) => {
            Verdict::ServingDespite(ready, said.clone())
        }
        (false, Some(Hindrance { severity: Severity::Passing, said, .. })) => Verdict::Working(said.clone()),
        (false, Some(Hindrance { severity: Severity::Stalling, said, .. })) => Verdict::Stuck(said.clone()),
        (false, None) => Verdict::Working(underway(rollout, decision).said),
    }
}

fn serving(rollout: &Rollout, desired: u32) -> Said {
    let ready = rollout.ready;
    if desired == 0 {
        return Said::new(
            "Idle",
            "idle at 0 allocations; the next request wakes it and waits until it is answered",
        );
    }
    let message = if ready > desired {
        format!("{ready} allocations serve, {desired} are asked for")
    } else {
        format!("{ready} of {desired} allocations serve")
    };
    Said::new("Serving", message)
}

/// How long a wake-up took that ends with this pass, unless it had to download the model first: no later one does. The status is written
/// now in any case, so that this costs no write.
fn cold_start(
    previous: &InferenceEndpointStatus,
    decision: &Decision,
    cache: Option<&ModelCache>,
    conditions: &[Condition],
    now: Timestamp,
) -> Option<i32> {
    let ready = |conditions: &[Condition], status: &str| {
        let found = conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
        found.filter(|ready| ready.status == status).map(|ready| ready.last_transition_time.0)
    };
    // The pass that woke it took its readiness away. A later roll of an endpoint that was woken long ago is no wake-up.
    let began = ready(&previous.conditions, "False").filter(|since| *since == decision.time);
    let cached = cache.and_then(|cache| cache.condition(ConditionType::Ready));
    let downloaded = cached.is_some_and(|cached| cached.last_transition_time.0 > decision.time);
    let is_over = decision.reason == Reason::WokenUp && ready(conditions, "True").is_some() && !downloaded;
    let began = began.filter(|_| is_over)?;
    let seconds = now.duration_since(began).as_millis().max(1).saturating_add(999) / 1000;
    Some(i32::try_from(seconds).unwrap_or(i32::MAX))
}

/// What is to serve when all is done. As long as nobody knows its precision, it is that of the pods that serve it already.
fn target(
    endpoint: &ValidatedEndpoint,
    cache: &str,
    precision: Option<&Result<ServedPrecision, Unavailable>>,
    serving: Option<&ServedModel>,
) -> ServedModel {
    let same = serving.filter(|serving| serving.cache == cache).and_then(|serving| serving.precision);
    ServedModel {
        cache: cache.to_owned(),
        model_id: endpoint.model.id.clone(),
        precision: precision.and_then(|precision| precision.as_ref().ok().copied()).or(same),
    }
}

fn model_status(
    served: &ServedModel,
    observed: &ObservedEndpoint,
    endpoint: &ValidatedEndpoint,
) -> ModelStatus {
    let cache = observed.caches.iter().find(|cache| cache.name_any() == served.cache);
    let status = cache.and_then(|cache| cache.status.as_ref());
    let spec = cache.map(|cache| &cache.spec);
    ModelStatus {
        id: served.model_id.clone(),
        source: spec.map_or_else(|| endpoint.model.source.to_string(), |spec| spec.source.clone()),
        revision: status.and_then(|status| status.revision.clone()),
        digest: status.and_then(|status| status.digest.clone()),
        vocabulary: status.and_then(|status| status.vocabulary.clone()),
        license: spec.and_then(|spec| spec.license.clone()),
        cache: served.cache.clone(),
        precision: served.precision,
        max_tokens: status.and_then(|status| status.max_tokens),
    }
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
