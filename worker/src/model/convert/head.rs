//! The masked-language head with SPLADE pooling.
//!
//! The weight of a word is the maximum over tokens of `log(1 + relu(logit))`. Bias, relu and logarithm grow with their
//! argument and are the same for each token, so the maximum is taken on the bare products and the rest is done once for
//! each text. That is exact, and it is worth a factor of 1.3 to 4 over pooling outside the graph.

use std::ops::Range;

use crate::model::config::ModelConfig;
use crate::model::onnx::{AttributeProto, FLOAT};
use crate::model::saturation::{Pooling, Reduction, Saturation};
use crate::model::tensor_names::TensorNames;
use crate::model::weights::{Weights, WeightsError};

use super::encoder::{Layers, integer};
use super::graph::{Graph, Layout, Tensor};

/// Vocabulary entries that are multiplied at once. In one piece the products of a batch of 32 texts of 128 tokens would
/// take 500 MB; in pieces of this size they take 33 MB and run no slower.
const CHUNK: usize = 2048;

pub(super) struct Inputs {
    pub(super) hidden: Tensor,
    /// `[batch, sequence]`, false for padding.
    pub(super) is_token: Tensor,
    pub(super) pooling: Pooling,
}

/// Where the vocabulary product takes its numbers from.
pub(super) struct Product<'a> {
    pub(super) matrix: &'a str,
    pub(super) bias: Option<&'a str>,
}

/// From hidden states to one row of weights for each text.
pub(super) fn build(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    names: &TensorNames,
    inputs: &Inputs,
) -> Result<Tensor, WeightsError> {
    let mut layers = Layers { graph, config, weights };
    let transformed = layers.linear(&inputs.hidden, names.head.transform, [config.hidden_size; 2])?;
    let transformed = layers.activation(&transformed, config.head_activation);
    let transformed = layers.layer_norm(&transformed, names.head.norm)?;
    let biases = names.head.biases;
    let bias = biases.iter().find(|name| weights.contains(name)).unwrap_or(&biases[0]);
    let product = Product { matrix: names.decoder(config.decoder), bias: Some(bias) };
    vocabulary(&mut layers, &transformed, &product, inputs)
}

/// From transformed states to one row of weights for each text.
pub(super) fn vocabulary(
    layers: &mut Layers<'_>,
    transformed: &Tensor,
    product: &Product<'_>,
    inputs: &Inputs,
) -> Result<Tensor, WeightsError> {
    match inputs.pooling.reduction {
        Reduction::Max => strongest(layers, transformed, product, inputs),
        Reduction::Sum => summed(layers, transformed, product, inputs),
    }
}

fn strongest(
    layers: &mut Layers<'_>,
    transformed: &Tensor,
    product: &Product<'_>,
    inputs: &Inputs,
) -> Result<Tensor, WeightsError> {
    let settled = settle_padding(layers.graph, transformed, &inputs.is_token);
    let row = in_chunks(layers, product, |layers, chunk, _| {
        let products = layers.graph.node("MatMul", &[&settled, chunk], Vec::new());
        Ok(reduced(layers.graph, "ReduceMax", &products))
    })?;
    let row = match product.bias {
        Some(bias) => {
            let bias = layers.weight(bias, &[layers.config.vocabulary_size], Layout::AsStored)?;
            layers.graph.node("Add", &[&row, &bias], Vec::new())
        }
        None => row,
    };
    Ok(saturated(layers.graph, &row, inputs.pooling.saturation))
}

/// A sum is not that of the logarithm's arguments, so each token's product is finished before; padding counts nothing.
fn summed(
    layers: &mut Layers<'_>,
    transformed: &Tensor,
    product: &Product<'_>,
    inputs: &Inputs,
) -> Result<Tensor, WeightsError> {
    let last = layers.graph.integers(&[2]);
    let counts = layers.graph.cast(&inputs.is_token, FLOAT);
    let counts = layers.graph.node("Unsqueeze", &[&counts, &last], Vec::new());
    let size = [layers.config.vocabulary_size];
    let bias = product.bias.map(|name| layers.weight(name, &size, Layout::AsStored)).transpose()?;
    in_chunks(layers, product, |layers, chunk, range| {
        let mut products = layers.graph.node("MatMul", &[transformed, chunk], Vec::new());
        if let Some(bias) = &bias {
            let (start, end) = (integer(range.start), integer(range.end));
            let (start, end) = (layers.graph.integers(&[start]), layers.graph.integers(&[end]));
            let bias = layers.graph.node("Slice", &[bias, &start, &end], Vec::new());
            products = layers.graph.node("Add", &[&products, &bias], Vec::new());
        }
        let weights = saturated(layers.graph, &products, inputs.pooling.saturation);
        let weights = layers.graph.node("Mul", &[&weights, &counts], Vec::new());
        Ok(reduced(layers.graph, "ReduceSum", &weights))
    })
}

/// Joins what `part` makes of each chunk of the vocabulary, which it gets as `[hidden, chunk]` with the range that it is.
fn in_chunks(
    layers: &mut Layers<'_>,
    product: &Product<'_>,
    mut part: impl FnMut(&mut Layers<'_>, &Tensor, Range<usize>) -> Result<Tensor, WeightsError>,
) -> Result<Tensor, WeightsError> {
    let &ModelConfig { hidden_size, vocabulary_size, .. } = layers.config;
    let mut parts = Vec::new();
    for start in (0..vocabulary_size).step_by(CHUNK) {
        let end = vocabulary_size.min(start + CHUNK);
        let rows = Layout::TransposedRows(start..end);
        let chunk = layers.weight(product.matrix, &[vocabulary_size, hidden_size], rows)?;
        parts.push(part(layers, &chunk, start..end)?);
    }
    let parts: Vec<&Tensor> = parts.iter().collect();
    Ok(layers.graph.node("Concat", &parts, vec![AttributeProto::int("axis", 1)]))
}

fn reduced(graph: &mut Graph, operator: &str, value: &Tensor) -> Tensor {
    let axis = graph.integers(&[1]);
    graph.node(operator, &[value, &axis], vec![AttributeProto::int("keepdims", 0)])
}

fn saturated(graph: &mut Graph, value: &Tensor, saturation: Saturation) -> Tensor {
    let value = graph.node("Relu", &[value], Vec::new());
    let value = log1p(graph, &value);
    match saturation {
        Saturation::Log => value,
        Saturation::DoubleLog => log1p(graph, &value),
    }
}

/// Gives padding the state of the first token of its text, which is always a real one: the maximum cannot change, and no
/// pass over the products is needed.
fn settle_padding(graph: &mut Graph, hidden: &Tensor, is_token: &Tensor) -> Tensor {
    let (zero, one, last) = (graph.integers(&[0]), graph.integers(&[1]), graph.integers(&[2]));
    let first = graph.node("Slice", &[hidden, &zero, &one, &one], Vec::new());
    let is_token = graph.node("Unsqueeze", &[is_token, &last], Vec::new());
    graph.node("Where", &[&is_token, hidden, &first], Vec::new())
}

fn log1p(graph: &mut Graph, value: &Tensor) -> Tensor {
    let one = graph.scalar(1.0);
    let sum = graph.node("Add", &[value, &one], Vec::new());
    graph.node("Log", &[&sum], Vec::new())
}
