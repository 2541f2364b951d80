//! `InferenceEndpoint`: the body of Elasticsearch's `PUT _inference/{task_type}/{id}` in camelCase, with the
//! settings that only Kubernetes has under `spec.deployment`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ChunkingSettings, Conditions, DeploymentSettings, InferenceEndpointStatus, ServiceSettings, rules,
};

/// An inference endpoint: a model, how many allocations of it run, and with how many threads each. The operator
/// downloads the model and serves it; requests go to the gateway's `_inference` API.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "inference.lexiscale.io",
    version = "v1alpha1",
    kind = "InferenceEndpoint",
    namespaced,
    doc = "A sparse-embedding endpoint: the operator downloads its model, serves it, and keeps as many allocations as asked for.",
    status = "InferenceEndpointStatus",
    derive = "PartialEq",
    shortname = "ie",
    category = "inference",
    scale(
        spec_replicas_path = ".spec.serviceSettings.numAllocations",
        status_replicas_path = ".status.allocations.current",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Model", type_ = "string", json_path = ".status.model.id"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.allocations.desired"),
    printcolumn(name = "Current", type_ = "integer", json_path = ".status.allocations.current"),
    printcolumn(name = "Serving", type_ = "integer", json_path = ".status.allocations.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Cache", type_ = "string", json_path = ".status.model.cache", priority = 1),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.model.revision", priority = 1),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::unchanged("taskType"),
    validation = rules::unchanged("service"),
    validation = rules::inference_id_unchanged(),
    validation = rules::elasticsearch_needs_model_id(),
    validation = rules::cpu_request_within_threads(),
    validation = rules::deployment_id_unchanged(),
    validation = rules::attached_has_no_pods(),
    validation = rules::scaling_needs_adaptive(),
    validation = rules::start_on_request_needs_zero(),
)]
pub struct InferenceEndpointSpec {
    /// Id of the endpoint in the `_inference` API, for an id that is no Kubernetes name: up to 256 characters of
    /// a-z, 0-9, `_`, `-` and `.`, with a letter or digit at both ends (default endpoints begin with a dot).
    /// Defaults to the object's name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^\.?[a-z0-9]([a-z0-9_.\-]*[a-z0-9])?$"))]
    pub inference_id: Option<String>,

    /// The task that the model performs. Only `sparse_embedding` is served. Cannot be changed.
    pub task_type: TaskType,

    /// The service: `elasticsearch` with a `modelId`, or the deprecated `elser`, which chooses an ELSER-compatible
    /// model by itself. Cannot be changed.
    pub service: Service,

    /// The model and its allocations.
    pub service_settings: ServiceSettings,

    /// Settings of the task. Sparse embedding has none, so this is `{}` or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_settings: Option<TaskSettings>,

    /// How long texts are cut into chunks. Absent means: by sentence, at most 250 words, one sentence of overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking_settings: Option<ChunkingSettings>,

    /// How the endpoint runs on Kubernetes: what the `_inference` API has no word for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentSettings>,
}

/// The task of a model.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Weights for the tokens of a vocabulary.
    SparseEmbedding,
}

/// The service that answers for an endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Serves the model that `modelId` names.
    Elasticsearch,
    /// Deprecated: serves an ELSER-compatible model of the operator's choice.
    Elser,
}

/// The settings of a sparse-embedding task: there are none.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TaskSettings {}

impl InferenceEndpoint {
    /// The id that the `_inference` API knows the endpoint by: `spec.inferenceId`, or the object's name.
    pub fn inference_id(&self) -> &str {
        self.spec.inference_id.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

impl Conditions for InferenceEndpoint {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}
