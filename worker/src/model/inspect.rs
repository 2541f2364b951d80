//! Looks into an ONNX file that a repository ships, before a worker loads it: what goes in, what comes out, and whether
//! it asks for something that no worker gives. Walks the file without reading its weights, so a file of any size costs
//! a few kilobytes.

mod limits;
mod parts;
mod walker;

use std::io;
use std::path::Path;

use prost::Message;

use crate::model::onnx::{OperatorSetIdProto, StringStringEntryProto, ValueInfoProto};
use limits::{DOMAINS, MAX_DESCRIBED, MAX_DESCRIPTION, MAX_IR_VERSION, MAX_METADATA, is_refused_metadata};
use walker::{Field, Walker};

const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

const IR_VERSION: u32 = 1;
const GRAPH: u32 = 7;
const OPERATOR_SET: u32 = 8;
const METADATA: u32 = 14;
const TRAINING: u32 = 20;
const FUNCTION: u32 = 25;

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("failed to read the ONNX file")]
    Read(#[from] io::Error),
    #[error("the ONNX file is not valid: {reason}")]
    Invalid { reason: &'static str },
    #[error("the ONNX file keeps its weights in other files, which is not supported")]
    ExternalData,
    #[error("the ONNX file uses the operator {operator}, which can run for ever or reads other files")]
    Operator { operator: String },
    #[error("the ONNX file brings {part}, which is not supported")]
    Part { part: &'static str },
    #[error("the ONNX file asks for {what} {found}; the highest that is supported is {highest}")]
    Version { what: String, found: i64, highest: u64 },
    #[error("the ONNX file has metadata {key:?}, which would set up ONNX Runtime or name a file")]
    Metadata { key: String },
    #[error("the ONNX file has more than {limit} {what}")]
    TooMuch { what: &'static str, limit: usize },
    #[error("the ONNX file uses operators of {domain:?}, which ONNX Runtime does not have")]
    Domain { domain: String },
    #[error(
        "the ONNX file asks for input {name}; supported are input_ids, attention_mask and token_type_ids"
    )]
    Input { name: String },
    #[error(
        "the ONNX file's outputs are {outputs}; needed is one of shape [texts, {vocabulary_size}] or [texts, tokens, \
         {vocabulary_size}]"
    )]
    Outputs { outputs: String, vocabulary_size: u32 },
}

/// What a model's output means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// `[texts, vocabulary]`, weights.
    Pooled,
    /// `[texts, tokens, vocabulary]`, logits.
    Logits,
}

impl OutputKind {
    /// Sizes below zero are known only at run time.
    pub fn of(shape: &[i64], vocabulary_size: u32) -> Option<Self> {
        let fits = |width: i64| width < 0 || width == i64::from(vocabulary_size);
        match shape {
            [_, width] if fits(*width) => Some(Self::Pooled),
            [_, _, width] if fits(*width) => Some(Self::Logits),
            _ => None,
        }
    }
}

/// Fails unless a worker can serve the file.
pub fn inspect(path: &Path, vocabulary_size: u32) -> Result<OutputKind, InspectError> {
    let mut found = Found::default();
    let mut walker = Walker::open(path)?;
    let end = walker.end();
    let mut graphs = 0;
    while let Some(field) = walker.field(end)? {
        match field {
            Field { number: GRAPH, length: Some(length), .. } => {
                graphs += 1;
                let end = walker.position() + length;
                parts::graph(&mut walker, end, &mut found, 0)?;
            }
            Field { number: IR_VERSION, length: None, value } => {
                version("IR version", i64::try_from(value).unwrap_or(i64::MAX), MAX_IR_VERSION)?;
            }
            Field { number: OPERATOR_SET, length: Some(length), .. } => operators(&mut walker, length)?,
            Field { number: METADATA, length: Some(length), .. } => {
                found.metadata += 1;
                metadata(&mut walker, length, found.metadata)?;
            }
            Field { number: TRAINING, .. } => return Err(InspectError::Part { part: "training steps" }),
            Field { number: FUNCTION, .. } => {
                return Err(InspectError::Part { part: "functions of its own" });
            }
            other => walker.skip(&other)?,
        }
    }
    if graphs != 1 {
        return Err(InspectError::Invalid { reason: "it does not hold one graph" });
    }
    found.judge(vocabulary_size)
}

#[derive(Default)]
struct Found {
    /// Names in the outer graph.
    initializers: Vec<String>,
    /// In all graphs.
    initializer_count: usize,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    nodes: usize,
    metadata: usize,
}

fn operators(walker: &mut Walker, length: u64) -> Result<(), InspectError> {
    let bytes = walker.bytes(length, MAX_DESCRIPTION)?;
    let set = OperatorSetIdProto::decode(bytes.as_slice())
        .map_err(|_| InspectError::Invalid { reason: "an operator set is not described" })?;
    let domain = set.domain.unwrap_or_default();
    match DOMAINS.iter().find(|(known, _)| *known == domain) {
        Some((_, highest)) => {
            version(&format!("operator set {domain:?}"), set.version.unwrap_or_default(), *highest)
        }
        // Named and perhaps not used: exporters list what they know. Nodes are what counts.
        None => Ok(()),
    }
}

fn version(what: &str, found: i64, highest: u64) -> Result<(), InspectError> {
    match u64::try_from(found) {
        Ok(number) if number <= highest => Ok(()),
        _ => Err(InspectError::Version { what: what.to_owned(), found, highest }),
    }
}

fn metadata(walker: &mut Walker, length: u64, number: usize) -> Result<(), InspectError> {
    if number > MAX_METADATA {
        return Err(InspectError::TooMuch { what: "entries of metadata", limit: MAX_METADATA });
    }
    let bytes = walker.bytes(length, MAX_DESCRIPTION)?;
    let entry = StringStringEntryProto::decode(bytes.as_slice())
        .map_err(|_| InspectError::Invalid { reason: "its metadata are not text" })?;
    let key = entry.key.unwrap_or_default();
    if is_refused_metadata(&key) { Err(InspectError::Metadata { key }) } else { Ok(()) }
}

fn description(walker: &mut Walker, length: u64) -> Result<ValueInfoProto, InspectError> {
    let bytes = walker.bytes(length, MAX_DESCRIPTION)?;
    ValueInfoProto::decode(bytes.as_slice())
        .map_err(|_| InspectError::Invalid { reason: "an input or output is not described" })
}

impl Found {
    fn check_described(&self) -> Result<(), InspectError> {
        let inputs = self.inputs.len().saturating_sub(self.initializers.len());
        if inputs > MAX_DESCRIBED || self.outputs.len() > MAX_DESCRIBED {
            return Err(InspectError::TooMuch { what: "inputs or outputs", limit: MAX_DESCRIBED });
        }
        Ok(())
    }

    fn judge(&self, vocabulary_size: u32) -> Result<OutputKind, InspectError> {
        for input in &self.inputs {
            let name = input.name.clone().unwrap_or_default();
            if !INPUTS.contains(&name.as_str()) && !self.initializers.contains(&name) {
                return Err(InspectError::Input { name });
            }
        }
        let usable =
            self.outputs.iter().find_map(|output| OutputKind::of(&output.dimensions(), vocabulary_size));
        usable.ok_or_else(|| {
            let describe = |output: &ValueInfoProto| {
                format!("{} {:?}", output.name.as_deref().unwrap_or_default(), output.dimensions())
            };
            let outputs: Vec<String> = self.outputs.iter().take(8).map(describe).collect();
            InspectError::Outputs { outputs: outputs.join(", "), vocabulary_size }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::onnx::{Dimension, FLOAT, INT64};

    const NODE: u32 = 1;
    const INITIALIZER: u32 = 5;
    const INPUT: u32 = 11;
    const OUTPUT: u32 = 12;
    const NODE_DOMAIN: u32 = 7;
    const TENSOR_EXTERNAL_DATA: u32 = 13;
    const TENSOR_DATA_LOCATION: u32 = 14;

    /// A field of bytes.
    fn bytes(number: u32, content: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut field);
        prost::encoding::encode_varint(content.len() as u64, &mut field);
        field.extend_from_slice(content);
        field
    }

    fn key(number: u32, wire_type: u32) -> u8 {
        u8::try_from(number << 3 | wire_type).unwrap()
    }

    fn value(number: u32, name: &str, element: i32, dimensions: &[Dimension]) -> Vec<u8> {
        bytes(number, &ValueInfoProto::tensor(name, element, dimensions).encode_to_vec())
    }

    fn tokens(name: &str) -> Vec<u8> {
        value(INPUT, name, INT64, &[Dimension::Named("batch"), Dimension::Named("sequence")])
    }

    fn row(width: usize) -> Vec<u8> {
        value(OUTPUT, "sparse", FLOAT, &[Dimension::Named("batch"), Dimension::Fixed(width)])
    }

    fn judged(file: &[u8]) -> Result<OutputKind, InspectError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        fs_err::write(&path, file).unwrap();
        inspect(&path, 7)
    }

    fn judged_graph(parts: &[Vec<u8>]) -> Result<OutputKind, InspectError> {
        judged(&bytes(GRAPH, &parts.concat()))
    }

    #[test]
    fn rows_and_logits_are_outputs() {
        assert_eq!(judged_graph(&[tokens("input_ids"), row(7)]).unwrap(), OutputKind::Pooled);
        let unknown =
            [Dimension::Named("batch"), Dimension::Named("sequence"), Dimension::Named("vocabulary")];
        let logits = value(OUTPUT, "logits", FLOAT, &unknown);
        assert_eq!(judged_graph(&[tokens("input_ids"), row(8), logits]).unwrap(), OutputKind::Logits);
    }

    /// Said by the fetch and not by a worker that crashes again and again.
    #[test]
    fn what_no_worker_can_serve_is_named() {
        let domain = bytes(NODE, &bytes(NODE_DOMAIN, b"evil.example"));
        let external = bytes(INITIALIZER, &bytes(TENSOR_EXTERNAL_DATA, b"location"));
        let location = bytes(INITIALIZER, &[key(TENSOR_DATA_LOCATION, 0), 1]);
        let table = [
            (vec![tokens("input_ids"), row(8)], "sparse [-1, 8]; needed is one of shape [texts, 7]"),
            (vec![tokens("pixel_values"), row(7)], "asks for input pixel_values"),
            (vec![tokens("input_ids")], "outputs are ;"),
            (vec![domain, row(7)], "operators of \"evil.example\""),
            (vec![external, row(7)], "keeps its weights in other files"),
            (vec![location, row(7)], "keeps its weights in other files"),
        ];
        for (parts, message) in table {
            let error = judged_graph(&parts).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn what_is_no_onnx_file_is_an_error() {
        let mut cut = bytes(GRAPH, &[tokens("input_ids"), row(7)].concat());
        cut.pop();
        let endless = [0xFF; 64];
        let two = [bytes(GRAPH, &row(7)), bytes(GRAPH, &row(7))].concat();
        let huge = [&[key(GRAPH, 2)][..], &[0xFF; 9], &[1]].concat();
        let overlong_inside = bytes(GRAPH, &[key(INPUT, 2), 100]);
        let group = [key(GRAPH, 3)];
        let page: &[u8] = b"<html>please log in</html>";
        for file in [&[][..], page, &cut, &endless, &two, &huge, &overlong_inside, &group] {
            let error = judged(file).unwrap_err();
            assert!(matches!(error, InspectError::Invalid { .. }), "{file:?}: {error}");
        }
    }

    proptest! {
        /// Whatever a stranger writes, the answer is a verdict and not a crash.
        #[test]
        fn any_bytes_get_a_verdict(
            junk in proptest::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _ = judged(&junk);
            let mut file = bytes(GRAPH, &[tokens("input_ids"), row(7), bytes(NODE, &bytes(NODE_DOMAIN, b""))].concat());
            *place.get_mut(&mut file) = byte;
            let _ = judged(&file);
        }
    }
}
