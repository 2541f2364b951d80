//! The arithmetic of the plain implementation: written to be seen to be right. PURE.

/// Rows of equal width, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub(super) width: usize,
    pub(super) values: Vec<f32>,
}

impl Matrix {
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    pub(super) fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    pub(super) fn each_row(&mut self, change: impl FnMut(&mut [f32])) {
        self.values.chunks_exact_mut(self.width).for_each(change);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (value, other) in self.values.iter_mut().zip(&other.values) {
            *value += other;
        }
    }
}

/// A linear layer as checkpoints have it: a row for each output.
pub(super) struct Linear {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
}

impl Linear {
    pub(super) fn apply(&self, input: &Matrix) -> Matrix {
        let width = self.weight.len() / input.width;
        let mut values = Vec::with_capacity(input.values.len() / input.width * width);
        for row in input.rows() {
            let products = self.weight.chunks_exact(input.width).map(|weights| dot(weights, row));
            match &self.bias {
                Some(bias) => values.extend(products.zip(bias).map(|(product, bias)| product + bias)),
                None => values.extend(products),
            }
        }
        Matrix { width, values }
    }
}

/// In sixteen sums side by side, which the compiler turns into vector instructions.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left_blocks, left_rest) = left.as_chunks::<16>();
    let (right_blocks, right_rest) = right.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for (left, right) in left_blocks.iter().zip(right_blocks) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + rest
}

pub(super) fn layer_norm(row: &mut [f32], scale: &[f32], bias: Option<&[f32]>, epsilon: f32) {
    let count = row.len() as f64;
    let mean = row.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let variance = row.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
    let shrink = (variance + f64::from(epsilon)).sqrt().recip();
    for (index, value) in row.iter_mut().enumerate() {
        let normed = (f64::from(*value) - mean) * shrink * f64::from(scale[index]);
        let shifted = normed + bias.map_or(0.0, |bias| f64::from(bias[index]));
        *value = narrow(shifted);
    }
}

pub(super) fn soft_max(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = (*score - highest).exp();
    }
    let sum: f32 = scores.iter().sum();
    for score in scores {
        *score /= sum;
    }
}

pub(super) fn gelu(value: f32) -> f32 {
    let value = f64::from(value);
    narrow(0.5 * value * (1.0 + erf(value / std::f64::consts::SQRT_2)))
}

pub(super) fn gelu_tanh(value: f32) -> f32 {
    let value = f64::from(value);
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (value + 0.044_715 * value.powi(3));
    narrow(0.5 * value * (1.0 + inner.tanh()))
}

/// By the series whose terms all have one sign, so that nothing cancels.
fn erf(value: f64) -> f64 {
    let square = value * value;
    // Beyond, the difference to one is below what f64 can say.
    if square > 36.0 {
        return value.signum();
    }
    let (mut term, mut sum, mut odd) = (value, value, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        odd += 2.0;
        term *= 2.0 * square / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-square).exp() * sum
}

#[expect(clippy::cast_possible_truncation, reason = "the models compute in f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        for (value, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (3.0, 0.999_977_909_503_001_4),
        ] {
            assert!((erf(value) - expected).abs() < 1e-14, "{value}");
            assert!((erf(-value) + expected).abs() < 1e-14, "{value}");
        }
        assert!((erf(7.0) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_linear_layer_multiplies_and_adds() {
        let linear = Linear { weight: (0..34_u8).map(f32::from).collect(), bias: Some(vec![1.0, -1.0]) };
        let input = Matrix { width: 17, values: vec![1.0; 17] };
        let expected = Matrix { width: 2, values: vec![137.0, 424.0] };
        assert_eq!(linear.apply(&input), expected);
    }

    #[test]
    fn norms_and_shares_are_what_they_are_called() {
        let mut row = [1.0, 3.0];
        layer_norm(&mut row, &[2.0, 2.0], Some(&[0.0, 1.0]), 0.0);
        assert_eq!(row.map(f32::to_bits), [-2.0_f32, 3.0].map(f32::to_bits));
        let mut shares = [0.0, 0.0, f32::NEG_INFINITY];
        soft_max(&mut shares);
        assert_eq!(shares.map(f32::to_bits), [0.5_f32, 0.5, 0.0].map(f32::to_bits));
    }
}
