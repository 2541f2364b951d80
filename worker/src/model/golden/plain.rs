//! The models once more, in plain Rust from the checkpoint's own tensors: one text at a time, no padding, no graph, nothing
//! rearranged. Slow, and not shared with what it judges.

mod bert;
mod modernbert;

use crate::model::config::{Activation, Decoder, ModelConfig};
use crate::model::saturation::{Pooling, Reduction};
use crate::model::weights::{Weights, WeightsError};
use crate::pooling::SparseRow;
use crate::tokenize::Tokens;

use super::numbers::{Linear, Matrix, dot, gelu, gelu_tanh, layer_norm, soft_max};

pub(super) struct Plain<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) weights: &'a Weights,
    pub(super) pooling: Pooling,
}

/// States of each text, a row for each token.
type States = Vec<Matrix>;

/// What the vocabulary product is made of.
struct Product {
    matrix: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Plain<'_> {
    /// Multiply-adds for each token, roughly.
    pub(super) fn cost_of_token(&self) -> u64 {
        let &ModelConfig { hidden_size, intermediate_size, layers, vocabulary_size, .. } = self.config;
        let wide = if self.config.modern.is_some() { 3 } else { 2 } * intermediate_size;
        let layer = hidden_size * (4 * hidden_size + wide);
        (layers * layer + hidden_size * (hidden_size + vocabulary_size)) as u64
    }

    pub(super) fn rows(&self, texts: &[Tokens]) -> Result<Vec<SparseRow>, WeightsError> {
        let (states, product) = match &self.config.modern {
            Some(modern) => modernbert::states(self, modern, texts)?,
            None => bert::states(self, texts)?,
        };
        Ok(states.iter().map(|states| self.pooled(states, &product)).collect())
    }

    fn pooled(&self, states: &Matrix, product: &Product) -> SparseRow {
        let weigh = |weights: &[f32], bias: f32| {
            let logits = states.rows().map(|state| dot(weights, state) + bias);
            let weights = logits.map(|logit| self.pooling.saturation.apply(logit));
            match self.pooling.reduction {
                Reduction::Max => weights.fold(0.0, f32::max),
                Reduction::Sum => weights.sum(),
            }
        };
        let row: Vec<f32> = product
            .matrix
            .chunks_exact(self.config.hidden_size)
            .enumerate()
            .map(|(token, weights)| weigh(weights, product.bias.as_ref().map_or(0.0, |bias| bias[token])))
            .collect();
        SparseRow::from_dense(&row)
    }

    fn linear(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Linear, WeightsError> {
        let weight = self.weights.read(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = has_bias.then(|| self.weights.read(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Linear { weight, bias })
    }

    fn norm(&self, states: &mut States, name: &str, has_bias: bool) -> Result<(), WeightsError> {
        let size = [self.config.hidden_size];
        let scale = self.weights.read(&format!("{name}.weight"), &size)?;
        let bias = has_bias.then(|| self.weights.read(&format!("{name}.bias"), &size)).transpose()?;
        let epsilon = self.config.layer_norm_epsilon;
        for text in states {
            text.each_row(|row| layer_norm(row, &scale, bias.as_deref(), epsilon));
        }
        Ok(())
    }

    /// The product's matrix: that of the words, or one of its own.
    fn matrix(&self, words: Vec<f32>, own: &str) -> Result<Vec<f32>, WeightsError> {
        let &ModelConfig { vocabulary_size, hidden_size, decoder, .. } = self.config;
        match decoder {
            Decoder::Tied => Ok(words),
            Decoder::Own => self.weights.read(own, &[vocabulary_size, hidden_size]),
        }
    }

    /// Each token's mixture of the values of those that it looks at.
    fn attended(
        &self,
        query: &Matrix,
        key: &Matrix,
        value: &Matrix,
        sees: impl Fn(usize, usize) -> bool,
    ) -> Matrix {
        let (size, length) = (self.config.head_size(), query.values.len() / query.width);
        let scale = (size as f32).sqrt().recip();
        let mut output = Matrix { width: query.width, values: vec![0.0; query.values.len()] };
        for head in (0..query.width).step_by(size) {
            let part = head..head + size;
            for token in 0..length {
                let score = |other: usize| {
                    if sees(token, other) {
                        dot(&query.row(token)[part.clone()], &key.row(other)[part.clone()]) * scale
                    } else {
                        f32::NEG_INFINITY
                    }
                };
                let mut shares: Vec<f32> = (0..length).map(score).collect();
                soft_max(&mut shares);
                let start = token * query.width;
                let target = &mut output.values[start + part.start..start + part.end];
                for (other, share) in shares.iter().enumerate() {
                    for (sum, value) in target.iter_mut().zip(&value.row(other)[part.clone()]) {
                        *sum += share * value;
                    }
                }
            }
        }
        output
    }
}

fn embedded(words: &[f32], width: usize, text: &Tokens) -> Matrix {
    let row = |id: &u32| {
        let start = usize::try_from(*id).unwrap_or(usize::MAX).saturating_mul(width);
        words.get(start..start + width).unwrap_or_default()
    };
    Matrix { width, values: text.ids.iter().flat_map(row).copied().collect() }
}

fn activate(states: &mut Matrix, activation: Activation) {
    for value in &mut states.values {
        *value = match activation {
            Activation::Gelu => gelu(*value),
            Activation::GeluTanh => gelu_tanh(*value),
            Activation::Relu => value.max(0.0),
        };
    }
}
