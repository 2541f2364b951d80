//! What a graph may hold. The numbers are several times those of the largest masked-language models in use.

/// BERT-large has some thousand nodes.
pub(super) const MAX_NODES: usize = 100_000;
pub(super) const MAX_INITIALIZERS: usize = 100_000;
/// Branches inside of branches.
pub(super) const MAX_NESTING: usize = 4;
pub(super) const MAX_RANK: usize = 16;
/// An input's or output's name and shape; more would not be a description.
pub(super) const MAX_DESCRIPTION: u64 = 64 * 1024;
pub(super) const MAX_DESCRIBED: usize = 64;
pub(super) const MAX_METADATA: usize = 256;
pub(super) const MAX_IR_VERSION: u64 = 13;

/// Operators of these domains come with ONNX Runtime, up to these versions.
pub(super) const DOMAINS: [(&str, u64); 4] =
    [("", 26), ("ai.onnx", 26), ("ai.onnx.ml", 5), ("com.microsoft", 1)];

/// No masked-language model needs these: the first three can run for ever, and the last one names a file.
pub(super) const REFUSED_OPERATORS: [&str; 4] = ["Loop", "Scan", "SequenceMap", "EPContext"];

/// Settings of ONNX Runtime that a file could bring along, and names of files beside it.
pub(super) fn is_refused_metadata(key: &str) -> bool {
    key == "ort_config" || key.starts_with("ep.") || key.to_ascii_lowercase().contains("external")
}
