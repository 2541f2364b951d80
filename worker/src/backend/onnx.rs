//! ONNX Runtime behind the [`Backend`] trait. One session, used by one thread.

pub mod limit;

use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;

use super::{Backend, BackendError, TokenBatch};
use crate::model::inspect::OutputKind;
use crate::model::saturation::Saturation;
use crate::model::verify::VerifiedModel;
use crate::pooling::SparseRow;

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

pub struct OnnxBackend {
    session: Session,
    inputs: Vec<(String, InputKind)>,
    output: (String, OutputKind),
    vocabulary_size: usize,
    saturation: Saturation,
    /// Segment ids of every text: always the first segment. Kept because it only ever grows.
    zeros: Vec<i64>,
}

impl OnnxBackend {
    pub fn load(model: &VerifiedModel, runtime: &OnnxRuntime, threads: usize) -> Result<Self, LoadError> {
        let session = session(&runtime.environment, &model.model_file(), threads)
            .map_err(|error| LoadError::Session { reason: error.to_string() })?;
        let vocabulary_size = usize::try_from(model.manifest().vocabulary_size).unwrap_or(usize::MAX);
        let inputs = session
            .inputs()
            .iter()
            .map(|input| Ok((input.name().to_owned(), input_kind(input.name())?)))
            .collect::<Result<Vec<_>, LoadError>>()?;
        let output = output(&session, model.manifest().vocabulary_size)?;
        let saturation = model.manifest().pooling;
        Ok(Self { session, inputs, output, vocabulary_size, saturation, zeros: Vec::new() })
    }

    fn rows(&self, batch: &TokenBatch, values: &[f32]) -> Vec<SparseRow> {
        match self.output.1 {
            OutputKind::Pooled => {
                values.chunks_exact(self.vocabulary_size).map(SparseRow::from_dense).collect()
            }
            OutputKind::Logits => values
                .chunks_exact(self.vocabulary_size * batch.length())
                .zip(batch.tokens())
                .map(|(logits, tokens)| {
                    SparseRow::from_logits(logits, self.vocabulary_size, *tokens, self.saturation)
                })
                .collect(),
        }
    }
}

fn session(environment: &Environment, model: &Path, threads: usize) -> ort::Result<Session> {
    // Spinning threads burn the CPU time of their own container, and without it nothing measurable is lost.
    let mut builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // Reserving for the largest shape seen would keep the memory of one long batch for ever.
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

impl Backend for OnnxBackend {
    fn run(&mut self, batch: &TokenBatch) -> Result<Vec<SparseRow>, BackendError> {
        let fail = |error: ort::Error| BackendError { reason: error.to_string() };
        let shape = [batch.texts(), batch.length()];
        self.zeros.resize(batch.ids().len().max(self.zeros.len()), 0);
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(self.inputs.len());
        for (name, kind) in &self.inputs {
            let data = match kind {
                InputKind::Ids => batch.ids(),
                InputKind::Mask => batch.mask(),
                InputKind::TokenTypes => &self.zeros[..batch.ids().len()],
            };
            inputs.push((name, TensorRef::from_array_view((shape, data)).map_err(fail)?.into()));
        }
        let outputs = self.session.run(inputs).map_err(fail)?;
        let (found, values) = outputs[self.output.0.as_str()].try_extract_tensor::<f32>().map_err(fail)?;
        let expected = match self.output.1 {
            OutputKind::Pooled => batch.texts() * self.vocabulary_size,
            OutputKind::Logits => batch.ids().len() * self.vocabulary_size,
        };
        if values.len() != expected {
            let reason = format!(
                "output {} has shape {found:?} for {} texts of {} tokens and {} vocabulary entries",
                self.output.0,
                batch.texts(),
                batch.length(),
                self.vocabulary_size
            );
            return Err(BackendError { reason });
        }
        // The outputs borrow the session, and `rows` needs the other fields only.
        let values = values.to_vec();
        drop(outputs);
        Ok(self.rows(batch, &values))
    }
}
