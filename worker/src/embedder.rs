//! A request's way through the worker: tokenise, wait, name the tokens. Knows nothing of HTTP.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lexiscale_wire::{InputType, Precision, SparseEmbedding, WorkerError, WorkerErrorKind, WorkerInfo};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::backend::Backend;
use crate::backend::native::{self, NativeBackend, NativeError};
use crate::backend::onnx::{LoadError, OnnxBackend, OnnxRuntime};
use crate::engine::{Dimensions, Engine, EngineError, StartError, Submission, SubmitError};
use crate::metrics::Metrics;
use crate::model::manifest::{Manifest, TOKENIZER_FILE};
use crate::model::verify::{VerifiedModel, VerifyError, read_manifest};
use crate::pooling::SparseRow;
use crate::precision::{self, PrecisionError, PrecisionSetting};
use crate::queue::Full;
use crate::tokenize::{Tokenizer, TokenizerError, Tokens};
use crate::vocabulary::{Vocabulary, VocabularyError};

/// Long enough to touch each part of the model, short enough to cost nothing.
const WARM_UP_TEXT: &str = "A worker that is ready has answered this sentence before.";

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub threads: usize,
    pub precision: PrecisionSetting,
    /// Texts that may wait.
    pub queue_capacity: usize,
    /// Texts in one request.
    pub max_texts: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    #[error("failed to read tokenizer.json")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Native(#[from] NativeError),
    #[error("reading the tokenizer panicked")]
    TokenizerPanic,
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("failed to tokenise the warm-up text: {0}")]
    WarmUpText(String),
}

/// Texts of one request and how they are to be treated.
#[derive(Clone, Debug)]
pub struct Texts {
    pub texts: Vec<String>,
    pub input_type: Option<InputType>,
    pub truncation: Truncation,
    /// How long the caller will wait.
    pub timeout: Option<Duration>,
}

/// What happens to a text beyond the model's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    Cut,
    Refuse,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    pub row: SparseRow,
    pub is_truncated: bool,
}

pub struct Embedder {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    engine: Engine,
    info: WorkerInfo,
    max_texts: usize,
    /// Tokenising is arithmetic as well: no more of it at once than the worker has threads.
    tokenizing: Arc<Semaphore>,
    /// Texts that wait for the tokenizer hold memory: no more of them than the queue could ever take.
    untokenized: Semaphore,
    capacity: usize,
    metrics: Arc<Metrics>,
}

impl Embedder {
    /// Verifies, loads and warms up. Blocks for as long as that takes. `runtime` is asked for only where it is needed.
    pub fn open(
        folder: &Path,
        runtime: &dyn Fn() -> Result<OnnxRuntime, LoadError>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let mut stages = Stages::new();
        let manifest = read_manifest(folder)?;
        let choice = precision::choose(settings.precision, &manifest, native::integer_speed())?;
        tracing::info!(precision = %choice.precision, reason = choice.reason, "chose the arithmetic");
        // Both take most of the start, and need a processor each.
        let (model, text) = std::thread::scope(|scope| {
            let text = scope.spawn(|| TextParts::read(folder, &manifest));
            let model = VerifiedModel::for_precision(folder, manifest.clone(), choice.precision);
            (model, text.join())
        });
        let model = model?;
        let TextParts { tokenizer, vocabulary } = text.map_err(|_| OpenError::TokenizerPanic)??;
        stages.end("verified, with tokenizer");
        let backend: Box<dyn Backend> = match choice.precision {
            Precision::Fp32 => Box::new(OnnxBackend::new(&model, &runtime()?)),
            Precision::Int8 => Box::new(NativeBackend::load(&model, settings.threads)?),
        };
        stages.end("model");
        let warm_up =
            tokenizer.encode(WARM_UP_TEXT).map_err(|error| OpenError::WarmUpText(error.to_string()))?;
        let dimensions = Dimensions { threads: settings.threads, capacity: settings.queue_capacity };
        let engine = Engine::start(backend.as_ref(), dimensions, &warm_up, Arc::clone(&metrics))?;
        stages.end("lanes");
        tracing::info!(%stages, "loaded");
        let info = WorkerInfo {
            model: manifest.source.clone(),
            revision: manifest.revision.clone(),
            digest: manifest.digest.clone(),
            max_tokens: manifest.max_tokens,
            vocabulary_size: manifest.vocabulary_size,
            threads: u32::try_from(settings.threads).unwrap_or(u32::MAX),
            precision: choice.precision,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Self::new(Parts { tokenizer, vocabulary, engine, info }, settings, metrics))
    }

    pub fn new(parts: Parts, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let Parts { tokenizer, vocabulary, engine, info } = parts;
        let Settings { threads, precision: _, queue_capacity: capacity, max_texts } = settings;
        let tokenizing = Arc::new(Semaphore::new(threads));
        let untokenized = Semaphore::new(capacity);
        Self { tokenizer, vocabulary, engine, info, max_texts, tokenizing, untokenized, capacity, metrics }
    }

    pub fn info(&self) -> &WorkerInfo {
        &self.info
    }

    /// Rows in the order of the texts. Dropping the future takes the texts out of the queue.
    pub async fn embed(&self, texts: Texts) -> Result<Vec<Embedded>, WorkerError> {
        let Texts { texts, input_type, truncation, timeout } = texts;
        let arrived = Instant::now();
        if texts.len() > self.max_texts {
            let message =
                format!("{} texts in one request, at most {} are allowed", texts.len(), self.max_texts);
            return Err(WorkerError::new(WorkerErrorKind::TooLarge, message));
        }
        self.engine.check_room(texts.len()).map_err(refused)?;
        let tokens = self.tokenize(texts).await?;
        let cut: Vec<bool> = tokens.iter().map(|text| text.is_truncated).collect();
        if let (Truncation::Refuse, Some(index)) = (truncation, cut.iter().position(|is_cut| *is_cut)) {
            let message =
                format!("text {index} is longer than the {} tokens of the model", self.info.max_tokens);
            return Err(WorkerError::new(WorkerErrorKind::TooLarge, message));
        }
        // A tokenizer without special tokens makes nothing of an empty text, and nothing has no weights.
        let is_empty: Vec<bool> = tokens.iter().map(|text| text.ids.is_empty()).collect();
        let submission = Submission {
            texts: tokens.into_iter().filter(|text| !text.ids.is_empty()).collect(),
            input_type: input_type.unwrap_or(InputType::Ingest),
            arrived,
            deadline: timeout.and_then(|timeout| arrived.checked_add(timeout)),
        };
        let pending = self.engine.submit(submission).map_err(refused)?;
        let mut rows = pending.rows().await.map_err(|error| failed(&error))?.into_iter();
        Ok(is_empty
            .into_iter()
            .zip(cut)
            .map(|(is_empty, is_truncated)| {
                let row = if is_empty { SparseRow::default() } else { rows.next().unwrap_or_default() };
                Embedded { row, is_truncated }
            })
            .collect())
    }

    pub fn name(&self, row: &SparseRow) -> SparseEmbedding {
        let entries = row.entries().iter().map(|(id, weight)| (*id, self.vocabulary.token(*id), *weight));
        SparseEmbedding::from_weights(entries)
    }

    /// Texts that wait or run.
    pub fn load(&self) -> usize {
        let untokenized = self.capacity.saturating_sub(self.untokenized.available_permits());
        untokenized.saturating_add(self.engine.load())
    }

    /// Finishes what waits. Blocks.
    pub fn close(&self) {
        self.engine.close();
    }

    fn reserve(&self, texts: usize) -> Result<SemaphorePermit<'_>, Full> {
        let permits = u32::try_from(texts).unwrap_or(u32::MAX);
        self.untokenized.try_acquire_many(permits).map_err(|_| {
            let waiting = self.capacity.saturating_sub(self.untokenized.available_permits());
            Full { waiting, capacity: self.capacity, asked: texts }
        })
    }

    async fn tokenize(&self, texts: Vec<String>) -> Result<Vec<Tokens>, WorkerError> {
        let internal = |message: String| WorkerError::new(WorkerErrorKind::Internal, message);
        // Given back before the texts are in the queue, so that none counts twice.
        let _reserved = self.reserve(texts.len()).map_err(|full| refused(full.into()))?;
        let permit = Arc::clone(&self.tokenizing).acquire_owned().await;
        let permit = permit.map_err(|_| internal("the worker is shutting down".to_owned()))?;
        let tokenizer = self.tokenizer.clone();
        let started = Instant::now();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()
        });
        // Some texts make the tokenizer panic; the runtime turns that into an error of this task alone.
        let tokens = task.await.map_err(|_| internal("the tokenizer panicked".to_owned()))?;
        self.metrics.tokenized(started.elapsed());
        tokens.map_err(|error| internal(error.to_string()))
    }
}

/// What comes out of `tokenizer.json`.
struct TextParts {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
}

impl TextParts {
    fn read(folder: &Path, manifest: &Manifest) -> Result<Self, OpenError> {
        let json = fs_err::read_to_string(folder.join(TOKENIZER_FILE)).map_err(OpenError::Read)?;
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let tokenizer = Tokenizer::parse(&json, size(manifest.max_tokens))?;
        let vocabulary = Vocabulary::parse(&json, size(manifest.vocabulary_size))?;
        Ok(Self { tokenizer, vocabulary })
    }
}

/// How long each part of loading took, for the log.
struct Stages {
    since: Instant,
    ended: Vec<(&'static str, Duration)>,
}

impl Stages {
    fn new() -> Self {
        Self { since: Instant::now(), ended: Vec::new() }
    }

    fn end(&mut self, stage: &'static str) {
        self.ended.push((stage, self.since.elapsed()));
        self.since = Instant::now();
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (stage, took)) in self.ended.iter().enumerate() {
            let blank = if number == 0 { "" } else { " " };
            write!(formatter, "{blank}{stage} {} ms", took.as_millis())?;
        }
        Ok(())
    }
}

/// What [`Embedder::new`] is made of.
pub struct Parts {
    pub tokenizer: Tokenizer,
    pub vocabulary: Vocabulary,
    pub engine: Engine,
    pub info: WorkerInfo,
}

fn refused(error: SubmitError) -> WorkerError {
    let kind = match error {
        // Waiting would not help a request that does not fit into an empty queue.
        SubmitError::Full(full) if full.asked > full.capacity => WorkerErrorKind::TooLarge,
        SubmitError::Full(_) => WorkerErrorKind::Overloaded,
        SubmitError::Closed => WorkerErrorKind::NotReady,
    };
    WorkerError::new(kind, error.to_string())
}

fn failed(error: &EngineError) -> WorkerError {
    let kind = match error {
        EngineError::Expired => WorkerErrorKind::Overloaded,
        EngineError::Backend(_) | EngineError::Gone => WorkerErrorKind::Internal,
    };
    WorkerError::new(kind, error.to_string())
}
