//! `bench`: loads a model as `serve` does and measures what it gives on this machine. The whole way of a request but for HTTP: text
//! to tokens, queue, model, JSON.

pub mod report;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lexiscale_kernels::{Precision, detect, limit};
use lexiscale_wire::{Format, InputType, Options as RequestOptions, WorkerError};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use self::report::{Limits, OfLength, Query, Report, Spread};
use self::work::{Speeds, Work};
use crate::backend::native::kernel_speed;
use crate::backend::onnx::OnnxRuntime;
use crate::embedder::{Embedded, Embedder, OpenError, Settings, Texts};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::model::verify::read_manifest;
use crate::output::{self, Envelope, Written};
use crate::precision::{Arithmetic, KernelSpeed};
use crate::specimen;

/// Of each length, one after the other in each.
const ROUNDS: u32 = 5;
/// Other texts of one length, so that none is answered from a warm cache alone.
const VARIANTS: usize = 16;
/// As long as a question.
const QUERY_TOKENS: usize = 16;
/// Repetitions of what takes microseconds.
const SHORT_RUNS: u32 = 200;

#[derive(Clone, Debug)]
pub struct Options {
    pub model: PathBuf,
    pub library: PathBuf,
    pub settings: Settings,
    /// For all of it, loading not counted.
    pub time: Duration,
    /// Tokens of the documents.
    pub lengths: Vec<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("the model cannot be loaded")]
    Open(#[source] OpenError),
    #[error("a part of the measurement ended by a panic")]
    Panicked,
    #[error("failed to embed a text")]
    Embed(#[source] WorkerError),
    #[error("nothing was measured in the time that was given; give more than {seconds} s")]
    TooShort { seconds: f64 },
    #[error("the kernel does not say how much memory the process has")]
    Memory,
}

pub async fn run(options: Options) -> Result<Report, BenchError> {
    let Options { model, library, settings, time, lengths } = options;
    let config = fs_err::read(model.join("config.json")).ok();
    let work = config.and_then(|config| Work::parse(&config));
    let manifest = read_manifest(&model).map_err(OpenError::from).map_err(BenchError::Open)?;
    let started = Instant::now();
    let loading = tokio::task::spawn_blocking(move || {
        let metrics = Metrics::register(&mut Registry::default());
        Embedder::open(&model, &|| OnnxRuntime::load(&library), settings, metrics)
    });
    let embedder = loading.await.map_err(|_| BenchError::Panicked)?.map_err(BenchError::Open)?;
    let load_seconds = started.elapsed().as_secs_f64();
    let embedder = Arc::new(embedder);
    let info = embedder.info();
    let bench = Bench { embedder, threads: settings.threads };
    // A share for each length and one for queries.
    let share = time / u32::try_from(lengths.len() + 1).unwrap_or(u32::MAX);
    let query = bench.query(share).await?;
    let mut measured = Vec::new();
    for tokens in lengths {
        let window = usize::try_from(info.max_tokens).unwrap_or(usize::MAX);
        measured.push(bench.of_length(tokens.min(window), share).await?);
    }
    // Before the limit is measured, which takes memory of its own.
    let memory = Memory::now().ok_or(BenchError::Memory)?;
    let closing = Arc::clone(&bench.embedder);
    tokio::task::spawn_blocking(move || closing.close()).await.map_err(|_| BenchError::Panicked)?;
    let limits = limits(settings.threads).await?;
    let arithmetic = Arithmetic::of(info.precision, &manifest, kernel_speed());
    let speeds = limits.map(|limits| Speeds::of(limits, arithmetic, manifest.pooling.reduction));
    for length in &mut measured {
        let of_limit = |(work, speeds): (&Work, Speeds)| {
            work.seconds(length.tokens, speeds) * length.documents_per_second.median
        };
        length.share_of_limit = work.as_ref().zip(speeds).map(of_limit);
    }
    Ok(Report {
        model: info.model,
        revision: info.revision,
        version: info.version,
        precision: info.precision,
        threads: info.threads,
        load_seconds,
        resident_bytes: memory.resident_bytes,
        peak_bytes: memory.peak_bytes,
        limits,
        lengths: measured,
        query,
    })
}

/// None where the kernels have no instructions for the CPU: what runs there is not what they would reach.
async fn limits(threads: usize) -> Result<Option<Limits>, BenchError> {
    if kernel_speed() == KernelSpeed::Slow {
        return Ok(None);
    }
    let measure = move || {
        let reached = |precision| limit::measure(detect(), precision, threads);
        Limits { fp32: reached(Precision::Fp32), int8: reached(Precision::Int8) }
    };
    tokio::task::spawn_blocking(measure).await.map(Some).map_err(|_| BenchError::Panicked)
}

struct Bench {
    embedder: Arc<Embedder>,
    threads: usize,
}

impl Bench {
    fn texts(&self, tokens: usize) -> Vec<String> {
        let count = |text: &str| self.embedder.count(text);
        (0..VARIANTS).map(|variant| specimen::text(tokens, variant * 7, count)).collect()
    }

    /// Searches, one after the other.
    async fn query(&self, time: Duration) -> Result<Query, BenchError> {
        let texts = self.texts(QUERY_TOKENS);
        let started = Instant::now();
        let mut times = Vec::new();
        for text in texts.iter().cycle() {
            let began = Instant::now();
            answer(&self.embedder, text.clone(), InputType::Search).await?;
            times.push(began.elapsed());
            if started.elapsed() >= time {
                break;
            }
        }
        Query::of(QUERY_TOKENS, times).ok_or(BenchError::TooShort { seconds: time.as_secs_f64() })
    }

    async fn of_length(&self, tokens: usize, time: Duration) -> Result<OfLength, BenchError> {
        let texts = self.texts(tokens);
        // The first run of a length may allocate what later ones find.
        let embedded = answer(&self.embedder, texts[0].clone(), InputType::Ingest).await?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(self.round(&texts, time / ROUNDS).await?);
        }
        let too_short = || BenchError::TooShort { seconds: time.as_secs_f64() };
        let spread = Spread::of(rounds).ok_or_else(too_short)?;
        let tokenize = each(|| self.embedder.count(&texts[0]));
        let serialize = each(|| written(&self.embedder, &embedded).len());
        let seconds = self.threads as f64 / spread.median;
        Ok(OfLength {
            tokens,
            documents_per_second: spread,
            tokens_per_second: embedded.tokens as f64 * spread.median,
            share_of_limit: None,
            tokenize_microseconds: tokenize * 1e6,
            serialize_microseconds: serialize * 1e6,
            share_of_text_work: (tokenize + serialize) / seconds,
        })
    }

    /// Documents a second, with one more for each thread waiting, so that no thread does.
    async fn round(&self, texts: &[String], time: Duration) -> Result<f64, BenchError> {
        let mut left = texts.iter().cycle().cloned();
        let mut running = JoinSet::new();
        let started = Instant::now();
        let mut documents = 0_u32;
        loop {
            while running.len() < 2 * self.threads
                && let Some(text) = left.next()
            {
                let embedder = Arc::clone(&self.embedder);
                running.spawn(async move { answer(&embedder, text, InputType::Ingest).await });
            }
            if let Some(done) = running.join_next().await {
                done.map_err(|_| BenchError::Panicked)??;
                documents += 1;
            }
            if started.elapsed() >= time {
                break;
            }
        }
        let rate = f64::from(documents) / started.elapsed().as_secs_f64();
        // What is under way would disturb the next round.
        while let Some(done) = running.join_next().await {
            done.map_err(|_| BenchError::Panicked)??;
        }
        Ok(rate)
    }
}

/// All that `serve` does for a text.
async fn answer(embedder: &Embedder, text: String, input_type: InputType) -> Result<Embedded, BenchError> {
    let texts = Texts {
        texts: vec![text],
        input_type: Some(input_type),
        options: RequestOptions::default(),
        timeout: None,
    };
    let mut rows = embedder.embed(texts).await.map_err(BenchError::Embed)?;
    let text = rows.pop().ok_or(BenchError::Panicked)?;
    std::hint::black_box(written(embedder, &text));
    Ok(text)
}

fn written(embedder: &Embedder, text: &Embedded) -> Vec<u8> {
    let row = Written { row: &text.row, is_truncated: text.is_truncated };
    output::answer(std::iter::once(row), Envelope::Inference, Format::Tokens, embedder.vocabulary())
}

/// Seconds of one run.
fn each(run: impl Fn() -> usize) -> f64 {
    let started = Instant::now();
    for _ in 0..SHORT_RUNS {
        std::hint::black_box(run());
    }
    started.elapsed().as_secs_f64() / f64::from(SHORT_RUNS)
}
