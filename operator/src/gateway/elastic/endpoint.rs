//! An `InferenceEndpoint` as the `_inference` API shows it, field for field and in Elasticsearch's order.

use lexiscale_chunking::Effective;
use lexiscale_crds::{
    AdaptiveAllocations, ChunkingSettings, ConditionType, Conditions, InferenceEndpoint,
    InferenceEndpointSpec, Service, ServiceSettings,
};
use serde::Serialize;

use super::service_settings::service_name;
use super::task_type::TaskTypeName;

/// Where an endpoint is on its way, for the `X-Inference-State` header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Deploying,
    Ready,
    /// At zero allocations, as adaptive allocations leave it when nobody asks.
    Idle,
    Failed,
}

impl State {
    /// One allocation is enough to serve, as in Elasticsearch, while the `Ready` condition waits for all that
    /// were asked for. What serves is never failed, whatever else is wrong with it: a failed endpoint's
    /// record is removed.
    pub(crate) fn of(endpoint: &InferenceEndpoint) -> Self {
        let allocations = endpoint.status.as_ref().and_then(|status| status.allocations);
        let serves = allocations.is_some_and(|count| count.ready > 0) && is_current(endpoint);
        match endpoint.condition(ConditionType::Ready) {
            _ if serves => Self::Ready,
            Some(ready) if ready.status == "True" && is_current(endpoint) => {
                if allocations.is_some_and(|count| count.desired == 0) { Self::Idle } else { Self::Ready }
            }
            Some(_) | None if endpoint.is(ConditionType::Stalled) => Self::Failed,
            Some(_) | None => Self::Deploying,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Ready => "ready",
            Self::Idle => "idle",
            Self::Failed => "failed",
        }
    }
}

/// Whether the status is about the spec as it is now: one about an older spec promises nothing.
fn is_current(endpoint: &InferenceEndpoint) -> bool {
    let observed = endpoint.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_none() || observed >= endpoint.metadata.generation
}

/// Which number of allocations is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Allocations {
    /// What was asked for; none for an adaptive endpoint. For the answer to PUT.
    Stored,
    /// What runs now, also for an adaptive endpoint. For GET.
    Live,
}

/// The endpoint object.
#[derive(Debug, Serialize)]
pub(crate) struct EndpointView<'a> {
    inference_id: &'a str,
    task_type: &'static str,
    service: &'static str,
    service_settings: ServiceSettingsView<'a>,
    task_settings: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunking_settings: Option<Effective<'a>>,
}

#[derive(Debug, Serialize)]
struct Empty {}

#[derive(Debug, Serialize)]
struct ServiceSettingsView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    num_allocations: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_threads: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adaptive_allocations: Option<AdaptiveView>,
}

#[derive(Debug, Serialize)]
struct AdaptiveView {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_number_of_allocations: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_allocations: Option<i32>,
}

/// The list that GET answers, even for one endpoint.
#[derive(Debug, Serialize)]
pub(crate) struct EndpointList<'a> {
    pub(crate) endpoints: Vec<EndpointView<'a>>,
}

impl<'a> EndpointView<'a> {
    pub(crate) fn new(endpoint: &'a InferenceEndpoint, allocations: Allocations) -> Self {
        let InferenceEndpointSpec {
            inference_id: _,
            task_type,
            service,
            service_settings,
            task_settings: _,
            chunking_settings,
            deployment: _,
        } = &endpoint.spec;
        let ServiceSettings { num_allocations, num_threads, model_id, adaptive_allocations } =
            service_settings;
        let live = match allocations {
            Allocations::Stored => None,
            Allocations::Live => endpoint
                .status
                .as_ref()
                .and_then(|status| status.allocations)
                .map(|allocations| allocations.desired),
        };
        Self {
            inference_id: endpoint.inference_id(),
            task_type: TaskTypeName::from(*task_type).as_str(),
            service: service_name(*service),
            service_settings: ServiceSettingsView {
                num_allocations: live.or(*num_allocations),
                num_threads: *num_threads,
                model_id: model_id.as_deref(),
                adaptive_allocations: adaptive_allocations.as_ref().map(AdaptiveView::new),
            },
            task_settings: Empty {},
            chunking_settings: chunking(*service, chunking_settings.as_ref()),
        }
    }
}

impl AdaptiveView {
    fn new(adaptive: &AdaptiveAllocations) -> Self {
        let AdaptiveAllocations { enabled, min_number_of_allocations, max_number_of_allocations } = *adaptive;
        Self { enabled: enabled == Some(true), min_number_of_allocations, max_number_of_allocations }
    }
}

/// `elser` answers in the shape of its own page: chunking only when some was asked for. `elasticsearch`
/// always shows what is in force.
fn chunking(service: Service, given: Option<&ChunkingSettings>) -> Option<Effective<'_>> {
    static DEFAULT: ChunkingSettings = ChunkingSettings {
        strategy: None,
        max_chunk_size: None,
        overlap: None,
        sentence_overlap: None,
        separator_group: None,
        separators: None,
    };
    match service {
        Service::Elser => given.filter(|given| **given != DEFAULT).map(Effective::of),
        Service::Elasticsearch => Some(Effective::of(given.unwrap_or(&DEFAULT))),
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_crds::{AllocationStatus, InferenceEndpointStatus};

    use super::*;
    use crate::gateway::elastic::create;

    /// The object that a PUT with this body makes.
    fn endpoint(id: &str, body: &str) -> InferenceEndpoint {
        let spec = create::parse(Some(TaskTypeName::SparseEmbedding), body.as_bytes()).unwrap();
        InferenceEndpoint::new(id, spec)
    }

    fn running(mut endpoint: InferenceEndpoint, desired: i32) -> InferenceEndpoint {
        let allocations = Some(AllocationStatus { desired, current: 7, ready: 9 });
        endpoint.status = Some(InferenceEndpointStatus { allocations, ..InferenceEndpointStatus::default() });
        endpoint
    }

    fn show(endpoint: &InferenceEndpoint, allocations: Allocations) -> String {
        serde_json::to_string_pretty(&EndpointView::new(endpoint, allocations)).unwrap()
    }

    const FIXED: &str = r#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1}}"#;
    const ADAPTIVE: &str = r#"{"service":"elser","service_settings":{"adaptive_allocations":
        {"enabled":true,"min_number_of_allocations":3,"max_number_of_allocations":10},"num_threads":1}}"#;
    const ELASTICSEARCH: &str = r#"{"service":"elasticsearch","service_settings":
        {"model_id":".elser_model_2","num_threads":2,"num_allocations":1,"adaptive_allocations":{"enabled":false}}}"#;
    const CHUNKED: &str = r#"{"service":"elser","chunking_settings":{"strategy":"word","max_chunk_size":120},
        "service_settings":{"num_allocations":1,"num_threads":1,"model_id":".elser_model_2"}}"#;

    /// The response of the seed's page, field for field; its users compare it as text.
    #[test]
    fn the_fixed_elser_endpoint_is_the_example_response() {
        insta::assert_snapshot!(show(&endpoint("my-elser-model", FIXED), Allocations::Stored));
    }

    #[test]
    fn an_adaptive_endpoint_shows_a_number_only_while_it_runs() {
        insta::assert_snapshot!(
            "adaptive_stored",
            show(&endpoint("my-elser-model", ADAPTIVE), Allocations::Stored)
        );
        let running = running(endpoint("my-elser-model", ADAPTIVE), 4);
        insta::assert_snapshot!("adaptive_live", show(&running, Allocations::Live));
    }

    #[test]
    fn elasticsearch_shows_the_chunking_in_force() {
        insta::assert_snapshot!(
            "elasticsearch_stored",
            show(&endpoint("articles", ELASTICSEARCH), Allocations::Stored)
        );
        insta::assert_snapshot!("elser_chunked", show(&endpoint("articles", CHUNKED), Allocations::Stored));
        let empty = ADAPTIVE.replacen('{', r#"{"chunking_settings":{},"#, 1);
        assert!(!show(&endpoint("articles", &empty), Allocations::Stored).contains("chunking_settings"));
    }

    #[test]
    fn the_id_is_the_one_of_the_api_and_not_the_objects_name() {
        let mut endpoint = endpoint("a-b-1234", FIXED);
        endpoint.spec.inference_id = Some("a_b".to_owned());
        assert!(show(&endpoint, Allocations::Stored).contains(r#""inference_id": "a_b""#));
    }

    #[test]
    fn the_state_follows_what_serves_this_generation() {
        let with = |condition: &str, observed: i64, desired: i32, ready: i32| {
            let mut endpoint = endpoint("a", FIXED);
            endpoint.metadata.generation = Some(2);
            let conditions = match condition {
                "" => "[]".to_owned(),
                kind => format!(
                    r#"[{{"type":"{kind}","status":"True","reason":"r","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}}]"#
                ),
            };
            endpoint.status = Some(InferenceEndpointStatus {
                observed_generation: Some(observed),
                allocations: Some(AllocationStatus { desired, current: desired, ready }),
                conditions: serde_json::from_str(&conditions).unwrap(),
                ..InferenceEndpointStatus::default()
            });
            State::of(&endpoint)
        };
        assert_eq!(with("", 2, 3, 0), State::Deploying);
        assert_eq!(with("", 2, 3, 1), State::Ready, "one allocation serves");
        assert_eq!(with("", 1, 3, 1), State::Deploying, "it is one of the old spec");
        assert_eq!(with("Ready", 2, 3, 3), State::Ready);
        assert_eq!(with("Ready", 1, 3, 0), State::Deploying);
        assert_eq!(with("Ready", 2, 0, 0), State::Idle);
        assert_eq!(with("Stalled", 2, 3, 0), State::Failed);
        assert_eq!(with("Stalled", 2, 3, 1), State::Ready, "the second allocation found no node");
        assert_eq!(State::of(&endpoint("a", FIXED)), State::Deploying);
    }
}
