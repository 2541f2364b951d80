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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub threads: u32,
    pub precision: Precision,
    /// Version of the worker.
    pub version: String,
}
