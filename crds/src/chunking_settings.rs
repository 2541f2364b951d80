//! `spec.chunkingSettings`: how long texts are cut.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// How long texts are cut into chunks, each of which is embedded on its own.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::max_chunk_size_of_sentence(),
    validation = rules::chunk_key_of_word(),
    validation = rules::overlap_at_most_half(),
    validation = rules::chunk_key_of_sentence(),
    validation = rules::chunk_key_of_recursive("separatorGroup"),
    validation = rules::chunk_key_of_recursive("separators"),
    validation = rules::separators_given_once(),
    validation = rules::none_has_no_chunk_size(),
)]
pub struct ChunkingSettings {
    /// Where texts are cut: `sentence` (the default), `word`, `recursive` (by a list of separators, coarsest first) or
    /// `none` (never).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ChunkingStrategy")]
    pub strategy: Option<ChunkingStrategy>,

    /// Most words of a chunk: at most 300; at least 20 for `sentence`, at least 10 for `word` and `recursive`. Defaults to 250.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 300))]
    pub max_chunk_size: Option<i32>,

    /// Words that neighbouring chunks share, for `word` only: from 1 to half of `maxChunkSize`. Defaults to 100, or to half of
    /// `maxChunkSize` if that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub overlap: Option<i32>,

    /// Sentences that neighbouring chunks share, for `sentence` only: 0 or 1. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub sentence_overlap: Option<i32>,

    /// A named list of separators, for `recursive` only: `markdown` or `plaintext`. Defaults to `plaintext`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SeparatorGroup")]
    pub separator_group: Option<SeparatorGroup>,

    /// Own separators, for `recursive` only and instead of `separatorGroup`: 1 to 50 regular expressions, coarsest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), inner(length(max = 1024)))]
    pub separators: Option<Vec<String>>,
}

/// Where texts are cut.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkingStrategy {
    /// Between sentences.
    #[default]
    Sentence,
    /// Between words.
    Word,
    /// At separators, coarsest first.
    Recursive,
    /// Nowhere.
    None,
}

/// A named list of separators.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeparatorGroup {
    /// Headings, by level.
    Markdown,
    /// Blank lines, then line ends.
    Plaintext,
}
