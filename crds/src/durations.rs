//! How long it took until something was ready, phase by phase.

use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a model took to its volume, phase by phase. What took less than a millisecond, or is not known, is absent. The
/// download counts in milliseconds, Kubernetes in seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheDurations {
    /// From the creation of the cache, or the loss of its volume, until the download ran that brought the model: volume,
    /// scheduling, image, and earlier attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting: Option<Duration>,
    /// Asking the source what the revision is, and for the list of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolving: Option<Duration>,
    /// Receiving the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloading: Option<Duration>,
    /// Comparing hashes, and unpacking archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifying: Option<Duration>,
    /// Checking the files, converting the model, and packing it for 8-bit integers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converting: Option<Duration>,
    /// Comparing vectors of the golden set with those of a second implementation, and 8-bit integers with single precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparing: Option<Duration>,
    /// Making it visible to workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publishing: Option<Duration>,
    /// From the same until the operator knew it to be ready: the above, and what passed between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
}

/// How long an endpoint took to be ready for the first time, phase by phase. They add up to the total.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointDurations {
    /// From the creation of the endpoint until its model was there; `status.durations` of the ModelCache says more. Absent
    /// where the model was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Duration>,
    /// Until the worker's pod was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creating: Option<Duration>,
    /// Until its container ran: scheduling, volume, image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting: Option<Duration>,
    /// Until it had loaded the model, was ready, and the operator knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading: Option<Duration>,
    /// From the creation of the endpoint, which Kubernetes knows to the second, until it was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Duration>,
}

impl CacheDurations {
    /// The phases by name, the total not among them.
    pub fn phases(&self) -> [(&'static str, Option<Duration>); 7] {
        let Self { starting, resolving, downloading, verifying, converting, comparing, publishing, total: _ } =
            *self;
        [
            ("starting", starting),
            ("resolving", resolving),
            ("downloading", downloading),
            ("verifying", verifying),
            ("converting", converting),
            ("comparing", comparing),
            ("publishing", publishing),
        ]
    }
}

impl EndpointDurations {
    /// The phases by name, the total not among them.
    pub fn phases(&self) -> [(&'static str, Option<Duration>); 4] {
        let Self { model, creating, starting, loading, total: _ } = *self;
        [("model", model), ("creating", creating), ("starting", starting), ("loading", loading)]
    }
}
