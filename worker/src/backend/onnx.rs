//! ONNX Runtime behind the [`Backend`] trait. Each lane has a session of one thread: sessions must not be used by two threads at
//! once, and where several threads share the work on one text, where they part it decides the last digits of its vector.
//! So a text that is alone is no faster here; the engine of our own is (see `docs/decisions/021`).

use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;

use super::{Backend, BackendError, Lane, Width};
use crate::model::inspect::OutputKind;
use crate::model::manifest::WEIGHTS_FILE;
use crate::model::saturation::Pooling;
use crate::model::verify::VerifiedModel;
use crate::pooling::SparseRow;
use crate::tokenize::Tokens;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("failed to load ONNX Runtime from {path}: {reason}")]
    Library { path: PathBuf, reason: String },
    #[error("failed to load the model: {reason}")]
    Session { reason: String },
    #[error("the model asks for input {name}, which is none of input_ids, attention_mask and token_type_ids")]
    Input { name: String },
    #[error(
        "the model's output {name} has shape {shape:?}; needed is [texts, {vocabulary_size}] or \
         [texts, tokens, {vocabulary_size}]"
    )]
    Output { name: String, shape: Vec<i64>, vocabulary_size: u32 },
    #[error("the model has no output")]
    NoOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputKind {
    Ids,
    Mask,
    TokenTypes,
}

/// The loaded library. A process has one: a second one of its kind cannot be made.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: Environment,
}

impl OnnxRuntime {
    pub fn load(library: &Path) -> Result<Self, LoadError> {
        let fail = |reason: String| LoadError::Library { path: library.to_owned(), reason };
        let environment = ort::environment::init_from(library)
            .map_err(|error| fail(error.to_string()))?
            .with_name("lexiscale")
            .with_telemetry(false)
            .build()
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { environment })
    }
}

/// A model file that lanes load.
pub struct OnnxBackend {
    environment: Environment,
    file: PathBuf,
    weights: Weights,
    vocabulary_size: u32,
    pooling: Pooling,
}

/// Where a model's weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weights {
    /// In a file of their own, which all lanes map.
    Mapped,
    /// In the ONNX file, of which each lane has a copy anyway.
    Copied,
}

/// A session and what it is fed with.
pub struct OnnxLane {
    session: Session,
    inputs: Vec<(String, InputKind)>,
    output: (String, OutputKind),
    vocabulary_size: usize,
    pooling: Pooling,
    ids: Vec<i64>,
    /// The mask of every text: nothing is padded.
    ones: Vec<i64>,
    /// Segment ids of every text: always the first segment.
    zeros: Vec<i64>,
}

impl OnnxBackend {
    pub fn new(model: &VerifiedModel, runtime: &OnnxRuntime) -> Self {
        Self {
            environment: runtime.environment.clone(),
            file: model.model_file(),
            weights: match model.listed_file(WEIGHTS_FILE) {
                Some(_) => Weights::Mapped,
                None => Weights::Copied,
            },
            vocabulary_size: model.manifest().vocabulary_size,
            pooling: model.manifest().pooling,
        }
    }
}

impl Backend for OnnxBackend {
    /// Sessions have one thread each, so that the same text gives the same bits.
    fn is_faster_wide(&self) -> bool {
        false
    }

    fn lane(&self) -> Result<Box<dyn Lane>, BackendError> {
        match OnnxLane::load(self) {
            Ok(lane) => Ok(Box::new(lane)),
            Err(error) => Err(BackendError { reason: error.to_string() }),
        }
    }
}

impl OnnxLane {
    pub fn load(backend: &OnnxBackend) -> Result<Self, LoadError> {
        let OnnxBackend { environment, file, weights, vocabulary_size, pooling } = backend;
        let session = session(environment, file, *weights)
            .map_err(|error| LoadError::Session { reason: error.to_string() })?;
        let inputs = session
            .inputs()
            .iter()
            .map(|input| Ok((input.name().to_owned(), input_kind(input.name())?)))
            .collect::<Result<Vec<_>, LoadError>>()?;
        let output = output(&session, *vocabulary_size)?;
        Ok(Self {
            session,
            inputs,
            output,
            vocabulary_size: usize::try_from(*vocabulary_size).unwrap_or(usize::MAX),
            pooling: *pooling,
            ids: Vec::new(),
            ones: Vec::new(),
            zeros: Vec::new(),
        })
    }
}

impl Lane for OnnxLane {
    fn run(&mut self, texts: &[&Tokens], _: Width) -> Result<Vec<SparseRow>, BackendError> {
        texts.iter().map(|tokens| self.row(tokens)).collect()
    }
}

impl OnnxLane {
    fn row(&mut self, tokens: &Tokens) -> Result<SparseRow, BackendError> {
        let fail = |error: ort::Error| BackendError { reason: error.to_string() };
        let Self { session, inputs, output: (name, kind), vocabulary_size, pooling, ids, ones, zeros } = self;
        let length = tokens.ids.len();
        ids.clear();
        ids.extend(tokens.ids.iter().map(|id| i64::from(*id)));
        ones.resize(length, 1);
        zeros.resize(length, 0);
        let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for (name, kind) in inputs.iter() {
            let data = match kind {
                InputKind::Ids => &ids,
                InputKind::Mask => &ones,
                InputKind::TokenTypes => &zeros,
            };
            let value = TensorRef::from_array_view(([1, length], data.as_slice())).map_err(fail)?;
            values.push((name, value.into()));
        }
        let outputs = session.run(values).map_err(fail)?;
        let (shape, values) = outputs[name.as_str()].try_extract_tensor::<f32>().map_err(fail)?;
        let expected = match kind {
            OutputKind::Pooled => *vocabulary_size,
            OutputKind::Logits => length * *vocabulary_size,
        };
        if values.len() != expected {
            let reason = format!(
                "output {name} has shape {shape:?} for a text of {length} tokens and {vocabulary_size} vocabulary entries"
            );
            return Err(BackendError { reason });
        }
        Ok(match kind {
            OutputKind::Pooled => SparseRow::from_dense(values),
            OutputKind::Logits => SparseRow::from_logits(values, *vocabulary_size, length, *pooling),
        })
    }
}

fn session(environment: &Environment, model: &Path, weights: Weights) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // Packed they would be copied, once for each lane; as they are, all lanes share the mapped file.
        .with_prepacking(weights == Weights::Copied)?
        // Reserving for the largest shape seen would keep the memory of one long text for ever.
        .with_memory_pattern(false)?;
    builder.commit_from_file(model)
}

fn input_kind(name: &str) -> Result<InputKind, LoadError> {
    match name {
        "input_ids" => Ok(InputKind::Ids),
        "attention_mask" => Ok(InputKind::Mask),
        "token_type_ids" => Ok(InputKind::TokenTypes),
        other => Err(LoadError::Input { name: other.to_owned() }),
    }
}

/// The first output that can be a row of weights or the logits of a masked-language model.
fn output(session: &Session, vocabulary_size: u32) -> Result<(String, OutputKind), LoadError> {
    let mut refused = LoadError::NoOutput;
    for output in session.outputs() {
        let name = output.name().to_owned();
        let shape: Vec<i64> = output.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
        match OutputKind::of(&shape, vocabulary_size) {
            Some(kind) => return Ok((name, kind)),
            None => refused = LoadError::Output { name, shape, vocabulary_size },
        }
    }
    Err(refused)
}
