//! What a request may ask for beside its texts. Each part may be absent, and numbers that cannot be are refused when they are
//! read.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Which weights of a vector are given out; all of them, unless something else is said. A weight must pass every bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pruning {
    /// So many of the largest weights, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<NonZeroU32>,
    /// Weights of at least this share of the vector's largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ratio: Option<MaxRatio>,
    /// Weights of at least this much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_weight: Option<MinWeight>,
}

impl Pruning {
    /// Part by part: its own, else that of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let Self { top_k, max_ratio, min_weight } = self;
        Self {
            top_k: top_k.or(other.top_k),
            max_ratio: max_ratio.or(other.max_ratio),
            min_weight: min_weight.or(other.min_weight),
        }
    }

    /// How many of these weights are given out. They descend, so it is the first ones.
    pub fn kept(self, descending: &[(u32, f32)]) -> usize {
        let Self { top_k, max_ratio, min_weight } = self;
        let largest = descending.first().map_or(0.0, |(_, weight)| *weight);
        let by_ratio = max_ratio.map_or(0.0, |MaxRatio(ratio)| ratio * largest);
        let least = min_weight.map_or(0.0, |MinWeight(weight)| weight).max(by_ratio);
        let strong = descending.partition_point(|(_, weight)| *weight >= least);
        top_k.map_or(strong, |most| strong.min(usize::try_from(most.get()).unwrap_or(usize::MAX)))
    }
}

/// A share, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f32")]
pub struct MaxRatio(f32);

/// A weight, 0 or more.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f32")]
pub struct MinWeight(f32);

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum OutOfBounds {
    #[error("max_ratio is {0}, but must be from 0 to 1")]
    MaxRatio(f32),
    #[error("min_weight is {0}, but must be 0 or more")]
    MinWeight(f32),
}

impl TryFrom<f32> for MaxRatio {
    type Error = OutOfBounds;

    fn try_from(ratio: f32) -> Result<Self, OutOfBounds> {
        if (0.0..=1.0).contains(&ratio) { Ok(Self(ratio)) } else { Err(OutOfBounds::MaxRatio(ratio)) }
    }
}

impl TryFrom<f32> for MinWeight {
    type Error = OutOfBounds;

    fn try_from(weight: f32) -> Result<Self, OutOfBounds> {
        if weight >= 0.0 && weight.is_finite() {
            Ok(Self(weight))
        } else {
            Err(OutOfBounds::MinWeight(weight))
        }
    }
}

/// A number that an f32 does not hold becomes infinite, and is refused with the bound like any other.
#[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
impl TryFrom<f64> for MaxRatio {
    type Error = OutOfBounds;

    fn try_from(ratio: f64) -> Result<Self, OutOfBounds> {
        Self::try_from(ratio as f32)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
impl TryFrom<f64> for MinWeight {
    type Error = OutOfBounds;

    fn try_from(weight: f64) -> Result<Self, OutOfBounds> {
        Self::try_from(weight as f32)
    }
}

impl From<MaxRatio> for f32 {
    fn from(MaxRatio(ratio): MaxRatio) -> Self {
        ratio
    }
}

impl From<MinWeight> for f32 {
    fn from(MinWeight(weight): MinWeight) -> Self {
        weight
    }
}

/// Which end of a text that is longer than the model's window is cut off, as Text Embeddings Inference names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TruncationDirection {
    /// The beginning.
    #[serde(alias = "left")]
    Left,
    /// The end.
    #[default]
    #[serde(alias = "right")]
    Right,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `{"token": weight}`, largest weight first: Elasticsearch, OpenSearch.
    Tokens,
    /// `[{"index": id, "value": weight}]` by ascending id: Text Embeddings Inference.
    Pairs,
    /// `{"indices": [id], "values": [weight]}` by ascending id: Qdrant, Pinecone, Milvus.
    Arrays,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Options {
    #[serde(flatten)]
    pub pruning: Pruning,
    /// Whether a text beyond the model's window is cut; refused otherwise. Absent means true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncation_direction: Option<TruncationDirection>,
    /// One of the model's own prompts, which goes before each text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: [(u32, f32); 4] = [(9, 2.0), (3, 1.0), (5, 1.0), (7, 0.25)];

    fn kept(json: &str) -> usize {
        serde_json::from_str::<Pruning>(json).unwrap().kept(&ROW)
    }

    #[test]
    fn a_weight_must_pass_every_bound() {
        for (json, expected) in [
            ("{}", 4),
            (r#"{"top_k":2}"#, 2),
            (r#"{"top_k":9}"#, 4),
            (r#"{"max_ratio":0.5}"#, 3),
            (r#"{"max_ratio":1}"#, 1),
            (r#"{"max_ratio":0}"#, 4),
            (r#"{"min_weight":1.5}"#, 1),
            (r#"{"min_weight":3}"#, 0),
            (r#"{"top_k":3,"max_ratio":0.5,"min_weight":1.0}"#, 3),
            (r#"{"top_k":1,"max_ratio":0.1}"#, 1),
            (r#"{"top_k":null,"max_ratio":null,"min_weight":null}"#, 4),
        ] {
            assert_eq!(kept(json), expected, "{json}");
        }
        assert_eq!(Pruning::default().kept(&[]), 0);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_bound() {
        for (json, part) in [
            (r#"{"top_k":0}"#, "nonzero"),
            (r#"{"top_k":-1}"#, "-1"),
            (r#"{"top_k":1.5}"#, "1.5"),
            (r#"{"max_ratio":1.5}"#, "max_ratio is 1.5, but must be from 0 to 1"),
            (r#"{"max_ratio":-0.5}"#, "max_ratio is -0.5"),
            (r#"{"min_weight":-1}"#, "min_weight is -1, but must be 0 or more"),
            (r#"{"min_weight":1e39}"#, "min_weight is inf"),
            (r#"{"topK":1}"#, "unknown field `topK`"),
        ] {
            let error = serde_json::from_str::<Pruning>(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    /// A request that wants fewer terms must not lose the endpoint's floor with it.
    #[test]
    fn a_request_overrides_an_endpoint_part_by_part() {
        let of = |json: &str| serde_json::from_str::<Pruning>(json).unwrap();
        let endpoint = of(r#"{"top_k":100,"min_weight":0.5}"#);
        assert_eq!(of(r#"{"top_k":7}"#).or(endpoint), of(r#"{"top_k":7,"min_weight":0.5}"#));
        assert_eq!(Pruning::default().or(endpoint), endpoint);
    }

    #[test]
    fn only_what_is_asked_for_is_written() {
        assert_eq!(serde_json::to_string(&Options::default()).unwrap(), "{}");
        let options = Options {
            pruning: serde_json::from_str(r#"{"top_k":7,"max_ratio":0.1}"#).unwrap(),
            truncate: Some(false),
            truncation_direction: Some(TruncationDirection::Left),
            prompt_name: Some("query".to_owned()),
            format: Some(Format::Arrays),
        };
        assert_eq!(
            serde_json::to_string(&options).unwrap(),
            r#"{"top_k":7,"max_ratio":0.1,"truncate":false,"truncation_direction":"Left","prompt_name":"query","format":"arrays"}"#
        );
    }
}
