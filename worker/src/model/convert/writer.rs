//! Writes the graph and its weights without holding more than one tensor in memory: all lengths are known beforehand, and
//! protobuf does not mind in which order a message's fields come.

use std::io::{BufWriter, Write};
use std::path::Path;

use fs_err::File;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::model::onnx::{
    EXTERNAL, FLOAT, GRAPH_INITIALIZER, IR_VERSION, MODEL_GRAPH, ModelProto, OPERATOR_SET,
    OperatorSetIdProto, StringStringEntryProto, TENSOR_RAW_DATA, TensorProto,
};
use crate::model::weights::Weights;

use super::graph::{Graph, Initializer, Layout, Source};
use super::{CONVERTER_VERSION, ConvertError};

/// Protobuf messages are limited to 2^31 - 1 bytes.
const MAX_BYTES: u64 = i32::MAX as u64;

/// Where the weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement<'a> {
    /// In the ONNX file, which is then all of the model.
    Inside,
    /// In a file of this name beside it, which ONNX Runtime maps: nothing is copied, and all sessions share the pages.
    Beside(&'a str),
}

/// Smaller tensors stay in the ONNX file: the optimiser looks at them.
const LEAST_OUTSIDE: u64 = 4096;
/// Tensors begin at multiples of a page, so that each can be mapped by itself.
const PAGE: u64 = 4096;

/// Returns the number of bytes written.
pub(super) fn write(
    graph: &Graph,
    weights: &Weights,
    output: &Path,
    placement: Placement<'_>,
) -> Result<u64, ConvertError> {
    let header = model_header().encode_to_vec();
    let body = graph.to_proto().encode_to_vec();
    let mut outside = Outside { placement, end: 0 };
    let tensors: Vec<TensorHeader<'_>> =
        graph.initializers().iter().map(|initializer| TensorHeader::new(initializer, &mut outside)).collect();
    let graph_bytes = length(&body) + tensors.iter().map(TensorHeader::field_bytes).sum::<u64>();
    let bytes = length(&header) + field_header_bytes(MODEL_GRAPH, graph_bytes) + graph_bytes;
    if bytes > MAX_BYTES {
        return Err(ConvertError::TooLarge { bytes, limit: MAX_BYTES });
    }

    let create = |path: &Path| {
        File::create(path).map(|file| BufWriter::with_capacity(1 << 20, file)).map_err(ConvertError::Write)
    };
    let mut file = create(output)?;
    let mut beside = match placement {
        Placement::Inside => None,
        Placement::Beside(name) => Some(create(&output.with_file_name(name))?),
    };
    let mut start = header;
    field_header(&mut start, MODEL_GRAPH, graph_bytes);
    start.extend_from_slice(&body);
    file.write_all(&start).map_err(ConvertError::Write)?;
    let mut checkpoint = Checkpoint { weights, last: None };
    let mut written = 0;
    for tensor in &tensors {
        file.write_all(&tensor.encoded()).map_err(ConvertError::Write)?;
        let data = checkpoint.data(tensor.initializer)?;
        match (tensor.outside, &mut beside) {
            (Some(start), Some(beside)) => {
                let padding = vec![0; usize::try_from(start - written).unwrap_or_default()];
                beside
                    .write_all(&padding)
                    .and_then(|()| beside.write_all(&data))
                    .map_err(ConvertError::Write)?;
                written = start + tensor.data_bytes;
            }
            _ => file.write_all(&data).map_err(ConvertError::Write)?,
        }
    }
    for file in std::iter::once(file).chain(beside) {
        let file = file.into_inner().map_err(|error| ConvertError::Write(error.into_error()))?;
        file.sync_all().map_err(ConvertError::Write)?;
    }
    Ok(bytes + outside.end)
}

/// How far the file beside is taken.
struct Outside<'a> {
    placement: Placement<'a>,
    end: u64,
}

impl Outside<'_> {
    /// The file and the place for a tensor that does not belong inside.
    fn place(&mut self, bytes: u64) -> Option<(&str, u64)> {
        let Placement::Beside(name) = self.placement else { return None };
        if bytes < LEAST_OUTSIDE {
            return None;
        }
        let start = self.end.next_multiple_of(PAGE);
        self.end = start + bytes;
        Some((name, start))
    }
}

fn model_header() -> ModelProto {
    ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("lexiscale".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPERATOR_SET) }],
        metadata_props: vec![entry("lexiscale.converter", CONVERTER_VERSION.to_string())],
    }
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) }
}

/// A tensor's message up to its data.
struct TensorHeader<'a> {
    initializer: &'a Initializer,
    message: Vec<u8>,
    data_bytes: u64,
    /// Where its data is in the file beside.
    outside: Option<u64>,
}

impl<'a> TensorHeader<'a> {
    fn new(initializer: &'a Initializer, outside: &mut Outside<'_>) -> Self {
        let element: u64 = if initializer.data_type == FLOAT { 4 } else { 8 };
        let elements =
            initializer.dims.iter().fold(1_u64, |product, size| product.saturating_mul(*size as u64));
        let data_bytes = elements.saturating_mul(element);
        let place = outside.place(data_bytes);
        let message = TensorProto {
            dims: initializer.dims.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect(),
            data_type: Some(initializer.data_type),
            name: Some(initializer.name.clone()),
            external_data: place.map_or_else(Vec::new, |(name, start)| {
                vec![
                    entry("location", name.to_owned()),
                    entry("offset", start.to_string()),
                    entry("length", data_bytes.to_string()),
                ]
            }),
            data_location: place.map(|_| EXTERNAL),
        };
        let outside = place.map(|(_, start)| start);
        Self { initializer, message: message.encode_to_vec(), data_bytes, outside }
    }

    fn message_bytes(&self) -> u64 {
        let data = match self.outside {
            Some(_) => 0,
            None => field_header_bytes(TENSOR_RAW_DATA, self.data_bytes) + self.data_bytes,
        };
        length(&self.message) + data
    }

    fn field_bytes(&self) -> u64 {
        field_header_bytes(GRAPH_INITIALIZER, self.message_bytes()) + self.message_bytes()
    }

    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.message.len() + 32);
        field_header(&mut bytes, GRAPH_INITIALIZER, self.message_bytes());
        bytes.extend_from_slice(&self.message);
        if self.outside.is_none() {
            field_header(&mut bytes, TENSOR_RAW_DATA, self.data_bytes);
        }
        bytes
    }
}

/// Reads tensors, keeping the last one: the vocabulary's chunks come out of the same matrix one after the other.
struct Checkpoint<'a> {
    weights: &'a Weights,
    last: Option<(String, Vec<f32>)>,
}

impl Checkpoint<'_> {
    fn data(&mut self, initializer: &Initializer) -> Result<Vec<u8>, ConvertError> {
        let (name, shape, layout) = match &initializer.source {
            Source::Inline(bytes) => return Ok(bytes.clone()),
            Source::Checkpoint { name, shape, layout } => (name, shape, layout),
        };
        if self.last.as_ref().is_none_or(|(known, _)| known != name) {
            self.last = None;
            self.last = Some((name.clone(), self.weights.read(name, shape)?));
        }
        let values = self.last.as_ref().map_or(&[][..], |(_, values)| values.as_slice());
        let columns = shape.last().copied().unwrap_or(1);
        Ok(match layout {
            Layout::AsStored => to_bytes(values.iter()),
            Layout::Transposed => transpose(values, 0..values.len() / columns, columns),
            Layout::TransposedRows(rows) => transpose(values, rows.clone(), columns),
        })
    }
}

fn transpose(values: &[f32], rows: std::ops::Range<usize>, columns: usize) -> Vec<u8> {
    let part = &values[rows.start * columns..rows.end * columns];
    to_bytes((0..columns).flat_map(|column| part.iter().skip(column).step_by(columns)))
}

fn to_bytes<'a>(values: impl Iterator<Item = &'a f32>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.size_hint().0 * 4);
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

fn field_header(bytes: &mut Vec<u8>, field: u32, length: u64) {
    encode_key(field, WireType::LengthDelimited, bytes);
    encode_varint(length, bytes);
}

fn field_header_bytes(field: u32, length: u64) -> u64 {
    (key_len(field) + encoded_len_varint(length)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_rows_becomes_columns() {
        let values: Vec<f32> = (0..6_u8).map(f32::from).collect();
        let bytes = transpose(&values, 1..3, 2);
        let floats: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(floats, [2.0, 4.0, 3.0, 5.0]);
    }
}
