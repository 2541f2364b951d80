//! `ModelCache`: one revision of one model on one volume, shared by all endpoints that use it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CacheDurations, CacheSettings, Conditions, Failure, rules};

/// A model to keep on a volume. The operator makes one for every model that an endpoint uses; make one yourself to download a
/// model before the first endpoint needs it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "inference.lexiscale.io",
    version = "v1alpha1",
    kind = "ModelCache",
    namespaced,
    doc = "One revision of one model, downloaded once, verified, and shared by all endpoints that use it.",
    status = "ModelCacheStatus",
    derive = "PartialEq",
    shortname = "mc",
    category = "inference",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.text"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::cache_source_unchanged())]
pub struct ModelCacheSpec {
    /// Where the model comes from: `hf://organisation/name`, `https://host/folder/`, `s3://bucket/prefix`, `pvc://claim/path` or
    /// `oci://registry/repository:tag@digest`. All but the first and the last may also name a bundle, a file that ends in `.tar`.
    /// Cannot be changed.
    #[schemars(length(max = 512), regex(pattern = rules::SOURCE))]
    pub source: String,

    /// Revision of the model: a commit, tag or branch. It is resolved once, and `status.revision` says to what; in places without
    /// commits that is a digest, which may be given here too. Defaults to `main`, what is there. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/\-]*$"))]
    pub revision: Option<String>,

    /// Address of a hub that speaks the Hugging Face routes, of an S3 service, or of a mirror of the registry. Defaults to the
    /// operator's setting, else to the public hub, to Amazon's service, or to the registry itself. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"))]
    pub hub_endpoint: Option<String>,

    /// sha256 of each file that is used, by the file's name. Whatever has another one is refused, and so is what is not named.
    /// Without it, what is fetched first is pinned by `status.sourceDigest`. Cannot be changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::checksums")]
    pub checksums: BTreeMap<String, String>,

    /// Public key in PEM (ECDSA over P-256, or Ed25519). `SHA256SUMS` beside the files must be signed by it, in `SHA256SUMS.sig` as
    /// `cosign sign-blob` writes it, and must name every file that is used. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 1024),
        regex(pattern = r"^-----BEGIN PUBLIC KEY-----\s[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*$")
    )]
    pub public_key: Option<String>,

    /// Size of the model's files in bytes, where it is known. A volume that is too small for them is told before anything is
    /// downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes: Option<i64>,

    /// Licence of the model, for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub license: Option<String>,

    /// The volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<CacheSettings>,
}

/// What the operator saw and did.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelCacheStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready` is always there; `Reconciling` and `Stalled` only while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Where the model is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CachePhase")]
    pub phase: Option<CachePhase>,

    /// How far the download is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<CacheProgress>,

    /// How long the model took to its volume, phase by phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<CacheDurations>,

    /// Downloads begun so far, the running one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,

    /// How the files of an `oci://` source come, or came: fetched by the download itself, or in a volume that the node pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Delivery")]
    pub delivery: Option<Delivery>,

    /// Why an image volume was given up and the files are fetched. Kept until something changes that makes another try worth it:
    /// the spec, the operator's image, or the annotation `inference.lexiscale.io/retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_volume_failure: Option<ImageVolumeFailure>,

    /// The resolved revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,

    /// The volume claim that the model is kept on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,

    /// Access mode of that claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<String>,

    /// Digest over all files of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// Digest over the files as the source had them. What is fetched again, after a volume was lost, must have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,

    /// Since when no endpoint has used the cache; absent while one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_since: Option<Time>,

    /// Size of all files of the model, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,

    /// Whether the model can be served with 8-bit integers, and how near that comes to single precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8: Option<Int8Status>,

    /// Memory that one allocation of the model needs in single precision, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,

    /// Tokens after which a text is truncated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,

    /// Number of tokens that an embedding can have a weight for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary_size: Option<i64>,

    /// Digest of the model's vocabulary and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<String>,

    /// Names of the endpoints that use the cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,

    /// The latest failure, kept until the model is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// How the files of a model come from a registry.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Delivery {
    /// The download asks the registry.
    Fetch,
    /// The node pulls the image, and the download reads it as a volume.
    ImageVolume,
}

impl Delivery {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "Fetch",
            Self::ImageVolume => "ImageVolume",
        }
    }
}

/// Why no image volume is tried any more.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageVolumeFailure {
    /// What the node, or the download, calls it.
    pub reason: String,
    /// In their words.
    pub message: String,
    /// Hash of what the download was made from: with another one the volume is tried again.
    pub inputs: String,
}

/// A model in 8-bit integers.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Int8Status {
    /// Whether endpoints can ask for it.
    pub available: bool,
    /// Whether endpoints with `precision: auto` get it.
    pub automatic: bool,
    /// How near its vectors come to those of single precision, or what is in the way.
    pub message: String,
    /// Memory that one allocation needs, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
}

/// Where a model is on its way to the volume.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CachePhase {
    /// The volume or the pod is not there yet.
    Pending,
    /// Files are being downloaded.
    Downloading,
    /// Files are checked, converted and published.
    Preparing,
    /// The model is there.
    Ready,
    /// The download failed; the condition says why.
    Failed,
}

/// How far a download is.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheProgress {
    /// Bytes that are there.
    pub bytes_done: i64,
    /// Bytes in all.
    pub bytes_total: i64,
    /// Whole percent of the bytes.
    pub percent: i32,
    /// Bytes per second, over the last seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    /// Seconds left at that speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// All of it in one line.
    pub text: String,
}

impl Conditions for ModelCache {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}
