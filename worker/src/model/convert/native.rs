//! From safetensors to a file for our kernels: weights in the order in which they read them, in one of their precisions.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::Path;

use fs_err::File;
use lexiscale_kernels::{Activation, LayerPart, PackError, Part, Precision, Shape, Tensors};

use crate::model::config::{self, Decoder, ModelConfig};
use crate::model::saturation::{Pooling, Reduction};
use crate::model::tensor_names::TensorNames;
use crate::model::weights::{Weights, WeightsError};

use super::ConvertError;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packed {
    Written {
        bytes: u64,
    },
    /// The kernels are not made for such a model, which ONNX Runtime serves.
    Refused {
        reason: String,
    },
}

/// Writes the file, if the kernels can run the model.
pub(super) fn pack(
    config: &ModelConfig,
    pooling: Pooling,
    weights: &Weights,
    precision: Precision,
    output: &Path,
) -> Result<Packed, ConvertError> {
    if pooling.reduction != Reduction::Max {
        let reason = "pooling by sums needs every logit, and our kernels find only the strongest".to_owned();
        return Ok(Packed::Refused { reason });
    }
    let Some(names) = TensorNames::new(config.family, config.decoder) else {
        let reason = format!("the architecture {:?} is not built for int8", config.family);
        return Ok(Packed::Refused { reason });
    };
    let shape = shape(config);
    let checkpoint = Checkpoint { config, names, weights };
    let mut file = BufWriter::with_capacity(1 << 20, File::create(output).map_err(ConvertError::Write)?);
    let outcome = lexiscale_kernels::pack(&shape, precision, &checkpoint, &mut file);
    let refusal = match outcome {
        Ok(bytes) => {
            file.flush().map_err(ConvertError::Write)?;
            file.get_ref().sync_all().map_err(ConvertError::Write)?;
            return Ok(Packed::Written { bytes });
        }
        Err(PackError::Read { part: _, source }) => return Err(source.into()),
        Err(PackError::Write(source)) => return Err(ConvertError::Write(source)),
        Err(PackError::Shape(source)) => source.to_string(),
        Err(other) => other.to_string(),
    };
    drop(file);
    fs_err::remove_file(output).map_err(ConvertError::Write)?;
    Ok(Packed::Refused { reason: refusal })
}

fn shape(config: &ModelConfig) -> Shape {
    Shape {
        layers: config.layers,
        hidden: config.hidden_size,
        heads: config.heads,
        intermediate: config.intermediate_size,
        vocabulary: config.vocabulary_size,
        positions: config.positions,
        token_types: config.token_types,
        position_offset: config.padding.map_or(0, |padding| padding + 1),
        padding: config.padding,
        epsilon: config.layer_norm_epsilon,
        activation: activation(config.activation),
        head_activation: activation(config.head_activation),
    }
}

fn activation(activation: config::Activation) -> Activation {
    match activation {
        config::Activation::Gelu => Activation::Gelu,
        config::Activation::GeluTanh => Activation::GeluTanh,
        config::Activation::Relu => Activation::Relu,
    }
}

/// A checkpoint by the names that its family gives the parts.
struct Checkpoint<'a> {
    config: &'a ModelConfig,
    names: TensorNames,
    weights: &'a Weights,
}

impl Tensors for Checkpoint<'_> {
    type Error = WeightsError;

    fn read(&self, part: Part) -> Result<Cow<'_, [f32]>, WeightsError> {
        let &ModelConfig { hidden_size: hidden, vocabulary_size: vocabulary, .. } = self.config;
        let head = &self.names.head;
        let weight = |stem: &str| format!("{stem}.weight");
        let bias = |stem: &str| format!("{stem}.bias");
        let (name, size): (String, Vec<usize>) = match part {
            Part::WordEmbeddings => (self.names.words.to_owned(), vec![vocabulary, hidden]),
            Part::PositionEmbeddings => {
                (self.names.positions.to_owned(), vec![self.config.positions, hidden])
            }
            Part::TokenTypeEmbeddings => {
                let name = self.names.token_types.unwrap_or_default();
                (name.to_owned(), vec![self.config.token_types, hidden])
            }
            Part::EmbeddingNormWeight => (weight(self.names.embedding_norm), vec![hidden]),
            Part::EmbeddingNormBias => (bias(self.names.embedding_norm), vec![hidden]),
            Part::Layer(layer, part) => self.layer(layer, part),
            Part::TransformWeight => (weight(head.transform), vec![hidden, hidden]),
            Part::TransformBias => (bias(head.transform), vec![hidden]),
            Part::TransformNormWeight => (weight(head.norm), vec![hidden]),
            Part::TransformNormBias => (bias(head.norm), vec![hidden]),
            Part::Decoder => (head.decoder.to_owned(), vec![vocabulary, hidden]),
            Part::DecoderBias => {
                let name = head.biases.iter().find(|name| self.weights.contains(name));
                ((*name.unwrap_or(&head.biases[0])).to_owned(), vec![vocabulary])
            }
        };
        self.weights.read(&name, &size).map(Cow::Owned)
    }

    fn is_tied(&self) -> bool {
        self.config.decoder == Decoder::Tied
    }
}

impl Checkpoint<'_> {
    fn layer(&self, layer: usize, part: LayerPart) -> (String, Vec<usize>) {
        let &ModelConfig { hidden_size: hidden, intermediate_size: intermediate, .. } = self.config;
        let names = self.names.layer(layer);
        let weight = |stem: String, outputs, inputs| (format!("{stem}.weight"), vec![outputs, inputs]);
        let vector = |stem: String, kind: &str, size| (format!("{stem}.{kind}"), vec![size]);
        match part {
            LayerPart::QueryWeight => weight(names.query, hidden, hidden),
            LayerPart::QueryBias => vector(names.query, "bias", hidden),
            LayerPart::KeyWeight => weight(names.key, hidden, hidden),
            LayerPart::KeyBias => vector(names.key, "bias", hidden),
            LayerPart::ValueWeight => weight(names.value, hidden, hidden),
            LayerPart::ValueBias => vector(names.value, "bias", hidden),
            LayerPart::AttentionOutputWeight => weight(names.attention_output, hidden, hidden),
            LayerPart::AttentionOutputBias => vector(names.attention_output, "bias", hidden),
            LayerPart::AttentionNormWeight => vector(names.attention_norm, "weight", hidden),
            LayerPart::AttentionNormBias => vector(names.attention_norm, "bias", hidden),
            LayerPart::IntermediateWeight => weight(names.intermediate, intermediate, hidden),
            LayerPart::IntermediateBias => vector(names.intermediate, "bias", intermediate),
            LayerPart::OutputWeight => weight(names.output, hidden, intermediate),
            LayerPart::OutputBias => vector(names.output, "bias", hidden),
            LayerPart::OutputNormWeight => vector(names.output_norm, "weight", hidden),
            LayerPart::OutputNormBias => vector(names.output_norm, "bias", hidden),
        }
    }
}
