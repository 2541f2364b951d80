//! The vectors that transformers gave for the demo model, made once by `tests/assets/reference_vectors.py`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::repository;

/// Weights below this are noise that fp32 implementations may differ in.
const NOISE: f64 = 1e-3;
/// How far a weight may be from the reference.
const TOLERANCE: f64 = 1e-4;

/// A text and its vector, by token.
#[derive(Debug, serde::Deserialize)]
pub struct Reference {
    /// The text.
    pub text: String,
    /// Its weights above 1e-3.
    pub weights: BTreeMap<String, f64>,
}

/// All reference vectors of the demo model.
pub fn references() -> Result<Vec<Reference>> {
    let path = repository().join("tests/assets/reference_vectors.json");
    let file: Value = serde_json::from_str(&fs_err::read_to_string(path)?)?;
    serde_json::from_value(file["texts"].clone()).context("failed to read the reference vectors")
}

impl Reference {
    /// Requires that an embedding of the API is this vector: within 1e-4 for each weight, the same tokens above 1e-3.
    pub fn check(&self, embedding: &Value) -> Result<()> {
        let embedding = embedding.as_object().context("the embedding is no object")?;
        for (token, weight) in embedding {
            let weight = weight.as_f64().context("a weight is no number")?;
            match self.weights.get(&token.replace("__", ".")).or_else(|| self.weights.get(token)) {
                Some(expected) => ensure!(
                    (weight - expected).abs() <= TOLERANCE,
                    "{:?}: {token} is {weight}, not {expected}",
                    self.text
                ),
                None => ensure!(
                    weight < NOISE + TOLERANCE,
                    "{:?}: {token} with {weight} is not in the reference",
                    self.text
                ),
            }
        }
        for (token, expected) in &self.weights {
            let there = embedding.contains_key(token) || embedding.contains_key(&token.replace('.', "__"));
            ensure!(
                there || *expected < NOISE + TOLERANCE,
                "{:?}: {token} with {expected} is missing",
                self.text
            );
        }
        Ok(())
    }
}
