//! What the page is told of the endpoints. PURE.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use lexiscale_crds::{
    AdaptiveAllocations, AllocationStatus, CachePhase, ConditionType, Conditions, EndpointDurations, Failure,
    InferenceEndpoint, ModelCache, ModelCacheStatus, ScalingDecision,
};
use serde::Serialize;

use super::history::{History, WINDOW};
use crate::gateway::elastic::endpoint::State;
use crate::gateway::elastic::service_settings::service_name;

/// Times are milliseconds of the Unix epoch, by the gateway's clock.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    namespace: &'a str,
    now: i64,
    window_ms: i128,
    endpoints: Vec<EndpointView<'a>>,
}

#[derive(Debug, Serialize)]
struct EndpointView<'a> {
    id: &'a str,
    service: &'static str,
    /// What serves, or will.
    model: Option<&'a str>,
    /// What takes its place.
    pending_model: Option<&'a str>,
    state: &'static str,
    threads: Option<i32>,
    adaptive: Option<Range>,
    allocations: AllocationStatus,
    /// Why there are as many allocations as there are.
    decision: Option<DecisionView<'a>>,
    condition: Option<ConditionView<'a>>,
    failure: Option<FailureView<'a>>,
    /// Of a model that is on its way.
    download: Option<Download>,
    /// What it took to be ready for the first time.
    durations: Option<DurationsView>,
    /// Time, desired, ready.
    history: Vec<(i64, i32, i32)>,
}

#[derive(Debug, Serialize)]
struct Range {
    min: i32,
    max: Option<i32>,
}

/// The autoscaler's last word.
#[derive(Debug, Serialize)]
struct DecisionView<'a> {
    allocations: i32,
    reason: &'a str,
    message: &'a str,
    time: String,
}

#[derive(Debug, Serialize)]
struct ConditionView<'a> {
    reason: &'a str,
    message: &'a str,
    since: String,
}

#[derive(Debug, Serialize)]
struct FailureView<'a> {
    reason: &'a str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct Download {
    phase: Option<CachePhase>,
    bytes_done: i64,
    bytes_total: i64,
    percent: i32,
    bytes_per_second: Option<i64>,
    eta_seconds: Option<i64>,
    message: String,
}

#[derive(Debug, Serialize)]
struct DurationsView {
    total_ms: u128,
    phases: Vec<(&'static str, u128)>,
}

/// An endpoint, and the one whose deployment serves it: itself, unless it is attached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) endpoint: &'a InferenceEndpoint,
    pub(super) deployment: &'a InferenceEndpoint,
}

impl<'a> View<'a> {
    pub(super) fn new(
        namespace: &'a str,
        endpoints: impl Iterator<Item = Shown<'a>>,
        caches: &Store<ModelCache>,
        history: &History,
        now: Timestamp,
    ) -> Self {
        Self {
            namespace,
            now: now.as_millisecond(),
            window_ms: WINDOW.as_millis(),
            endpoints: endpoints.map(|shown| EndpointView::new(shown, caches, history, now)).collect(),
        }
    }
}

impl<'a> EndpointView<'a> {
    fn new(
        Shown { endpoint, deployment }: Shown<'a>,
        caches: &Store<ModelCache>,
        history: &History,
        now: Timestamp,
    ) -> Self {
        let status = endpoint.status.as_ref();
        let settings = &deployment.spec.service_settings;
        let serving = status.and_then(|status| status.model.as_ref());
        let pending = status.and_then(|status| status.pending_model.as_ref());
        let uid = endpoint.uid().unwrap_or_default();
        Self {
            id: endpoint.inference_id(),
            service: service_name(endpoint.spec.service),
            model: serving.map(|model| model.id.as_str()).or(settings.model_id.as_deref()),
            pending_model: pending.map(|model| model.id.as_str()),
            state: State::of(endpoint).as_str(),
            threads: settings.num_threads,
            adaptive: settings.adaptive_allocations.as_ref().and_then(Range::of),
            allocations: status.and_then(|status| status.allocations).unwrap_or_default(),
            decision: status.and_then(|status| status.decision.as_ref()).map(DecisionView::new),
            condition: endpoint.condition(ConditionType::Ready).map(ConditionView::new),
            failure: status.and_then(|status| status.last_failure.as_ref()).map(FailureView::new),
            download: pending
                .or(serving)
                .and_then(|model| caches.get(&of_endpoint(endpoint, &model.cache)))
                .and_then(|cache| Download::of(&cache)),
            durations: status.and_then(|status| status.durations.as_ref()).and_then(DurationsView::of),
            history: history
                .of(&uid, now)
                .map(|(at, count)| (at.as_millisecond(), count.desired, count.ready))
                .collect(),
        }
    }
}

fn of_endpoint(endpoint: &InferenceEndpoint, cache: &str) -> ObjectRef<ModelCache> {
    ObjectRef::new(cache).within(endpoint.metadata.namespace.as_deref().unwrap_or_default())
}

impl Range {
    fn of(adaptive: &AdaptiveAllocations) -> Option<Self> {
        let AdaptiveAllocations { enabled, min_number_of_allocations: min, max_number_of_allocations: max } =
            adaptive;
        enabled.unwrap_or_default().then(|| Self { min: min.unwrap_or_default(), max: *max })
    }
}

impl<'a> DecisionView<'a> {
    fn new(decision: &'a ScalingDecision) -> Self {
        Self {
            allocations: decision.allocations,
            reason: &decision.reason,
            message: &decision.message,
            time: decision.time.0.to_string(),
        }
    }
}

impl<'a> ConditionView<'a> {
    fn new(condition: &'a Condition) -> Self {
        Self {
            reason: &condition.reason,
            message: &condition.message,
            since: condition.last_transition_time.0.to_string(),
        }
    }
}

impl<'a> FailureView<'a> {
    fn new(failure: &'a Failure) -> Self {
        Self { reason: &failure.reason, message: &failure.message }
    }
}

impl DurationsView {
    fn of(durations: &EndpointDurations) -> Option<Self> {
        let milliseconds = |took: kube::core::Duration| std::time::Duration::from(took).as_millis();
        let phases = durations.phases().into_iter();
        Some(Self {
            total_ms: durations.total.map(milliseconds)?,
            phases: phases.filter_map(|(phase, took)| Some((phase, took.map(milliseconds)?))).collect(),
        })
    }
}

impl Download {
    /// `None` once the model is there.
    fn of(cache: &ModelCache) -> Option<Self> {
        let ModelCacheStatus { phase, progress, .. } = cache.status.as_ref()?;
        let is_there = match phase {
            Some(CachePhase::Ready) => true,
            Some(
                CachePhase::Pending | CachePhase::Downloading | CachePhase::Preparing | CachePhase::Failed,
            )
            | None => false,
        };
        if is_there {
            return None;
        }
        let progress = progress.clone().unwrap_or_default();
        let message = cache.condition(ConditionType::Ready).map(|condition| condition.message.clone());
        Some(Self {
            phase: *phase,
            bytes_done: progress.bytes_done,
            bytes_total: progress.bytes_total,
            percent: progress.percent,
            bytes_per_second: progress.bytes_per_second,
            eta_seconds: progress.eta_seconds,
            message: message.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::super::history::Count;
    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn endpoint(status: &Value) -> InferenceEndpoint {
        serde_json::from_value(json!({
            "metadata": {"name": "articles", "namespace": "default", "uid": "u-1", "generation": 1},
            "spec": {"taskType": "sparse_embedding", "service": "elasticsearch",
                     "serviceSettings": {"modelId": "asked", "numThreads": 2, "adaptiveAllocations":
                        {"enabled": true, "minNumberOfAllocations": 0, "maxNumberOfAllocations": 4}}},
            "status": status,
        }))
        .unwrap()
    }

    fn cache(phase: &str) -> ModelCache {
        serde_json::from_value(json!({
            "metadata": {"name": "cache-1", "namespace": "default"},
            "spec": {"source": "hf://a/b"},
            "status": {
                "phase": phase,
                "progress": {"bytesDone": 43, "bytesTotal": 100, "percent": 43, "bytesPerSecond": 5, "etaSeconds": 12, "text": ""},
                "conditions": [{"type": "Ready", "status": "False", "reason": "Downloading", "message": "on its way",
                                "lastTransitionTime": "2026-01-01T00:59:00Z"}],
            },
        }))
        .unwrap()
    }

    fn view(endpoint: &InferenceEndpoint, cache: ModelCache) -> Value {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Apply(cache));
        let now: Timestamp = NOW.parse().unwrap();
        let mut history = History::default();
        for (second, ready) in [(0, 0), (50, 1)] {
            let at = now - jiff::SignedDuration::from_secs(60 - second);
            history.observe(at, [("u-1".to_owned(), Count { desired: 2, ready })].into_iter());
        }
        let shown = Shown { endpoint, deployment: endpoint };
        let view = View::new("default", std::iter::once(shown), &store, &history, now);
        serde_json::to_value(view).unwrap()
    }

    fn model(id: &str, cache: &str) -> Value {
        json!({"id": id, "source": "hf://a/b", "cache": cache})
    }

    #[test]
    fn an_endpoint_on_its_way_is_told_whole() {
        let endpoint = endpoint(&json!({
            "allocations": {"desired": 2, "current": 1, "ready": 0},
            "model": model("serving", "cache-0"),
            "pendingModel": model("coming", "cache-1"),
            "decision": {"allocations": 2, "reason": "Start", "message": "an endpoint starts with its minimum", "time": "2026-01-01T00:00:00Z"},
            "conditions": [{"type": "Ready", "status": "False", "reason": "DownloadingModel", "message": "being downloaded",
                            "lastTransitionTime": "2026-01-01T00:58:00Z"}],
            "durations": {"model": "11s", "loading": "1.25s", "total": "12.25s"},
            "lastFailure": {"component": "worker", "reason": "OutOfMemory", "message": "killed"},
        }));
        let view = view(&endpoint, cache("Downloading"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&view).unwrap());
    }

    #[test]
    fn a_model_that_is_there_is_no_download() {
        let endpoint = endpoint(&json!({"model": model("serving", "cache-1")}));
        assert_eq!(view(&endpoint, cache("Ready"))["endpoints"][0]["download"], Value::Null);
        assert_eq!(view(&endpoint, cache("Failed"))["endpoints"][0]["download"]["phase"], "Failed");
    }

    #[test]
    fn an_endpoint_that_nobody_looked_at_yet_shows_what_was_asked_for() {
        let view = view(&endpoint(&Value::Null), cache("Ready"));
        let shown = &view["endpoints"][0];
        assert_eq!((&shown["model"], &shown["state"]), (&json!("asked"), &json!("deploying")));
        assert_eq!((&shown["condition"], &shown["decision"]), (&Value::Null, &Value::Null));
    }
}
