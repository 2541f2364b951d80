//! The rules that the API server checks at `kubectl apply`, as CEL. Every message names the field and its bound.
//!
//! Source of the bounds: the ELSER page that the project implements, then Elasticsearch's own settings classes.
//! Bounds that JSON schema can express (`minimum`, `enum`, `pattern`) stand at the fields instead.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

fn rule(rule: impl Into<String>, message: impl AsRef<str>, field: &str) -> Rule {
    Rule::new(rule).message(message.as_ref()).field_path(format!(".{field}"))
}

/// A required field that only creation may set.
pub(crate) fn unchanged(field: &str) -> Rule {
    rule(
        format!("self.{field} == oldSelf.{field}"),
        format!("{field} cannot be changed; delete the endpoint and create it anew, or create another one"),
        field,
    )
}

pub(crate) fn inference_id_unchanged() -> Rule {
    rule(
        "has(self.inferenceId) == has(oldSelf.inferenceId) && (!has(self.inferenceId) || self.inferenceId == oldSelf.inferenceId)",
        "inferenceId cannot be changed; create another endpoint",
        "inferenceId",
    )
}

pub(crate) fn elasticsearch_needs_model_id() -> Rule {
    rule(
        "self.service != 'elasticsearch' || has(self.serviceSettings.modelId) || has(self.serviceSettings.deploymentId)",
        "serviceSettings.modelId is required for service elasticsearch, for example .elser_model_2",
        "serviceSettings.modelId",
    )
}

pub(crate) fn cpu_request_within_threads() -> Rule {
    rule(
        "!has(self.deployment) || !has(self.deployment.cpuRequest) || !has(self.serviceSettings.numThreads) \
         || !isQuantity(self.deployment.cpuRequest) \
         || !quantity(self.deployment.cpuRequest).isGreaterThan(quantity('1').sub(1).add(self.serviceSettings.numThreads))",
        "deployment.cpuRequest must be at most serviceSettings.numThreads, the CPU limit of an allocation",
        "deployment.cpuRequest",
    )
}

pub(crate) fn num_threads_required() -> Rule {
    Rule::new("has(self.numThreads) || has(self.deploymentId)")
        .message("numThreads is required: the threads of each allocation, 1, 2, 4, 8, 16 or 32")
}

pub(crate) fn num_threads_power_of_two() -> Rule {
    rule(
        "!has(self.numThreads) || self.numThreads in [1, 2, 4, 8, 16, 32]",
        "numThreads must be a power of two from 1 to 32: 1, 2, 4, 8, 16 or 32",
        "numThreads",
    )
}

const ADAPTIVE: &str = "has(self.adaptiveAllocations) && has(self.adaptiveAllocations.enabled) && self.adaptiveAllocations.enabled";

pub(crate) fn allocations_given() -> Rule {
    Rule::new(format!("has(self.numAllocations) || ({ADAPTIVE}) || has(self.deploymentId)")).message(
        "numAllocations is required (at least 1) unless adaptiveAllocations.enabled is true; give exactly one of the two",
    )
}

pub(crate) fn allocations_given_once() -> Rule {
    rule(
        format!("!(has(self.numAllocations) && {ADAPTIVE})"),
        "numAllocations must not be set while adaptiveAllocations.enabled is true; give exactly one of the two",
        "numAllocations",
    )
}

pub(crate) fn attached_has_no_allocations() -> Rule {
    rule(
        "!has(self.deploymentId) || !(has(self.numAllocations) || has(self.numThreads) || has(self.adaptiveAllocations))",
        "beside deploymentId, numAllocations, numThreads and adaptiveAllocations are those of that endpoint; remove them",
        "deploymentId",
    )
}

pub(crate) fn deployment_id_unchanged() -> Rule {
    rule(
        "has(self.serviceSettings.deploymentId) == has(oldSelf.serviceSettings.deploymentId) \
         && (!has(self.serviceSettings.deploymentId) || self.serviceSettings.deploymentId == oldSelf.serviceSettings.deploymentId)",
        "serviceSettings.deploymentId cannot be changed; create another endpoint",
        "serviceSettings.deploymentId",
    )
}

pub(crate) fn attached_has_no_pods() -> Rule {
    rule(
        "!has(self.deployment) || !has(self.serviceSettings.deploymentId)",
        "deployment is for the endpoint that serviceSettings.deploymentId names; remove it here",
        "deployment",
    )
}

pub(crate) fn scaling_needs_adaptive() -> Rule {
    rule(
        "!has(self.deployment) || !has(self.deployment.scaling) || (has(self.serviceSettings.adaptiveAllocations) \
         && has(self.serviceSettings.adaptiveAllocations.enabled) && self.serviceSettings.adaptiveAllocations.enabled)",
        "deployment.scaling is for adaptive allocations; set serviceSettings.adaptiveAllocations.enabled to true in place of \
         numAllocations, or remove deployment.scaling",
        "deployment.scaling",
    )
}

pub(crate) fn start_on_request_needs_zero() -> Rule {
    rule(
        "!has(self.deployment) || !has(self.deployment.scaling) || !has(self.deployment.scaling.start) \
         || self.deployment.scaling.start != 'on_request' || !has(self.serviceSettings.adaptiveAllocations) \
         || !has(self.serviceSettings.adaptiveAllocations.minNumberOfAllocations) \
         || self.serviceSettings.adaptiveAllocations.minNumberOfAllocations < 1",
        "deployment.scaling.start can be on_request only where minNumberOfAllocations is absent or 0",
        "deployment.scaling.start",
    )
}

const SLO: &str = "has(self.mode) && self.mode == 'slo'";

pub(crate) fn slo_needs_target_latency() -> Rule {
    rule(
        format!("!({SLO}) || has(self.targetLatency)"),
        "targetLatency is required for mode slo, for example 500ms",
        "targetLatency",
    )
}

pub(crate) fn only_for_slo(field: &str) -> Rule {
    rule(
        format!("!has(self.{field}) || ({SLO})"),
        format!("{field} is only for mode slo; remove it or set mode to slo"),
        field,
    )
}

pub(crate) fn model_id_offered() -> Rule {
    rule(
        "!has(self.modelId) || self.modelId != '.elser_model_1'",
        "modelId .elser_model_1 is not offered; use .elser_model_2",
        "modelId",
    )
}

pub(crate) fn min_at_most_max() -> Rule {
    rule(
        "!has(self.minNumberOfAllocations) || !has(self.maxNumberOfAllocations) \
         || self.maxNumberOfAllocations >= self.minNumberOfAllocations",
        "maxNumberOfAllocations must be at least minNumberOfAllocations",
        "maxNumberOfAllocations",
    )
}

const SENTENCE: &str = "(!has(self.strategy) || self.strategy == 'sentence')";

pub(crate) fn max_chunk_size_of_sentence() -> Rule {
    rule(
        format!("!has(self.maxChunkSize) || !{SENTENCE} || self.maxChunkSize >= 20"),
        "maxChunkSize must be from 20 to 300 for strategy sentence",
        "maxChunkSize",
    )
}

pub(crate) fn chunk_key_of_word() -> Rule {
    rule(
        "!has(self.overlap) || (has(self.strategy) && self.strategy == 'word')",
        "overlap is only for strategy word; remove it or set strategy to word",
        "overlap",
    )
}

pub(crate) fn overlap_at_most_half() -> Rule {
    rule(
        "!has(self.overlap) || self.overlap <= (has(self.maxChunkSize) ? self.maxChunkSize : 250) / 2",
        "overlap must be at most half of maxChunkSize (125 when maxChunkSize is absent)",
        "overlap",
    )
}

pub(crate) fn chunk_key_of_sentence() -> Rule {
    rule(
        format!("!has(self.sentenceOverlap) || {SENTENCE}"),
        "sentenceOverlap (0 or 1) is only for strategy sentence; remove it or set strategy to sentence",
        "sentenceOverlap",
    )
}

pub(crate) fn chunk_key_of_recursive(key: &str) -> Rule {
    rule(
        format!("!has(self.{key}) || (has(self.strategy) && self.strategy == 'recursive')"),
        format!("{key} is only for strategy recursive; remove it or set strategy to recursive"),
        key,
    )
}

pub(crate) fn separators_given_once() -> Rule {
    rule(
        "!has(self.separatorGroup) || !has(self.separators)",
        "separators and separatorGroup exclude each other; give one of them",
        "separators",
    )
}

pub(crate) fn none_has_no_chunk_size() -> Rule {
    rule(
        "!has(self.maxChunkSize) || !has(self.strategy) || self.strategy != 'none'",
        "maxChunkSize is not for strategy none, which never cuts; remove it",
        "maxChunkSize",
    )
}

pub(crate) fn cache_source_unchanged() -> Rule {
    Rule::new(
        "self.source == oldSelf.source \
         && has(self.revision) == has(oldSelf.revision) && (!has(self.revision) || self.revision == oldSelf.revision) \
         && has(self.hubEndpoint) == has(oldSelf.hubEndpoint) && (!has(self.hubEndpoint) || self.hubEndpoint == oldSelf.hubEndpoint) \
         && has(self.checksums) == has(oldSelf.checksums) && (!has(self.checksums) || self.checksums == oldSelf.checksums) \
         && has(self.publicKey) == has(oldSelf.publicKey) && (!has(self.publicKey) || self.publicKey == oldSelf.publicKey)",
    )
    .message("source, revision, hubEndpoint, checksums and publicKey cannot be changed; create another ModelCache")
}

/// A Kubernetes quantity of more than zero; `example` is what the message offers.
pub(crate) fn positive_quantity(field: &str, example: &str) -> Rule {
    Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
        .message(format!("{field} must be a quantity greater than 0, for example {example}").as_str())
}

/// Schema of a quantity. A string only (not the number that Kubernetes also takes), so that CEL knows its type, and
/// short, so that the estimated cost of the rules stays within the API server's budget.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32 })
}

/// A source that a model can come from. What looks right and is not is told by the download.
pub(crate) const SOURCE: &str = r"^(hf://[A-Za-z0-9][A-Za-z0-9._\-]*/[A-Za-z0-9][A-Za-z0-9._\-]*|https?://[A-Za-z0-9.\-\[\]:]+(/[^\s?#]*)?|s3://[a-z0-9][a-z0-9.\-]+(/[A-Za-z0-9._/\-]*)?|pvc://[a-z0-9][a-z0-9.\-]*(/[A-Za-z0-9._/\-]*)?|oci://[A-Za-z0-9.\-\[\]:]+/[a-z0-9._/\-]+(:[A-Za-z0-9_][A-Za-z0-9._\-]*)?(@sha256:[0-9a-f]{64})?)$";

/// Schema of file names and their sha256.
pub(crate) fn checksums(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 64, "pattern": "^[0-9a-f]{64}$" },
    })
}

/// Schema of the two access modes that make sense for a volume that a Job writes and workers read.
pub(crate) fn access_mode(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["ReadWriteOnce", "ReadWriteMany"] })
}

/// Schema of a duration. So few digits that no sum of them overflows what CEL can hold.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 16, "pattern": "^([0-9]{1,6}(h|m|s|ms))+$" })
}

/// A duration within bounds; `example` is what the message offers.
pub(crate) fn duration_within(field: &str, least: &str, most: &str, example: &str) -> Rule {
    Rule::new(format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"))
        .message(format!("{field} must be from {least} to {most}, for example {example}").as_str())
}
