//! From a model's output to a sparse row. PURE.

use lexiscale_wire::Pruning;

use crate::model::saturation::{Pooling, Reduction};

/// Token ids and weights above zero, strongest first, equal weights by ascending id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseRow {
    entries: Vec<(u32, f32)>,
}

impl SparseRow {
    /// From one weight for each vocabulary entry. What is not a number is no weight.
    pub fn from_dense(weights: &[f32]) -> Self {
        // Most are zero: they are left out before anything is made of the rest.
        let above_zero = (0_u32..).zip(weights).filter(|(_, weight)| **weight > 0.0);
        Self::from_entries(above_zero.map(|(id, weight)| (id, *weight)).collect())
    }

    /// From weights by id in whatever order, no id twice. What is not above zero or not finite is left out.
    pub fn from_entries(mut entries: Vec<(u32, f32)>) -> Self {
        entries.retain(|(_, weight)| *weight > 0.0 && weight.is_finite());
        strongest_first(&mut entries);
        Self { entries }
    }

    /// From the logits of each token, for models whose graph does not pool: `logits` is `[tokens, vocabulary]`, and only
    /// the first `tokens` rows count.
    pub fn from_logits(logits: &[f32], vocabulary_size: usize, tokens: usize, pooling: Pooling) -> Self {
        let Pooling { reduction, saturation } = pooling;
        let rows = logits.chunks_exact(vocabulary_size).take(tokens);
        let weights = match reduction {
            Reduction::Max => {
                let mut strongest = vec![f32::NEG_INFINITY; vocabulary_size];
                for row in rows {
                    for (maximum, logit) in strongest.iter_mut().zip(row) {
                        *maximum = maximum.max(*logit);
                    }
                }
                strongest.into_iter().map(|logit| saturation.apply(logit)).collect()
            }
            Reduction::Sum => {
                let mut sums = vec![0.0; vocabulary_size];
                for row in rows {
                    for (sum, logit) in sums.iter_mut().zip(row) {
                        *sum += saturation.apply(*logit);
                    }
                }
                sums
            }
        };
        Self::from_dense(&weights)
    }

    pub fn entries(&self) -> &[(u32, f32)] {
        &self.entries
    }

    /// With as many of its weights as `pruning` gives out.
    #[must_use]
    pub fn pruned(mut self, pruning: Pruning) -> Self {
        self.entries.truncate(pruning.kept(&self.entries));
        self
    }
}

fn strongest_first(entries: &mut [(u32, f32)]) {
    entries.sort_unstable_by(|(left_id, left), (right_id, right)| {
        right.total_cmp(left).then(left_id.cmp(right_id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strongest_first_and_nothing_at_or_below_zero() {
        let row = SparseRow::from_dense(&[0.0, 1.0, -2.0, 3.0, 1.0, f32::NAN, f32::INFINITY]);
        assert_eq!(row.entries(), [(3, 3.0), (1, 1.0), (4, 1.0)]);
    }

    /// A padded position has some logits as well; counted, they would make the vector depend on the batch.
    #[test]
    fn padding_takes_no_part_in_the_maximum() {
        let logits = [1.0, -1.0, 0.5, 2.0, 99.0, 99.0];
        let row = SparseRow::from_logits(&logits, 2, 2, Pooling::default());
        assert_eq!(row.entries(), [(1, 2.0_f32.ln_1p()), (0, 1.0_f32.ln_1p())]);
    }

    /// The logarithm of a sum is not the sum of logarithms.
    #[test]
    fn a_sum_adds_what_each_token_weighs() {
        let logits = [1.0, -1.0, 0.5, 2.0, 99.0, 99.0];
        let pooling = Pooling { reduction: Reduction::Sum, ..Pooling::default() };
        let row = SparseRow::from_logits(&logits, 2, 2, pooling);
        assert_eq!(row.entries(), [(0, 1.0_f32.ln_1p() + 0.5_f32.ln_1p()), (1, 2.0_f32.ln_1p())]);
    }

    #[test]
    fn no_tokens_have_no_weights() {
        assert_eq!(SparseRow::from_logits(&[], 4, 0, Pooling::default()), SparseRow::default());
    }
}
