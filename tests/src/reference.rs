//! The vectors that transformers gave for the demo model, made once by `tests/assets/reference_vectors.py`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use lexiscale_crds::ServedPrecision;
use serde_json::Value;

use crate::repository;

/// Weights below this are noise that fp32 implementations may differ in.
const NOISE: f64 = 1e-3;
/// How far a weight may be from the reference.
const TOLERANCE: f64 = 1e-4;
/// How near a vector in 8-bit integers must be to that in single precision. The worker's own tests hold its mean to more.
const NEAR: f64 = 0.99;

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
    references_of(&repository().join("tests/assets/reference_vectors.json"))
}

/// All reference vectors of a file.
pub fn references_of(path: &Path) -> Result<Vec<Reference>> {
    let file: Value = serde_json::from_str(&fs_err::read_to_string(path)?)?;
    serde_json::from_value(file["texts"].clone()).context("failed to read the reference vectors")
}

impl Reference {
    /// What is given out of it where weights below `least`, or below a share of the largest, are left out.
    #[must_use]
    pub fn pruned(mut self, least: f64, share: f64) -> Self {
        let largest = self.weights.values().copied().fold(0.0, f64::max);
        self.weights.retain(|_, weight| *weight >= least.max(share * largest));
        self
    }

    /// Requires that an embedding of the API is this vector as this precision gives it. In single precision: within 1e-4 for each
    /// weight, the same tokens above 1e-3. In 8-bit integers: a cosine above 0.99.
    pub fn check(&self, embedding: &Value, precision: Option<ServedPrecision>) -> Result<()> {
        match precision.context("no precision is told")? {
            ServedPrecision::Fp32 => self.check_exactly(embedding),
            ServedPrecision::Int8 => self.check_nearly(embedding),
        }
    }

    fn check_nearly(&self, embedding: &Value) -> Result<()> {
        let embedding = embedding.as_object().context("the embedding is no object")?;
        if self.weights.is_empty() {
            ensure!(embedding.is_empty(), "{:?} has no weights, but here {embedding:?}", self.text);
            return Ok(());
        }
        let (mut product, mut length) = (0.0, 0.0);
        for (token, weight) in embedding {
            let weight = weight.as_f64().context("a weight is no number")?;
            let expected = self.weights.get(&token.replace("__", ".")).or_else(|| self.weights.get(token));
            product += weight * expected.copied().unwrap_or_default();
            length += weight * weight;
        }
        let expected: f64 = self.weights.values().map(|weight| weight * weight).sum();
        let cosine = product / (length * expected).sqrt();
        ensure!(cosine > NEAR, "{:?}: cosine {cosine}", self.text);
        Ok(())
    }

    fn check_exactly(&self, embedding: &Value) -> Result<()> {
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
