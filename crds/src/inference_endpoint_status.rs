//! `status` of an `InferenceEndpoint`.

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, MicroTime, Time},
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EndpointDurations, rules};

/// What the operator saw and did.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceEndpointStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready` is always there; `Reconciling` and `Stalled` only while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Address of the workers inside the cluster. Clients use the gateway instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// The model that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelStatus>,

    /// The model that is on its way while the one above still serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_model: Option<ModelStatus>,

    /// The number of allocations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocations: Option<AllocationStatus>,

    /// Why this number of allocations. It is also the operator's memory: under adaptive allocations the number here
    /// counts until something changes it, whoever leads and however often the operator starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ScalingDecision>,

    /// The standby allocations, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<StandbyStatus>,

    /// What a worker measured of itself, once for each revision of the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizing: Option<SizingStatus>,

    /// How long the endpoint took to be ready for the first time, phase by phase. What changes later does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<EndpointDurations>,

    /// How long the latest wake-up from zero took until an allocation was ready, in seconds, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub cold_start_seconds: Option<i32>,

    /// Label selector of the worker pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// The latest failure of a child, kept until the endpoint is ready again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// A model, resolved to the bytes that are served.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// The model id asked for, or the one that the service chose.
    pub id: String,
    /// Where the model comes from, for example `hf://organisation/name`.
    pub source: String,
    /// The resolved revision, known once the download has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Digest over all files of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digest of the model's vocabulary and tokenizer. Vectors of two models meet in an index only if theirs are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<String>,
    /// Licence of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Name of the `ModelCache` that holds it.
    pub cache: String,
    /// Arithmetic of the workers. Known once the model is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServedPrecision")]
    pub precision: Option<ServedPrecision>,
    /// Tokens after which a text is truncated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
}

/// The arithmetic of workers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServedPrecision {
    /// Single precision.
    Fp32,
    /// 8-bit integers where they are faster, single precision elsewhere.
    Int8,
}

impl ServedPrecision {
    /// As a worker is told it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        }
    }
}

impl std::str::FromStr for ServedPrecision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Fp32, Self::Int8].into_iter().find(|precision| precision.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is neither fp32 nor int8"))
    }
}

/// The number of allocations: asked for, there, and serving.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationStatus {
    /// Allocations that should run.
    pub desired: i32,
    /// Allocations that exist, ready or not.
    pub current: i32,
    /// Allocations that answer requests.
    pub ready: i32,
}

/// Standby allocations: loaded and warm, with next to no CPU reserved until a burst needs them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandbyStatus {
    /// Standby allocations that should run. 0 while the endpoint is idle at zero.
    pub desired: i32,
    /// Standby allocations that would answer requests.
    pub ready: i32,
    /// Standby allocations that reserve their CPU now, because a burst uses them.
    pub reserved: i32,
    /// The latest burst that was taken note of: what the annotation `inference.lexiscale.io/burst-at` said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_requested_at: Option<MicroTime>,
    /// When it was taken note of. They reserve their CPU for 45 s from here; gateways repeat the annotation while the burst lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_noted_at: Option<MicroTime>,
    /// What is wrong with them: one that does not start, no room on the node for what they use, or a cluster that cannot resize pods in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What one allocation measured of itself on its node, one text at a time, and the memory that it recommends.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SizingStatus {
    /// The revision of the workers that this is about: the annotation `inference.lexiscale.io/revision` of their pods.
    pub revision: String,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Texts of 128 tokens a second.
    #[serde(rename = "documentsPerSecond128")]
    pub documents_per_second_128: f64,
    /// Memory of the process after the measurement, as a quantity.
    #[schemars(schema_with = "rules::quantity")]
    pub resident_memory: Quantity,
    /// Memory that `deployment.memory` should at least be, as a quantity.
    #[schemars(schema_with = "rules::quantity")]
    pub recommended_memory: Quantity,
}

/// The latest decision about the number of allocations.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingDecision {
    /// Allocations that should run. 0 is an idle endpoint; its next request wakes it.
    #[schemars(range(min = 0))]
    pub allocations: i32,
    /// One word for the reason. Of the number itself: `Fixed`, `Start`, `WokenUp`, `Bounds`, `HighLoad`, `LowLoad`, `Idle`.
    /// Of its staying as it is although something asks for another: `Cooldown`, `AtMaximum`, `NoData`, or `Steady` after those.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// The reason in a sentence, with its numbers.
    pub message: String,
    /// When this number was decided. A wake-up starts the idle time anew from here.
    pub time: Time,
    /// The latest wake-up that was taken note of: what the annotation `inference.lexiscale.io/wake-requested-at` said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_requested_at: Option<MicroTime>,
    /// What the rule remembered of the load when this was decided, for whoever leads next. Only the operator reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub memory: Option<String>,
}

/// A failure of a child object, with what is needed to act on it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What failed: `worker` or `model-cache`.
    pub component: String,
    /// The pod that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// One word for the failure.
    pub reason: String,
    /// The failure in a sentence.
    pub message: String,
    /// Exit code of the container, if it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}
