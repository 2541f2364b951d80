//! ModernBERT.

use crate::model::config::{Attention, ModelConfig, ModernBert};
use crate::model::weights::WeightsError;
use crate::tokenize::Tokens;

use super::{Matrix, Plain, Product, States, activate, embedded};

pub(super) fn states(
    plain: &Plain<'_>,
    modern: &ModernBert,
    texts: &[Tokens],
) -> Result<(States, Product), WeightsError> {
    let &ModelConfig { hidden_size, intermediate_size, vocabulary_size, .. } = plain.config;
    let table = "model.embeddings.tok_embeddings.weight";
    let words = plain.weights.read(table, &[vocabulary_size, hidden_size])?;
    let mut states: States = texts.iter().map(|text| embedded(&words, hidden_size, text)).collect();
    plain.norm(&mut states, "model.embeddings.norm", modern.norm_bias)?;
    for (layer, attention) in modern.attention.iter().enumerate() {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let mut normed = states.clone();
        if layer > 0 {
            plain.norm(&mut normed, &name("attn_norm"), modern.norm_bias)?;
        }
        let bias = modern.attention_bias;
        let joint = plain.linear(&name("attn.Wqkv"), [hidden_size, 3 * hidden_size], bias)?;
        let output = plain.linear(&name("attn.Wo"), [hidden_size; 2], bias)?;
        for (text, normed) in states.iter_mut().zip(&normed) {
            let joint = joint.apply(normed);
            let mut query = columns(&joint, 0..hidden_size);
            let mut key = columns(&joint, hidden_size..2 * hidden_size);
            let value = columns(&joint, 2 * hidden_size..3 * hidden_size);
            let theta = modern.theta(*attention);
            rotate(&mut query, plain.config.head_size(), theta);
            rotate(&mut key, plain.config.head_size(), theta);
            let sees = |token: usize, other: usize| match attention {
                Attention::Global => true,
                Attention::Local => token.abs_diff(other) <= modern.reach,
            };
            text.add(&output.apply(&plain.attended(&query, &key, &value, sees)));
        }
        let mut normed = states.clone();
        plain.norm(&mut normed, &name("mlp_norm"), modern.norm_bias)?;
        let bias = modern.feed_forward_bias;
        let wide = plain.linear(&name("mlp.Wi"), [hidden_size, 2 * intermediate_size], bias)?;
        let output = plain.linear(&name("mlp.Wo"), [intermediate_size, hidden_size], bias)?;
        for (text, normed) in states.iter_mut().zip(&normed) {
            let wide = wide.apply(normed);
            let mut input = columns(&wide, 0..intermediate_size);
            let gate = columns(&wide, intermediate_size..2 * intermediate_size);
            activate(&mut input, plain.config.activation);
            for (value, gate) in input.values.iter_mut().zip(&gate.values) {
                *value *= gate;
            }
            text.add(&output.apply(&input));
        }
    }
    plain.norm(&mut states, "model.final_norm", modern.norm_bias)?;
    let dense = plain.linear("head.dense", [hidden_size; 2], modern.head_bias)?;
    for text in &mut states {
        *text = dense.apply(text);
        activate(text, plain.config.head_activation);
    }
    plain.norm(&mut states, "head.norm", modern.norm_bias)?;
    let bias =
        modern.decoder_bias.then(|| plain.weights.read("decoder.bias", &[vocabulary_size])).transpose()?;
    Ok((states, Product { matrix: plain.matrix(words, "decoder.weight")?, bias }))
}

fn columns(matrix: &Matrix, range: std::ops::Range<usize>) -> Matrix {
    let values = matrix.rows().flat_map(|row| &row[range.clone()]).copied().collect();
    Matrix { width: range.len(), values }
}

/// Turns pairs of numbers, one of each half of a head, by an angle that grows with the position.
fn rotate(matrix: &mut Matrix, width: usize, theta: f32) {
    let mut position = 0.0_f32;
    matrix.each_row(|row| {
        for head in row.chunks_exact_mut(width) {
            let (first, second) = head.split_at_mut(width / 2);
            for (pair, (a, b)) in first.iter_mut().zip(second).enumerate() {
                let angle = position * theta.powf((2 * pair) as f32 / width as f32).recip();
                let (sine, cosine) = angle.sin_cos();
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
        position += 1.0;
    });
}
