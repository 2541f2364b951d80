//! The masked-language head with SPLADE pooling.
//!
//! The weight of a word is the maximum over tokens of `log(1 + relu(logit))`. Bias, relu and logarithm grow with their
//! argument and are the same for each token, so the maximum is taken on the bare products and the rest is done once for
//! each text. That is exact, and it is worth a factor of 1.3 to 4 over pooling outside the graph.

use crate::model::config::{Decoder, Family, ModelConfig};
use crate::model::onnx::AttributeProto;
use crate::model::saturation::Saturation;
use crate::model::weights::{Weights, WeightsError};

use super::encoder::{Layers, word_embeddings};
use super::graph::{Graph, Layout, Tensor};

/// Vocabulary entries that are multiplied at once. In one piece the products of a batch of 32 texts of 128 tokens would
/// take 500 MB; in pieces of this size they take 33 MB and run no slower.
const CHUNK: usize = 2048;

pub(super) struct Inputs {
    pub(super) hidden: Tensor,
    /// `[batch, sequence]`, false for padding.
    pub(super) is_token: Tensor,
    pub(super) saturation: Saturation,
}

struct Names {
    transform: &'static str,
    norm: &'static str,
    decoder: &'static str,
    /// The first one that the checkpoint has.
    biases: &'static [&'static str],
}

impl Names {
    fn new(family: Family, decoder: Decoder) -> Self {
        match family {
            Family::Bert => Self {
                transform: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                decoder: "cls.predictions.decoder.weight",
                // A decoder with weights of its own has a bias of its own as well; a tied one shares the head's.
                biases: match decoder {
                    Decoder::Tied => &["cls.predictions.bias", "cls.predictions.decoder.bias"],
                    Decoder::Own => &["cls.predictions.decoder.bias", "cls.predictions.bias"],
                },
            },
            Family::DistilBert => Self {
                transform: "vocab_transform",
                norm: "vocab_layer_norm",
                decoder: "vocab_projector.weight",
                biases: &["vocab_projector.bias"],
            },
        }
    }
}

/// From hidden states to one row of weights for each text.
pub(super) fn build(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    inputs: &Inputs,
) -> Result<Tensor, WeightsError> {
    let names = Names::new(config.family, config.decoder);
    let mut layers = Layers { graph, config, weights };
    let &ModelConfig { hidden_size, vocabulary_size, .. } = config;

    let transformed = layers.linear(&inputs.hidden, names.transform, [hidden_size; 2])?;
    let transformed = layers.activation(&transformed);
    let transformed = layers.layer_norm(&transformed, names.norm)?;
    let settled = settle_padding(layers.graph, &transformed, &inputs.is_token);

    let decoder = match config.decoder {
        Decoder::Tied => word_embeddings(config.family),
        Decoder::Own => names.decoder,
    };
    let axis = layers.graph.integers(&[1]);
    let mut strongest = Vec::new();
    for start in (0..vocabulary_size).step_by(CHUNK) {
        let rows = start..vocabulary_size.min(start + CHUNK);
        let chunk = layers.weight(decoder, &[vocabulary_size, hidden_size], Layout::TransposedRows(rows))?;
        let products = layers.graph.node("MatMul", &[&settled, &chunk], Vec::new());
        let maximum =
            layers.graph.node("ReduceMax", &[&products, &axis], vec![AttributeProto::int("keepdims", 0)]);
        strongest.push(maximum);
    }
    let row = layers.graph.node(
        "Concat",
        &strongest.iter().collect::<Vec<_>>(),
        vec![AttributeProto::int("axis", 1)],
    );

    let bias = names.biases.iter().find(|name| weights.contains(name)).unwrap_or(&names.biases[0]);
    let bias = layers.weight(bias, &[vocabulary_size], Layout::AsStored)?;
    let row = layers.graph.node("Add", &[&row, &bias], Vec::new());
    let row = layers.graph.node("Relu", &[&row], Vec::new());
    let row = log1p(layers.graph, &row);
    Ok(match inputs.saturation {
        Saturation::Log => row,
        Saturation::DoubleLog => log1p(layers.graph, &row),
    })
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
