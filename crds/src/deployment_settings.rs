//! `spec.deployment`: how an endpoint runs on Kubernetes. Nothing here but the precision changes a weight; `output` leaves some out.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Toleration, apimachinery::pkg::api::resource::Quantity};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ScalingSettings, rules};

/// How the worker pods of an endpoint run.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSettings {
    /// Arithmetic of the model. `fp32` computes as the model was trained. `int8` is several times faster in a fraction of the memory;
    /// models that it is not built for are refused, and the condition says why. `auto`, the default, takes `int8` where the
    /// vectors kept what matters when the model was cached and the CPU was fast at it, else `fp32`. A change rolls the allocations; vectors
    /// of one index should all be of one precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PrecisionSetting")]
    pub precision: Option<PrecisionSetting>,

    /// CPU that each allocation reserves, at most `numThreads`. Defaults to `numThreads`; less lets several allocations share
    /// the CPUs of a small node. The limit is `numThreads` in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::quantity")]
    #[x_kube(validation = rules::positive_quantity("cpuRequest", "250m or 1"))]
    pub cpu_request: Option<Quantity>,

    /// Memory request and limit of each allocation. Defaults to what the operator estimates from the model's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::quantity")]
    #[x_kube(validation = rules::positive_quantity("memory", "512Mi or 2Gi"))]
    pub memory: Option<Quantity>,

    /// The volume that the model is kept on. Only an endpoint that is the first to use a model decides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSettings>,

    /// Labels that worker pods must find on their node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,

    /// Taints that worker pods tolerate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tolerations: Option<Vec<Toleration>>,

    /// Priority class of the worker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// How the number of allocations follows the load, where `adaptiveAllocations` lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingSettings>,

    /// Which weights of a vector are given out. Defaults to all above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSettings>,

    /// Labels added to the worker pods. Those of the operator cannot be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_labels: Option<BTreeMap<String, String>>,

    /// Annotations added to the worker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_annotations: Option<BTreeMap<String, String>>,
}

/// Which arithmetic is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionSetting {
    /// Single precision.
    Fp32,
    /// 8-bit integers where they are faster, single precision elsewhere.
    Int8,
    /// `int8` where it loses next to nothing, else `fp32`.
    #[default]
    Auto,
}

/// Which weights of a vector are given out: those that pass every bound that is set. Fewer make an index smaller and answers
/// shorter. A request may set each of them for itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputSettings {
    /// So many of a vector's largest weights at most, for example 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub top_k: Option<i32>,

    /// Weights of at least this share of the vector's largest, from 0 to 1, for example 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub max_ratio: Option<f64>,

    /// Weights of at least this much, 0 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_weight: Option<f64>,
}

/// The volume that a model is kept on.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheSettings {
    /// Size of the volume. Defaults to the operator's setting (10Gi unless the chart says otherwise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::quantity")]
    #[x_kube(validation = rules::positive_quantity("size", "2Gi"))]
    pub size: Option<Quantity>,

    /// Storage class of the volume. Defaults to the operator's setting, else to the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// Access mode of the volume: `ReadWriteOnce`, or `ReadWriteMany` where workers run on several nodes. Defaults to the
    /// operator's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::access_mode")]
    pub access_mode: Option<String>,

    /// Labels that the download must find on its node. A volume may be bound to the node or the zone where the download runs,
    /// so this defaults to the `nodeSelector` of the endpoint that makes the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,

    /// Taints that the download tolerates. Defaults to the `tolerations` of the endpoint that makes the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tolerations: Option<Vec<Toleration>>,
}
