//! The same model in plain 32-bit arithmetic: slow, obvious, and what every faster path is compared with.

use crate::shape::{Activation, Block, Positions, Saturation, Shape, Sight};
use crate::tensors::{LayerPart, Part, Tensors};

/// The vocabulary ids whose largest logit over the tokens is above zero, with that logit, by ascending id.
pub fn embed<T: Tensors>(shape: &Shape, tensors: &T, ids: &[u32]) -> Result<Vec<(u32, f32)>, T::Error> {
    pooled(shape, tensors, ids, |logits| logits.fold(f32::MIN, f32::max))
}

/// The same with the sum over the tokens of what each logit above zero weighs.
pub fn sum<T: Tensors>(
    shape: &Shape,
    tensors: &T,
    ids: &[u32],
    saturation: Saturation,
) -> Result<Vec<(u32, f32)>, T::Error> {
    let weight = |logit: f32| match saturation {
        Saturation::Log => logit.max(0.0).ln_1p(),
        Saturation::DoubleLog => logit.max(0.0).ln_1p().ln_1p(),
    };
    pooled(shape, tensors, ids, |logits| logits.map(weight).sum())
}

fn pooled<T: Tensors>(
    shape: &Shape,
    tensors: &T,
    ids: &[u32],
    pool: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
) -> Result<Vec<(u32, f32)>, T::Error> {
    let reference = Reference { shape, tensors };
    let ids = &ids[..ids.len().min(shape.tokens())];
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut states = reference.embeddings(ids)?;
    // What each half of a layer adds to: what it reads, or the sum of all so far.
    let mut stream = states.clone();
    for (layer, sight) in shape.layers.iter().enumerate() {
        reference.layer(layer, *sight, &mut states, &mut stream)?;
    }
    reference.head(&states, pool)
}

type Rows = Vec<Vec<f32>>;

struct Reference<'a, T> {
    shape: &'a Shape,
    tensors: &'a T,
}

impl<T: Tensors> Reference<'_, T> {
    fn embeddings(&self, ids: &[u32]) -> Result<Rows, T::Error> {
        let &Shape { hidden, vocabulary, positions, .. } = self.shape;
        let words = self.tensors.read(Part::WordEmbeddings)?;
        let id = |id: &u32| usize::try_from(*id).map_or(vocabulary - 1, |id| id.min(vocabulary - 1));
        let mut rows: Rows = ids.iter().map(|text| words[id(text) * hidden..][..hidden].to_vec()).collect();
        if let Positions::Table { rows: _, offset, padding, token_types } = positions {
            let table = self.tensors.read(Part::PositionEmbeddings)?;
            let types =
                if token_types > 0 { Some(self.tensors.read(Part::TokenTypeEmbeddings)?) } else { None };
            let mut next = offset;
            for (row, token) in rows.iter_mut().zip(ids) {
                let place = padding.filter(|padding| *padding == id(token)).unwrap_or_else(|| {
                    next += 1;
                    next - 1
                });
                row.iter_mut().zip(&table[place * hidden..]).for_each(|(number, place)| *number += place);
                if let Some(types) = &types {
                    row.iter_mut().zip(types.iter()).for_each(|(number, first_type)| *number += first_type);
                }
            }
        }
        self.norm(&rows, Part::EmbeddingNormWeight, Part::EmbeddingNormBias)
    }

    fn layer(
        &self,
        index: usize,
        sight: Sight,
        states: &mut Rows,
        stream: &mut Rows,
    ) -> Result<(), T::Error> {
        use LayerPart as Is;
        let part = |part| Part::Layer(index, part);
        let mut queries = self.linear(states, part(Is::QueryWeight), part(Is::QueryBias))?;
        let mut keys = self.linear(states, part(Is::KeyWeight), part(Is::KeyBias))?;
        let values = self.linear(states, part(Is::ValueWeight), part(Is::ValueBias))?;
        if let Positions::Rotations { window: _, global_theta, local_theta } = self.shape.positions {
            let theta = match sight {
                Sight::Global => global_theta,
                Sight::Local { reach: _ } => local_theta,
            };
            rotate(&mut queries, self.shape.head(), theta);
            rotate(&mut keys, self.shape.head(), theta);
        }
        let context = self.attention(&queries, &keys, &values, sight);
        let output = self.linear(&context, part(Is::AttentionOutputWeight), part(Is::AttentionOutputBias))?;
        let norm = [part(Is::AttentionNormWeight), part(Is::AttentionNormBias)];
        self.go_on(&output, norm, states, stream)?;
        let mut wide = self.linear(states, part(Is::IntermediateWeight), part(Is::IntermediateBias))?;
        match self.shape.block {
            Block::NormAfter => activate(&mut wide, self.shape.activation),
            Block::NormBeforeGated => {
                let gates =
                    wide.iter_mut().map(|row| row.split_off(self.shape.intermediate)).collect::<Rows>();
                activate(&mut wide, self.shape.activation);
                for (row, gates) in wide.iter_mut().zip(gates) {
                    row.iter_mut().zip(gates).for_each(|(number, gate)| *number *= gate);
                }
            }
        }
        let output = self.linear(&wide, part(Is::OutputWeight), part(Is::OutputBias))?;
        self.go_on(&output, [part(Is::OutputNormWeight), part(Is::OutputNormBias)], states, stream)
    }

    /// Adds what half a layer gave, and normalises what the next half reads.
    fn go_on(
        &self,
        output: &Rows,
        [weight, bias]: [Part; 2],
        states: &mut Rows,
        stream: &mut Rows,
    ) -> Result<(), T::Error> {
        *stream = add(output, stream);
        *states = self.norm(stream, weight, bias)?;
        if self.shape.block == Block::NormAfter {
            stream.clone_from(states);
        }
        Ok(())
    }

    fn head(
        &self,
        states: &Rows,
        pool: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
    ) -> Result<Vec<(u32, f32)>, T::Error> {
        let mut states = self.linear(states, Part::TransformWeight, Part::TransformBias)?;
        activate(&mut states, self.shape.head_activation);
        let states = self.norm(&states, Part::TransformNormWeight, Part::TransformNormBias)?;
        let decoder = if self.tensors.is_tied() { Part::WordEmbeddings } else { Part::Decoder };
        let (decoder, biases) = (self.tensors.read(decoder)?, self.tensors.read(Part::DecoderBias)?);
        let mut found = Vec::new();
        for ((id, word), bias) in (0..).zip(decoder.chunks_exact(self.shape.hidden)).zip(biases.iter()) {
            let weight = pool(&mut states.iter().map(|state| inner(state, word) + bias));
            if weight > 0.0 && weight.is_finite() {
                found.push((id, weight));
            }
        }
        Ok(found)
    }

    fn linear(&self, rows: &Rows, weight: Part, bias: Part) -> Result<Rows, T::Error> {
        let (weights, biases) = (self.tensors.read(weight)?, self.tensors.read(bias)?);
        let width = rows.first().map_or(1, Vec::len);
        let outputs = |row: &Vec<f32>| {
            let columns = weights.chunks_exact(width).zip(biases.iter());
            columns.map(|(column, bias)| inner(row, column) + bias).collect()
        };
        Ok(rows.iter().map(outputs).collect())
    }

    fn attention(&self, queries: &Rows, keys: &Rows, values: &Rows, sight: Sight) -> Rows {
        let width = self.shape.head();
        let mut context = vec![vec![0.0; self.shape.hidden]; queries.len()];
        for start in (0..self.shape.hidden).step_by(width) {
            let head = start..start + width;
            for (place, (query, context)) in queries.iter().zip(&mut context).enumerate() {
                let seen = match sight {
                    Sight::Global => 0..keys.len(),
                    Sight::Local { reach } => place.saturating_sub(reach)..keys.len().min(place + reach + 1),
                };
                let (keys, values) = (&keys[seen.clone()], &values[seen]);
                let scores = keys.iter().map(|key| inner(&query[head.clone()], &key[head.clone()]));
                let scores: Vec<f32> = scores.map(|score| score / (width as f32).sqrt()).collect();
                let top = scores.iter().copied().fold(f32::MIN, f32::max);
                let powers: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
                let total: f32 = powers.iter().sum();
                for (power, value) in powers.iter().zip(values) {
                    for (to, from) in context[head.clone()].iter_mut().zip(&value[head.clone()]) {
                        *to += power / total * from;
                    }
                }
            }
        }
        context
    }

    fn norm(&self, rows: &Rows, weight: Part, bias: Part) -> Result<Rows, T::Error> {
        let (weights, biases) = (self.tensors.read(weight)?, self.tensors.read(bias)?);
        let columns = self.shape.hidden as f32;
        let norm = |row: &Vec<f32>| {
            let mean = row.iter().sum::<f32>() / columns;
            let variance = row.iter().map(|number| (number - mean).powi(2)).sum::<f32>() / columns;
            let inverse = (variance + self.shape.epsilon).sqrt().recip();
            let parts = row.iter().zip(weights.iter().zip(biases.iter()));
            parts.map(|(number, (weight, bias))| (number - mean) * inverse * weight + bias).collect()
        };
        Ok(rows.iter().map(norm).collect())
    }
}

/// Turns pairs of numbers, one of each half of a head, by an angle that grows with the place.
fn rotate(rows: &mut Rows, width: usize, theta: f32) {
    for (place, row) in rows.iter_mut().enumerate() {
        for head in row.chunks_exact_mut(width) {
            let (first, second) = head.split_at_mut(width / 2);
            for (pair, (a, b)) in first.iter_mut().zip(second).enumerate() {
                let angle = place as f32 * theta.powf((2 * pair) as f32 / width as f32).recip();
                let (sine, cosine) = angle.sin_cos();
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }
}

fn activate(rows: &mut Rows, activation: Activation) {
    for number in rows.iter_mut().flatten() {
        *number = match activation {
            Activation::Gelu => gelu(*number),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f32::consts::PI).sqrt() * (*number + 0.044_715 * number.powi(3));
                0.5 * *number * (1.0 + inner.tanh())
            }
            Activation::Relu => number.max(0.0),
        };
    }
}

/// `x (1 + erf(x / sqrt 2)) / 2`. The error function by its series where that converges fast, and by its continued
/// fraction beyond; both in double precision.
#[expect(clippy::cast_possible_truncation, reason = "back to the precision of the argument")]
fn gelu(number: f32) -> f32 {
    let x = f64::from(number) / std::f64::consts::SQRT_2;
    let size = x.abs();
    let tail = if size < 2.5 {
        let (mut term, mut series) = (size, size);
        for index in 1..60 {
            let index = f64::from(index);
            term *= -size * size / index;
            series += term / (2.0 * index + 1.0);
        }
        1.0 - series * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let fraction = (1..60).rev().fold(size, |rest, index| size + f64::from(index) / 2.0 / rest);
        (-size * size).exp() / fraction / std::f64::consts::PI.sqrt()
    };
    let share = if x < 0.0 { tail / 2.0 } else { 1.0 - tail / 2.0 };
    (f64::from(number) * share) as f32
}

fn add(left: &Rows, right: &Rows) -> Rows {
    let sums = |(left, right): (&Vec<f32>, &Vec<f32>)| left.iter().zip(right).map(|(l, r)| l + r).collect();
    left.iter().zip(right).map(sums).collect()
}

/// Eight running sums, so that a compiler may use vectors.
fn inner(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (left, left_rest) = left.as_chunks::<8>();
    let (right, right_rest) = right.as_chunks::<8>();
    for (left, right) in left.iter().zip(right) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += left * right;
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the normal distribution from tables.
    #[test]
    fn gelu_is_the_number_times_its_normal_probability() {
        for (number, expected) in
            [(0.0, 0.0), (1.0, 0.841_344_7), (-1.0, -0.158_655_26), (3.0, 2.995_950_3), (-4.0, -1.266_85e-4)]
        {
            assert!((gelu(number) - expected).abs() < 3e-7, "{number}");
        }
    }
}
