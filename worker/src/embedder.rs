//! A request's way through the worker: tokenise, wait, name the tokens. Knows nothing of HTTP.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lexiscale_wire::{
    InputType, Options, Precision, Pruning, Sizing, SparseEmbedding, TruncationDirection, WorkerError,
    WorkerErrorKind, WorkerInfo,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::backend::Backend;
use crate::backend::native::{self, NativeBackend, NativeError};
use crate::backend::onnx::{LoadError, OnnxBackend, OnnxRuntime};
use crate::engine::{Dimensions, Engine, EngineError, StartError, Submission, SubmitError};
use crate::metrics::Metrics;
use crate::model::manifest::{Manifest, TOKENIZER_FILE};
use crate::model::verify::{VerifiedModel, VerifyError, read_manifest};
use crate::pooling::SparseRow;
use crate::precision::{self, Arithmetic, PrecisionError, PrecisionSetting};
use crate::prompts::{PROMPTS_FILE, Prompts, PromptsError};
use crate::queue::Full;
use crate::static_search::{StaticSearch, TableError};
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
    /// What is given out of each vector, where a request does not say otherwise.
    pub pruning: Pruning,
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
    Prompts(#[from] PromptsError),
    #[error("failed to read {file}, which belongs to the model")]
    Part {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the manifest names {file} for queries, but does not list it")]
    Unlisted { file: String },
    #[error(transparent)]
    Table(#[from] TableError),
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
    pub options: Options,
    /// How long the caller will wait.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    pub row: SparseRow,
    pub is_truncated: bool,
    /// Tokens of the text, special ones included, as far as they were not cut off.
    pub tokens: usize,
}

/// What a model has beside its graph and its vocabulary.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    pub prompts: Prompts,
    /// How queries are answered without the model, where they can be.
    pub static_search: Option<StaticSearch>,
}

impl Extras {
    fn open(model: &VerifiedModel, vocabulary: usize) -> Result<Self, OpenError> {
        let read = |file: &str| {
            let Some(path) = model.listed_file(file) else { return Ok(None) };
            let part = |source| OpenError::Part { file: file.to_owned(), source };
            fs_err::read(path).map(Some).map_err(part)
        };
        let prompts = read(PROMPTS_FILE)?.map(|json| Prompts::parse(&json)).transpose()?.unwrap_or_default();
        let static_search = match &model.manifest().static_search {
            Some(search) => {
                let table = read(&search.file)?;
                let table = table.ok_or_else(|| OpenError::Unlisted { file: search.file.clone() })?;
                Some(StaticSearch::parse(&table, vocabulary)?)
            }
            None => None,
        };
        Ok(Self { prompts, static_search })
    }
}

/// Which tokens a text becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Those that the model sees.
    Model,
    /// Those of the text alone.
    Plain,
}

pub struct Embedder {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    engine: Engine,
    extras: Extras,
    info: WorkerInfo,
    sizing: OnceLock<Sizing>,
    max_texts: usize,
    pruning: Pruning,
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
        let speed = native::kernel_speed();
        let choice = precision::choose(settings.precision, &manifest, speed)?;
        let arithmetic = Arithmetic::of(choice.precision, &manifest, speed);
        tracing::info!(precision = %choice.precision, reason = choice.reason, ?arithmetic, "chose the arithmetic");
        // Both take most of the start, and need a processor each.
        let (model, text) = std::thread::scope(|scope| {
            let text = scope.spawn(|| TextParts::read(folder, &manifest));
            let model = VerifiedModel::for_arithmetic(folder, manifest.clone(), arithmetic);
            (model, text.join())
        });
        let model = model?;
        let TextParts { tokenizer, vocabulary } = text.map_err(|_| OpenError::TokenizerPanic)??;
        let extras = Extras::open(&model, vocabulary.len())?;
        stages.end("verified, with tokenizer");
        let backend: Box<dyn Backend> = match arithmetic {
            Arithmetic::Onnx => Box::new(OnnxBackend::new(&model, &runtime()?)),
            Arithmetic::Kernels(precision) => {
                Box::new(NativeBackend::load(&model, precision, settings.threads)?)
            }
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
            vocabulary: manifest.vocabulary.clone(),
            threads: u32::try_from(settings.threads).unwrap_or(u32::MAX),
            precision: choice.precision,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sizing: None,
        };
        Ok(Self::new(Parts { tokenizer, vocabulary, engine, extras, info }, settings, metrics))
    }

    pub fn new(parts: Parts, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let Parts { tokenizer, vocabulary, engine, extras, info } = parts;
        let Settings { threads, precision: _, queue_capacity: capacity, max_texts, pruning } = settings;
        let tokenizing = Arc::new(Semaphore::new(threads));
        let untokenized = Semaphore::new(capacity);
        let sizing = OnceLock::new();
        Self {
            tokenizer,
            vocabulary,
            engine,
            extras,
            info,
            sizing,
            max_texts,
            pruning,
            tokenizing,
            untokenized,
            capacity,
            metrics,
        }
    }

    pub fn info(&self) -> WorkerInfo {
        WorkerInfo { sizing: self.sizing.get().copied(), ..self.info.clone() }
    }

    pub fn precision(&self) -> Precision {
        self.info.precision
    }

    /// `sha256:` over vocabulary and tokenizer.
    pub fn vocabulary_digest(&self) -> Option<&str> {
        self.info.vocabulary.as_deref()
    }

    /// Remembers what was measured, the first time.
    pub fn sized(&self, sizing: Sizing) {
        // A second measurement changes nothing: whoever read the first has acted on it.
        let _ = self.sizing.set(sizing);
    }

    /// Tokens that a text takes, special ones included; as good as infinitely many where there is no room for them.
    pub fn count(&self, text: &str) -> usize {
        self.tokenizer
            .encode(text)
            .map_or(usize::MAX, |tokens| if tokens.is_truncated { usize::MAX } else { tokens.ids.len() })
    }

    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Rows in the order of the texts. Dropping the future takes the texts out of the queue.
    pub async fn embed(&self, texts: Texts) -> Result<Vec<Embedded>, WorkerError> {
        let Texts { texts, input_type, options, timeout } = texts;
        let Options { pruning, truncate, truncation_direction, prompt_name, format: _ } = options;
        let arrived = Instant::now();
        if texts.len() > self.max_texts {
            let message =
                format!("{} texts in one request, at most {} are allowed", texts.len(), self.max_texts);
            return Err(WorkerError::new(WorkerErrorKind::TooLarge, message));
        }
        let texts = self.prompted(texts, prompt_name.as_deref(), input_type)?;
        let search = self.extras.static_search.as_ref().filter(|search| search.answers(input_type));
        let kind = if search.is_some() { Kind::Plain } else { Kind::Model };
        if search.is_none() {
            self.engine.check_room(texts.len()).map_err(refused)?;
        }
        let tokens = self.tokenize(texts, kind, truncation_direction.unwrap_or_default()).await?;
        if let (Some(false), Some(index)) = (truncate, tokens.iter().position(|text| text.is_truncated)) {
            let message =
                format!("text {index} is longer than the {} tokens of the model", self.info.max_tokens);
            return Err(WorkerError::new(WorkerErrorKind::TooLarge, message));
        }
        let counts: Vec<_> = tokens.iter().map(|text| (text.ids.len(), text.is_truncated)).collect();
        self.metrics.request_tokens(counts.iter().map(|(tokens, _)| tokens).sum());
        let rows = if let Some(search) = search {
            self.metrics.searched_statically(counts.len());
            tokens.iter().map(|text| search.row(&text.ids)).collect()
        } else {
            let deadline = timeout.and_then(|timeout| arrived.checked_add(timeout));
            self.run(tokens, input_type, arrived, deadline).await?
        };
        let pruning = pruning.or(self.pruning);
        let embedded = rows.into_iter().zip(counts).map(|(row, (tokens, is_truncated))| Embedded {
            row: row.pruned(pruning),
            is_truncated,
            tokens,
        });
        Ok(embedded.collect())
    }

    /// A row for each text, by the model.
    async fn run(
        &self,
        tokens: Vec<Tokens>,
        input_type: Option<InputType>,
        arrived: Instant,
        deadline: Option<Instant>,
    ) -> Result<Vec<SparseRow>, WorkerError> {
        // A tokenizer without special tokens makes nothing of an empty text, and nothing has no weights.
        let is_empty: Vec<bool> = tokens.iter().map(|text| text.ids.is_empty()).collect();
        let submission = Submission {
            texts: tokens.into_iter().filter(|text| !text.ids.is_empty()).collect(),
            input_type: input_type.unwrap_or(InputType::Ingest),
            arrived,
            deadline,
        };
        let pending = self.engine.submit(submission).map_err(refused)?;
        let mut rows = pending.rows().await.map_err(|error| failed(&error))?.into_iter();
        let row = |is_empty| if is_empty { SparseRow::default() } else { rows.next().unwrap_or_default() };
        Ok(is_empty.into_iter().map(row).collect())
    }

    /// The texts behind the prompt that the model wants before them.
    fn prompted(
        &self,
        texts: Vec<String>,
        name: Option<&str>,
        input_type: Option<InputType>,
    ) -> Result<Vec<String>, WorkerError> {
        let prompt = self.extras.prompts.of(name, input_type);
        let prompt =
            prompt.map_err(|error| WorkerError::new(WorkerErrorKind::BadRequest, error.to_string()))?;
        if prompt.is_empty() {
            return Ok(texts);
        }
        Ok(texts.into_iter().map(|text| format!("{prompt}{text}")).collect())
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

    async fn tokenize(
        &self,
        texts: Vec<String>,
        kind: Kind,
        direction: TruncationDirection,
    ) -> Result<Vec<Tokens>, WorkerError> {
        let internal = |message: String| WorkerError::new(WorkerErrorKind::Internal, message);
        // Given back before the texts are in the queue, so that none counts twice.
        let _reserved = self.reserve(texts.len()).map_err(|full| refused(full.into()))?;
        let permit = Arc::clone(&self.tokenizing).acquire_owned().await;
        let permit = permit.map_err(|_| internal("the worker is shutting down".to_owned()))?;
        let tokenizer = self.tokenizer.clone();
        let started = Instant::now();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let encode = |text: &String| match kind {
                Kind::Model => tokenizer.encode_cut(text, direction),
                Kind::Plain => tokenizer.encode_plain(text, direction),
            };
            texts.iter().map(encode).collect::<Result<Vec<_>, _>>()
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
    pub extras: Extras,
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
