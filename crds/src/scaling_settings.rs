//! `spec.deployment.scaling`: by which rule the number of allocations follows the load.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// By which rule the number of allocations follows the load. Only beside enabled `adaptiveAllocations`, whose bounds hold in
/// every mode.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::slo_needs_target_latency(),
    validation = rules::only_for_slo("targetLatency"),
    validation = rules::only_for_slo("targetPercentile"),
)]
pub struct ScalingSettings {
    /// `elasticsearch` follows the load as Elasticsearch's adaptive allocations do. `slo` runs as few allocations as keep
    /// `targetLatency`. Defaults to `elasticsearch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ScalingMode>,

    /// Time from a request's arrival at the gateway to its answer, waiting included, within which `targetPercentile` of the
    /// requests are to be answered: `500ms` or `2s`, for example, from 1ms to 1h. Required for mode `slo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::duration")]
    #[x_kube(validation = rules::duration_within("targetLatency", "1ms", "1h", "500ms"))]
    pub target_latency: Option<String>,

    /// Share of the requests that are to keep `targetLatency`, in percent, from 50 to 99. Defaults to 99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 99))]
    pub target_percentile: Option<i32>,

    /// Time without a request after which an endpoint whose `minNumberOfAllocations` is absent or 0 goes to zero: `15m` or
    /// `24h`, for example, from 1m to 8760h. Defaults to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::duration")]
    #[x_kube(validation = rules::duration_within("scaleToZeroTime", "1m", "8760h", "24h"))]
    pub scale_to_zero_time: Option<String>,

    /// Allocations that are kept loaded and warm beyond those that the load asks for, with hardly any CPU reserved, so that
    /// a burst finds them at once. They go to zero with the others. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 32))]
    pub standby: Option<i32>,

    /// When a new endpoint downloads its model and starts. `immediately`, or `on_request`: with the first request, which waits for
    /// both; until then it is at zero, for which `minNumberOfAllocations` must be absent or 0. Defaults to `immediately`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<ScalingStart>,
}

/// When a new endpoint downloads its model and starts. `immediately`, or `on_request`: with the first request, which waits for
/// both; until then it is at zero, for which `minNumberOfAllocations` must be absent or 0. Defaults to `immediately`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingStart {
    /// As soon as it is there.
    #[default]
    Immediately,
    /// With the first request.
    OnRequest,
}

/// `elasticsearch` follows the load as Elasticsearch's adaptive allocations do. `slo` runs as few allocations as keep
/// `targetLatency`. Defaults to `elasticsearch`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingMode {
    /// Elasticsearch's adaptive allocations.
    #[default]
    Elasticsearch,
    /// As few allocations as keep a latency goal.
    Slo,
}
