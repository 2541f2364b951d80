//! `spec.serviceSettings`: the model, its allocations and their threads.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// The model and its allocations. An allocation is one worker pod; its CPU limit is `numThreads`.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::num_threads_required(),
    validation = rules::num_threads_power_of_two(),
    validation = rules::allocations_given(),
    validation = rules::allocations_given_once(),
    validation = rules::model_id_offered(),
    validation = rules::attached_has_no_allocations(),
)]
pub struct ServiceSettings {
    /// Number of allocations (worker pods), at least 1. More allocations give more throughput. Required unless
    /// `adaptiveAllocations` is enabled, and refused beside it, because the operator then sets the number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub num_allocations: Option<i32>,

    /// Threads of each allocation during inference, and the CPU limit of its pod: 1, 2, 4, 8, 16 or 32. More threads
    /// shorten the time of a single request; 1 is best for ingest. Required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub num_threads: Option<i32>,

    /// Id of the model: one of the operator's catalog (`.elser_model_2`, for example), or a Hugging Face repository as
    /// `organisation/name`, optionally with `@revision`. Required for service `elasticsearch`, unless
    /// there is a `deploymentId`. A change downloads the new
    /// model and rolls the workers over to it while the old model goes on serving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub model_id: Option<String>,

    /// Lets the number of allocations follow the load, between a minimum and a maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_allocations: Option<AdaptiveAllocations>,

    /// Attaches the endpoint to the deployment of another one of this namespace, instead of giving it one of its own: the
    /// inference id of that endpoint. Allocations, threads and model are then those of that endpoint and must not be given
    /// here, but for `modelId`, which must be the same. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^\.?[a-z0-9]([a-z0-9_.\-]*[a-z0-9])?$"))]
    pub deployment_id: Option<String>,
}

/// The bounds within which the number of allocations follows the load.
#[derive(KubeSchema, Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::min_at_most_max())]
pub struct AdaptiveAllocations {
    /// Whether the number of allocations follows the load. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// Fewest allocations, 0 or more. Absent or 0 means that an idle endpoint may go to zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_number_of_allocations: Option<i32>,

    /// Most allocations, at least 1 and at least `minNumberOfAllocations`. Absent means 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_number_of_allocations: Option<i32>,
}

impl AdaptiveAllocations {
    /// True when `enabled` is present and true.
    pub fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }
}
