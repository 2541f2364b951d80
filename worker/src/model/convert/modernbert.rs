//! ModernBERT: norms before the layers, rotations in place of a table of positions, layers that look at near tokens only,
//! and a gated feed-forward part.

use crate::model::config::{Attention, Decoder, ModelConfig, ModernBert};
use crate::model::onnx::{AttributeProto, FLOAT};
use crate::model::weights::WeightsError;

use super::encoder::{Layers, MASKED, integer};
use super::graph::{Layout, Tensor};
use super::head::{self, Product};

const WORDS: &str = "model.embeddings.tok_embeddings.weight";
const DECODER: &str = "decoder.weight";
const DECODER_BIAS: &str = "decoder.bias";

/// Cosines and sines of one base's rotations, `[sequence, size of a head / 2]`.
struct Rotation {
    cosine: Tensor,
    sine: Tensor,
}

/// What one kind of layers shares.
struct Kind {
    rotation: Rotation,
    bias: Tensor,
}

/// From token ids to hidden states `[batch, sequence, hidden]`.
pub(super) fn encoder(
    layers: &mut Layers<'_>,
    modern: &ModernBert,
    mask: &Tensor,
) -> Result<Tensor, WeightsError> {
    let &ModelConfig { vocabulary_size, hidden_size, .. } = layers.config;
    let ids = Tensor::input("input_ids");
    let words = layers.weight(WORDS, &[vocabulary_size, hidden_size], Layout::AsStored)?;
    let words = layers.graph.node("Gather", &[&words, &ids], Vec::new());
    let mut hidden = norm(layers, modern, &words, "model.embeddings.norm")?;

    let positions = positions(layers, &ids);
    let everywhere = layers.attention_bias(mask);
    let near = near(layers, &positions, &everywhere, modern.reach);
    let global = Kind { rotation: rotation(layers, &positions, modern.global_theta), bias: everywhere };
    let local = Kind { rotation: rotation(layers, &positions, modern.local_theta), bias: near };
    for (layer, attention) in modern.attention.iter().enumerate() {
        let kind = match attention {
            Attention::Global => &global,
            Attention::Local => &local,
        };
        hidden = self::layer(layers, modern, &hidden, layer, kind)?;
    }
    norm(layers, modern, &hidden, "model.final_norm")
}

/// From hidden states to one row of weights for each text.
pub(super) fn head(
    layers: &mut Layers<'_>,
    modern: &ModernBert,
    inputs: &head::Inputs,
) -> Result<Tensor, WeightsError> {
    let size = [layers.config.hidden_size; 2];
    let transformed = linear(layers, &inputs.hidden, "head.dense", size, modern.head_bias)?;
    let transformed = layers.activation(&transformed, layers.config.head_activation);
    let transformed = norm(layers, modern, &transformed, "head.norm")?;
    let matrix = match layers.config.decoder {
        Decoder::Tied => WORDS,
        Decoder::Own => DECODER,
    };
    let product = Product { matrix, bias: modern.decoder_bias.then_some(DECODER_BIAS) };
    head::vocabulary(layers, &transformed, &product, inputs)
}

fn layer(
    layers: &mut Layers<'_>,
    modern: &ModernBert,
    hidden: &Tensor,
    layer: usize,
    kind: &Kind,
) -> Result<Tensor, WeightsError> {
    let name = |part: &str| format!("model.layers.{layer}.{part}");
    let &ModelConfig { hidden_size, intermediate_size, activation, .. } = layers.config;
    // The norm of the embeddings is that of the first layer.
    let normed = match layer {
        0 => hidden.clone(),
        _ => norm(layers, modern, hidden, &name("attn_norm"))?,
    };
    let sizes = [hidden_size, 3 * hidden_size];
    let joint = linear(layers, &normed, &name("attn.Wqkv"), sizes, modern.attention_bias)?;
    let part = |layers: &mut Layers<'_>, index: usize, order| {
        let part = slice(layers, &joint, 2, index * hidden_size..(index + 1) * hidden_size);
        layers.heads(&part, order)
    };
    let query = part(layers, 0, [0, 2, 1, 3]);
    let key = part(layers, 1, [0, 2, 1, 3]);
    let value = part(layers, 2, [0, 2, 1, 3]);
    let query = rotated(layers, &query, &kind.rotation);
    let key = rotated(layers, &key, &kind.rotation);
    let key = layers.graph.node("Transpose", &[&key], vec![AttributeProto::ints("perm", &[0, 1, 3, 2])]);
    let context = layers.attended(&query, &key, &value, &kind.bias);
    let output = linear(layers, &context, &name("attn.Wo"), [hidden_size; 2], modern.attention_bias)?;
    let hidden = layers.graph.node("Add", &[hidden, &output], Vec::new());

    let normed = norm(layers, modern, &hidden, &name("mlp_norm"))?;
    let sizes = [hidden_size, 2 * intermediate_size];
    let wide = linear(layers, &normed, &name("mlp.Wi"), sizes, modern.feed_forward_bias)?;
    let input = slice(layers, &wide, 2, 0..intermediate_size);
    let gate = slice(layers, &wide, 2, intermediate_size..2 * intermediate_size);
    let input = layers.activation(&input, activation);
    let gated = layers.graph.node("Mul", &[&input, &gate], Vec::new());
    let sizes = [intermediate_size, hidden_size];
    let output = linear(layers, &gated, &name("mlp.Wo"), sizes, modern.feed_forward_bias)?;
    Ok(layers.graph.node("Add", &[&hidden, &output], Vec::new()))
}

fn linear(
    layers: &mut Layers<'_>,
    value: &Tensor,
    name: &str,
    sizes: [usize; 2],
    has_bias: bool,
) -> Result<Tensor, WeightsError> {
    if has_bias { layers.linear(value, name, sizes) } else { layers.product(value, name, sizes) }
}

fn norm(
    layers: &mut Layers<'_>,
    modern: &ModernBert,
    value: &Tensor,
    name: &str,
) -> Result<Tensor, WeightsError> {
    if modern.norm_bias { layers.layer_norm(value, name) } else { layers.scaled_norm(value, name, None) }
}

fn slice(layers: &mut Layers<'_>, value: &Tensor, axis: i64, range: std::ops::Range<usize>) -> Tensor {
    let (start, end) = (integer(range.start), integer(range.end));
    let (start, end) = (layers.graph.integers(&[start]), layers.graph.integers(&[end]));
    let axis = layers.graph.integers(&[axis]);
    layers.graph.node("Slice", &[value, &start, &end, &axis], Vec::new())
}

/// 0, 1, 2 and so on, as `[sequence, 1]`.
fn positions(layers: &mut Layers<'_>, ids: &Tensor) -> Tensor {
    let length = layers.length(ids);
    let (zero, one) = (layers.graph.integers(&[0]), layers.graph.integers(&[1]));
    let scalar = |layers: &mut Layers<'_>, list: &Tensor| layers.graph.node("Squeeze", &[list], Vec::new());
    let (start, end, step) = (scalar(layers, &zero), scalar(layers, &length), scalar(layers, &one));
    let positions = layers.graph.node("Range", &[&start, &end, &step], Vec::new());
    layers.graph.node("Unsqueeze", &[&positions, &one], Vec::new())
}

fn rotation(layers: &mut Layers<'_>, positions: &Tensor, theta: f32) -> Rotation {
    let width = layers.config.head_size();
    // In f32 step by step, as the models were trained.
    let frequencies: Vec<f32> =
        (0..width).step_by(2).map(|pair| theta.powf(pair as f32 / width as f32).recip()).collect();
    let frequencies = layers.graph.floats(&[1, width / 2], &frequencies);
    let positions = layers.graph.cast(positions, FLOAT);
    let angles = layers.graph.node("Mul", &[&positions, &frequencies], Vec::new());
    let cosine = layers.graph.node("Cos", &[&angles], Vec::new());
    let sine = layers.graph.node("Sin", &[&angles], Vec::new());
    Rotation { cosine, sine }
}

/// Turns the first half of a head against the second one.
fn rotated(layers: &mut Layers<'_>, value: &Tensor, rotation: &Rotation) -> Tensor {
    let size = layers.config.head_size();
    let first = slice(layers, value, 3, 0..size / 2);
    let second = slice(layers, value, 3, size / 2..size);
    let Rotation { cosine, sine } = rotation;
    let times = |layers: &mut Layers<'_>, left: &Tensor, right: &Tensor| {
        layers.graph.node("Mul", &[left, right], Vec::new())
    };
    let (a, b) = (times(layers, &first, cosine), times(layers, &second, sine));
    let turned_first = layers.graph.node("Sub", &[&a, &b], Vec::new());
    let (a, b) = (times(layers, &second, cosine), times(layers, &first, sine));
    let turned_second = layers.graph.node("Add", &[&a, &b], Vec::new());
    layers.graph.node("Concat", &[&turned_first, &turned_second], vec![AttributeProto::int("axis", 3)])
}

/// The lower one of the padding's bias and of that of tokens that are too far away: `[batch, 1, sequence, sequence]`.
/// Their sum would be minus infinity, and a row of that is not a number.
fn near(layers: &mut Layers<'_>, positions: &Tensor, everywhere: &Tensor, reach: usize) -> Tensor {
    let across = layers.graph.node("Transpose", &[positions], vec![AttributeProto::ints("perm", &[1, 0])]);
    let distance = layers.graph.node("Sub", &[positions, &across], Vec::new());
    let distance = layers.graph.node("Abs", &[&distance], Vec::new());
    let reach = layers.graph.integers(&[integer(reach)]);
    let is_near = layers.graph.node("LessOrEqual", &[&distance, &reach], Vec::new());
    let (zero, masked) = (layers.graph.scalar(0.0), layers.graph.scalar(MASKED));
    let bias = layers.graph.node("Where", &[&is_near, &zero, &masked], Vec::new());
    layers.graph.node("Min", &[everywhere, &bias], Vec::new())
}
