//! What `GET /info` of a worker says about itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Arithmetic of the model that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    Fp32,
    Int8,
}

impl Precision {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerInfo {
    /// Where the model came from, as `hf://org/repo`.
    pub model: String,
    /// The resolved revision.
    pub revision: String,
    /// Digest of the published files.
    pub digest: String,
    /// Tokens of one text that the model sees, special tokens included.
    pub max_tokens: u32,
    pub vocabulary_size: u32,
    /// Digest of vocabulary and tokenizer. Absent for models that were cached by older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<String>,
    pub threads: u32,
    pub precision: Precision,
    /// Version of the worker.
    pub version: String,
    /// What it measured of itself. Absent until it has had a quiet moment for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizing: Option<Sizing>,
}

/// What a worker measured of itself on its own machine, one text at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizing {
    /// Tokens a second, in texts of 128 tokens.
    pub tokens_per_second: f64,
    /// Texts of 128 tokens a second.
    #[serde(rename = "documentsPerSecond128")]
    pub documents_per_second_128: f64,
    /// Memory of the process after the measurement.
    pub resident_bytes: u64,
    /// Memory that the pod should have: the most that was seen, with room for as many of the longest texts at once as there are
    /// threads, and for a queue.
    pub recommended_memory_bytes: u64,
}
