//! The API types of Lexiscale: what a user writes and what the operator reports, and nothing that acts.
//!
//! Field docs become the schema's descriptions, so they are written for the reader of `kubectl explain`.
//! The rules that a manifest must obey stand beside the fields they are about, as CEL that the API server
//! evaluates; no webhook has to be up for them.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]
#![expect(clippy::duplicated_attributes, reason = "printer columns repeat `type_` and `priority`")]
#![warn(missing_docs)]

mod chunking_settings;
mod conditions;
mod deployment_settings;
mod durations;
mod inference_endpoint;
mod inference_endpoint_status;
pub mod manifests;
mod model_cache;
mod rules;
mod scaling_settings;
mod service_settings;

pub use chunking_settings::{ChunkingSettings, ChunkingStrategy, SeparatorGroup};
pub use conditions::{ConditionType, Conditions};
pub use deployment_settings::{CacheSettings, DeploymentSettings, OutputSettings, PrecisionSetting};
pub use durations::{CacheDurations, EndpointDurations};
pub use inference_endpoint::{InferenceEndpoint, InferenceEndpointSpec, Service, TaskSettings, TaskType};
pub use inference_endpoint_status::{
    AllocationStatus, Failure, InferenceEndpointStatus, ModelStatus, ScalingDecision, ServedPrecision,
    SizingStatus, StandbyStatus,
};
pub use model_cache::{
    CachePhase, CacheProgress, Delivery, ImageVolumeFailure, Int8Status, ModelCache, ModelCacheSpec,
    ModelCacheStatus,
};
pub use scaling_settings::{ScalingMode, ScalingSettings, ScalingStart};
pub use service_settings::{AdaptiveAllocations, ServiceSettings};

/// API group of every kind here.
pub const GROUP: &str = "inference.lexiscale.io";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
