//! From safetensors to a file for our kernels: weights in the order in which they read them, in one of their precisions.

mod bert;
mod modernbert;

use std::io::{BufWriter, Write};
use std::path::Path;

use fs_err::File;
use lexiscale_kernels::{Activation, Block, PackError, Positions, Precision, Shape, Sight, Tensors};

use crate::model::config::{self, Attention, ModelConfig};
use crate::model::tensor_names::TensorNames;
use crate::model::weights::{Weights, WeightsError};
use bert::BertCheckpoint;
use modernbert::ModernBertCheckpoint;

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
    weights: &Weights,
    precision: Precision,
    output: &Path,
) -> Result<Packed, ConvertError> {
    let shape = shape(config);
    if let Some(modern) = &config.modern {
        return write(&shape, precision, &ModernBertCheckpoint { config, modern, weights }, output);
    }
    let names = TensorNames::new(config.family, config.decoder);
    let names = names.expect("only ModernBERT has no names like BERT's");
    write(&shape, precision, &BertCheckpoint { config, names, weights }, output)
}

fn write(
    shape: &Shape,
    precision: Precision,
    checkpoint: &impl Tensors<Error = WeightsError>,
    output: &Path,
) -> Result<Packed, ConvertError> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(output).map_err(ConvertError::Write)?);
    let outcome = lexiscale_kernels::pack(shape, precision, checkpoint, &mut file);
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
    let (layers, positions, block) = match &config.modern {
        None => {
            let positions = Positions::Table {
                rows: config.positions,
                offset: config.padding.map_or(0, |padding| padding + 1),
                padding: config.padding,
                token_types: config.token_types,
            };
            (vec![Sight::Global; config.layers], positions, Block::NormAfter)
        }
        Some(modern) => {
            let sight = |attention: &Attention| match attention {
                Attention::Global => Sight::Global,
                Attention::Local => Sight::Local { reach: modern.reach },
            };
            let positions = Positions::Rotations {
                window: config.positions,
                global_theta: modern.global_theta,
                local_theta: modern.local_theta,
            };
            (modern.attention.iter().map(sight).collect(), positions, Block::NormBeforeGated)
        }
    };
    Shape {
        layers,
        hidden: config.hidden_size,
        heads: config.heads,
        intermediate: config.intermediate_size,
        vocabulary: config.vocabulary_size,
        positions,
        block,
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
