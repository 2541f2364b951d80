//! Reference vectors, as `tests/assets/reference_vectors.py` wrote them.

use std::collections::BTreeMap;
use std::path::Path;

use lexiscale_wire::SparseEmbedding;
use serde::Deserialize;

/// The agreed tolerance for each weight.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
pub(crate) struct Reference {
    pub(crate) smallest_weight: f32,
    pub(crate) texts: Vec<ReferenceText>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct ReferenceText {
    pub(crate) text: String,
    pub(crate) is_truncated: bool,
    pub(crate) ids: Vec<u32>,
    weights: BTreeMap<String, f32>,
}

impl Reference {
    pub(crate) fn read(path: &Path) -> Self {
        serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
    }

    pub(crate) fn demo() -> Self {
        Self::read(&super::models::repository().join("tests/assets/reference_vectors.json"))
    }

    /// Same tokens above the smallest weight, and each weight within the tolerance.
    pub(crate) fn compare(&self, expected: &ReferenceText, found: &SparseEmbedding) {
        let found: BTreeMap<String, f32> = found
            .entries()
            .iter()
            .filter(|entry| entry.weight > self.smallest_weight)
            .map(|entry| (entry.token.clone(), entry.weight))
            .collect();
        // The answer writes a full stop as Elasticsearch wants it.
        let expected_weights: BTreeMap<String, f32> =
            expected.weights.iter().map(|(token, weight)| (token.replace('.', "__"), *weight)).collect();
        let tokens = |weights: &BTreeMap<String, f32>| weights.keys().cloned().collect::<Vec<_>>();
        assert_eq!(tokens(&found), tokens(&expected_weights), "tokens of {:?}", expected.text);
        for (token, weight) in expected_weights {
            let difference = (found[&token] - weight).abs();
            assert!(difference <= TOLERANCE, "{token} of {:?} is off by {difference}", expected.text);
        }
    }
}
