//! A sparse vector as people read it: token strings and weights, strongest first. Serialises as a JSON object whose
//! order is that order.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One entry: a vocabulary token (`.` already written as `__`) and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenWeight {
    pub token: String,
    pub weight: f32,
}

/// Weights are finite, above zero and descending; no token occurs twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseEmbedding {
    entries: Vec<TokenWeight>,
}

impl SparseEmbedding {
    /// From `(token id, token, weight)` in any order. Sorts by descending weight, equal weights by ascending token id;
    /// drops weights that are not above zero or not finite, and writes `.` as `__`, as Elasticsearch does.
    pub fn from_weights<'a>(weights: impl IntoIterator<Item = (u32, &'a str, f32)>) -> Self {
        let mut sorted: Vec<_> =
            weights.into_iter().filter(|(_, _, weight)| *weight > 0.0 && weight.is_finite()).collect();
        sorted.sort_unstable_by(|(left_id, _, left), (right_id, _, right)| {
            right.total_cmp(left).then(left_id.cmp(right_id))
        });
        // The rewriting of `.` can make two tokens equal; the stronger one stays, or the JSON would repeat a key.
        let mut seen = HashSet::with_capacity(sorted.len());
        let entries = sorted
            .into_iter()
            .map(|(_, token, weight)| TokenWeight { token: token.replace('.', "__"), weight })
            .filter(|entry| seen.insert(entry.token.clone()))
            .collect();
        Self { entries }
    }

    pub fn entries(&self) -> &[TokenWeight] {
        &self.entries
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn weight(&self, token: &str) -> Option<f32> {
        self.entries.iter().find(|entry| entry.token == token).map(|entry| entry.weight)
    }
}

impl Serialize for SparseEmbedding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for TokenWeight { token, weight } in &self.entries {
            map.serialize_entry(token, weight)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for SparseEmbedding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = SparseEmbedding;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tokens and weights above zero in descending order")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SparseEmbedding, A::Error> {
        let mut entries: Vec<TokenWeight> = Vec::with_capacity(map.size_hint().unwrap_or(256).min(4096));
        let mut seen = HashSet::new();
        while let Some((token, weight)) = map.next_entry::<String, f32>()? {
            if !(weight > 0.0 && weight.is_finite()) {
                return Err(A::Error::custom(format!(
                    "weight {weight} of token {token:?} is not above zero"
                )));
            }
            if entries.last().is_some_and(|previous| previous.weight < weight) {
                return Err(A::Error::custom(format!(
                    "weight of token {token:?} is above its predecessor's"
                )));
            }
            if !seen.insert(token.clone()) {
                return Err(A::Error::custom(format!("token {token:?} occurs twice")));
            }
            entries.push(TokenWeight { token, weight });
        }
        Ok(SparseEmbedding { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strongest_first_and_ties_by_token_id() {
        let embedding = SparseEmbedding::from_weights([
            (7, "seven", 0.5),
            (3, "three", 0.5),
            (1, "one", 2.0),
            (9, "none", 0.0),
            (2, "negative", -1.0),
            (4, "nan", f32::NAN),
        ]);
        assert_eq!(serde_json::to_string(&embedding).unwrap(), r#"{"one":2.0,"three":0.5,"seven":0.5}"#);
    }

    #[test]
    fn a_full_stop_becomes_two_underscores_and_never_a_second_key() {
        let embedding = SparseEmbedding::from_weights([(1, ".", 1.0), (2, "__", 2.0), (3, "a.b", 0.25)]);
        assert_eq!(serde_json::to_string(&embedding).unwrap(), r#"{"__":2.0,"a__b":0.25}"#);
    }

    /// Clients compare weights as text; a detour through f64 would print 0.10000000149011612.
    #[test]
    fn weights_are_written_in_the_shortest_form_of_f32() {
        let embedding = SparseEmbedding::from_weights([(1, "a", 0.1), (2, "b", 1.234_567_9), (3, "c", 1e-7)]);
        let json = serde_json::to_string(&embedding).unwrap();
        assert_eq!(json, r#"{"b":1.2345679,"a":0.1,"c":1e-7}"#);
        assert_eq!(serde_json::from_str::<SparseEmbedding>(&json).unwrap(), embedding);
    }

    #[test]
    fn reading_holds_the_same_rules_as_building() {
        for json in [r#"{"a":1.0,"b":2.0}"#, r#"{"a":0.0}"#, r#"{"a":-1.0}"#, r#"{"a":1.0,"a":0.5}"#, "[]"] {
            assert!(serde_json::from_str::<SparseEmbedding>(json).is_err(), "{json}");
        }
    }
}
