//! From safetensors to ONNX: a graph that takes token ids and ends at one row of weights for each text, so that the
//! logits of single tokens never leave ONNX Runtime.

mod encoder;
mod graph;
mod head;
mod modernbert;
mod native;
mod writer;

use std::io;
use std::path::Path;

use crate::model::config::{ConfigError, Family, MAX_CONFIG_BYTES, ModelConfig};
use crate::model::onnx::{BOOL, Dimension, FLOAT, INT64, ValueInfoProto};
use crate::model::saturation::{Pooling, PoolingError};
use crate::model::tensor_names::TensorNames;
use crate::model::weights::{Weights, WeightsError};
use graph::{Graph, Tensor};

pub use lexiscale_kernels::Precision;
pub use native::Packed;
pub use writer::Placement;

/// Changes whenever the converter's output does, so that a cache can tell what made its files.
pub const CONVERTER_VERSION: u32 = 4;

/// Name of the graph's only output.
pub const OUTPUT: &str = "sparse";

#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Pooling(#[from] PoolingError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("the converted model would have {bytes} bytes, but an ONNX file cannot hold more than {limit}")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("failed to read {file}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to write the ONNX file")]
    Write(#[source] io::Error),
}

/// Reads the same and writes a file for our kernels, where they can run the model. How it pools is not in the file.
pub fn pack(folder: &Path, precision: Precision, output: &Path) -> Result<Packed, ConvertError> {
    let config = ModelConfig::parse(&read_small(&folder.join("config.json"))?)?;
    native::pack(&config, &Weights::open(folder)?, precision, output)
}

/// What the converter found and wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    pub family: Family,
    pub vocabulary_size: usize,
    pub positions: usize,
    pub pooling: Pooling,
    pub bytes: u64,
}

/// Reads `config.json` and the safetensors of `folder` and writes the ONNX file.
pub fn convert(folder: &Path, output: &Path) -> Result<Converted, ConvertError> {
    convert_pooled(folder, Pooling::read(folder)?, output, Placement::Inside)
}

/// The same for a folder whose pooling is known from elsewhere.
pub fn convert_pooled(
    folder: &Path,
    pooling: Pooling,
    output: &Path,
    placement: Placement<'_>,
) -> Result<Converted, ConvertError> {
    let config = ModelConfig::parse(&read_small(&folder.join("config.json"))?)?;
    let weights = Weights::open(folder)?;
    let graph = build(&config, pooling, &weights)?;
    let bytes = writer::write(&graph, &weights, output, placement)?;
    Ok(Converted {
        family: config.family,
        vocabulary_size: config.vocabulary_size,
        positions: config.window(),
        pooling,
        bytes,
    })
}

fn read_small(path: &Path) -> Result<Vec<u8>, ConvertError> {
    let read = |source| ConvertError::Read { file: path.display().to_string(), source };
    if fs_err::metadata(path).map_err(read)?.len() > MAX_CONFIG_BYTES {
        return Err(read(io::Error::other(format!("larger than {MAX_CONFIG_BYTES} bytes"))));
    }
    fs_err::read(path).map_err(read)
}

fn build(config: &ModelConfig, pooling: Pooling, weights: &Weights) -> Result<Graph, WeightsError> {
    let mut graph = Graph::default();
    let tokens = [Dimension::Named("batch"), Dimension::Named("sequence")];
    graph.input(ValueInfoProto::tensor("input_ids", INT64, &tokens));
    graph.input(ValueInfoProto::tensor("attention_mask", INT64, &tokens));
    let names = TensorNames::new(config.family, config.decoder);
    if names.as_ref().is_some_and(|names| names.token_types.is_some()) {
        graph.input(ValueInfoProto::tensor("token_type_ids", INT64, &tokens));
    }
    let mask = Tensor::input("attention_mask");
    let is_token = graph.cast(&mask, BOOL);
    let row = if let Some(names) = &names {
        let hidden = encoder::build(&mut graph, config, weights, names, &mask)?;
        head::build(&mut graph, config, weights, names, &head::Inputs { hidden, is_token, pooling })?
    } else {
        let modern = config.modern.as_ref().expect("only ModernBERT has no names like BERT's");
        let mut layers = encoder::Layers { graph: &mut graph, config, weights };
        let hidden = modernbert::encoder(&mut layers, modern, &mask)?;
        modernbert::head(&mut layers, modern, &head::Inputs { hidden, is_token, pooling })?
    };
    graph.identity(&row, OUTPUT);
    let row_shape = [Dimension::Named("batch"), Dimension::Fixed(config.vocabulary_size)];
    graph.output(ValueInfoProto::tensor(OUTPUT, FLOAT, &row_shape));
    Ok(graph)
}
