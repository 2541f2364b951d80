//! From a model's output to a sparse row. PURE.

use crate::model::saturation::Saturation;

/// Token ids and weights above zero, strongest first, equal weights by ascending id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseRow {
    entries: Vec<(u32, f32)>,
}

impl SparseRow {
    /// From one weight for each vocabulary entry. What is not a number is no weight.
    pub fn from_dense(weights: &[f32]) -> Self {
        let mut entries: Vec<(u32, f32)> = (0_u32..)
            .zip(weights)
            .filter(|(_, weight)| **weight > 0.0 && weight.is_finite())
            .map(|(id, weight)| (id, *weight))
            .collect();
        strongest_first(&mut entries);
        Self { entries }
    }

    /// From the logits of each token, for models whose graph does not pool: `logits` is `[tokens, vocabulary]`, and only
    /// the first `tokens` rows count.
    pub fn from_logits(
        logits: &[f32],
        vocabulary_size: usize,
        tokens: usize,
        saturation: Saturation,
    ) -> Self {
        let mut strongest = vec![f32::NEG_INFINITY; vocabulary_size];
        for row in logits.chunks_exact(vocabulary_size).take(tokens) {
            for (maximum, logit) in strongest.iter_mut().zip(row) {
                *maximum = maximum.max(*logit);
            }
        }
        for weight in &mut strongest {
            *weight = saturation.apply(*weight);
        }
        Self::from_dense(&strongest)
    }

    /// From the strongest logit of each vocabulary entry that has one above zero.
    pub fn from_strongest(strongest: Vec<(u32, f32)>, saturation: Saturation) -> Self {
        let mut entries = strongest;
        for (_, value) in &mut entries {
            *value = saturation.apply(*value);
        }
        entries.retain(|(_, weight)| *weight > 0.0 && weight.is_finite());
        strongest_first(&mut entries);
        Self { entries }
    }

    pub fn entries(&self) -> &[(u32, f32)] {
        &self.entries
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
        let row = SparseRow::from_logits(&logits, 2, 2, Saturation::Log);
        assert_eq!(row.entries(), [(1, 2.0_f32.ln_1p()), (0, 1.0_f32.ln_1p())]);
    }

    #[test]
    fn the_strongest_logits_alone_give_the_same_row() {
        let logits = [1.0, -1.0, 0.5, 2.0];
        for saturation in [Saturation::Log, Saturation::DoubleLog] {
            let row = SparseRow::from_strongest(vec![(0, 1.0), (1, 2.0)], saturation);
            assert_eq!(row, SparseRow::from_logits(&logits, 2, 2, saturation));
        }
    }

    #[test]
    fn no_tokens_have_no_weights() {
        assert_eq!(SparseRow::from_logits(&[], 4, 0, Saturation::Log), SparseRow::default());
    }
}
