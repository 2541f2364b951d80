//! Queries of models that need no inference for them: each token of the text has its weight in a table. PURE.

use lexiscale_wire::InputType;

use crate::pooling::SparseRow;

/// Weights by token id, as the model's folder has them. Those of special tokens, and of others that do not count, are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticSearch {
    weights: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum TableError {
    #[error(
        "the table of query weights has {found} bytes, but a vocabulary of {vocabulary} tokens takes {expected}"
    )]
    Size { found: usize, expected: usize, vocabulary: usize },
    #[error("the query weight of token {id} is {weight}, but must be a number of 0 or more")]
    Weight { id: usize, weight: f32 },
}

impl StaticSearch {
    /// `table` is an `f32` for each token, little-endian.
    pub fn parse(table: &[u8], vocabulary: usize) -> Result<Self, TableError> {
        let expected = vocabulary.saturating_mul(size_of::<f32>());
        if table.len() != expected {
            return Err(TableError::Size { found: table.len(), expected, vocabulary });
        }
        let (numbers, _) = table.as_chunks();
        let weights: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let is_wrong = |weight: &f32| !(*weight >= 0.0 && weight.is_finite());
        match weights.iter().position(is_wrong) {
            Some(id) => Err(TableError::Weight { id, weight: weights[id] }),
            None => Ok(Self { weights }),
        }
    }

    /// Whether it answers such a request.
    pub fn answers(&self, input_type: Option<InputType>) -> bool {
        input_type == Some(InputType::Search)
    }

    /// The vector of a text with these tokens. One that occurs twice counts once.
    pub fn row(&self, ids: &[u32]) -> SparseRow {
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        let weight = |id: u32| self.weights.get(usize::try_from(id).ok()?).copied();
        SparseRow::from_entries(unique.into_iter().filter_map(|id| Some((id, weight(id)?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(weights: &[f32]) -> Vec<u8> {
        weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
    }

    #[test]
    fn a_token_counts_once_and_what_weighs_nothing_not_at_all() {
        let search = StaticSearch::parse(&table(&[0.0, 2.5, 1.0, 4.0]), 4).unwrap();
        assert_eq!(search.row(&[2, 1, 2, 0, 9]).entries(), [(1, 2.5), (2, 1.0)]);
        assert_eq!(search.row(&[]), SparseRow::default());
    }

    #[test]
    fn only_searches_are_answered_by_it() {
        let search = StaticSearch::parse(&[], 0).unwrap();
        let answered =
            [Some(InputType::Search), Some(InputType::Ingest), None].map(|kind| search.answers(kind));
        assert_eq!(answered, [true, false, false]);
    }

    #[test]
    fn a_table_that_is_not_of_this_vocabulary_is_refused() {
        let size = StaticSearch::parse(&[0; 12], 4).unwrap_err().to_string();
        assert!(size.contains("12 bytes, but a vocabulary of 4 tokens takes 16"), "{size}");
        for weight in [-1.0, f32::NAN, f32::INFINITY] {
            let error = StaticSearch::parse(&table(&[0.0, weight]), 2).unwrap_err();
            assert!(error.to_string().contains("token 1"), "{error}");
        }
    }
}
