//! What the worker counts. Guards count on drop, so that a request that ends early is counted too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lexiscale_wire::{WorkerErrorKind, WorkerInfo};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::memory::Memory;

/// From a tenth of a millisecond (a query on a small model takes two) to ten seconds (a bulk request that waited).
const SECONDS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From ten microseconds (one vector) to a tenth of a second (a thousand of them).
const SHORT_SECONDS: [f64; 10] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1];
/// Texts share a run only while they are short.
const TEXTS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
/// From a short query to a bulk request of long texts.
const TOKENS: [f64; 10] = [8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 2048.0, 8192.0, 65_536.0];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Route {
    Inference,
    EmbedSparse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    Ok,
    Overloaded,
    TooLarge,
    BadRequest,
    NotReady,
    Internal,
    /// The caller left before the answer.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum DropReason {
    Abandoned,
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Route,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    reason: DropReason,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histograms<RouteLabels>,
    in_flight: Gauge<i64, AtomicI64>,
    begun: AtomicU64,
    texts: Counter<u64, AtomicU64>,
    tokens: Counter<u64, AtomicU64>,
    dropped: Family<DropLabels, Counter>,
    queue_depth: Gauge<i64, AtomicI64>,
    queue_seconds: Histogram,
    tokenize_seconds: Histogram,
    serialize_seconds: Histogram,
    request_tokens: Histogram,
    run_texts: Histogram,
    static_texts: Counter<u64, AtomicU64>,
    texts_in_flight: Gauge<i64, AtomicI64>,
    resident_bytes: Gauge<i64, AtomicI64>,
    peak_bytes: Gauge<i64, AtomicI64>,
    inference_seconds: Histogram,
    certificate_expiry: Gauge<i64, AtomicI64>,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            begun: AtomicU64::default(),
            texts: Counter::default(),
            tokens: Counter::default(),
            dropped: Family::default(),
            queue_depth: Gauge::default(),
            queue_seconds: seconds(),
            tokenize_seconds: seconds(),
            serialize_seconds: Histogram::new(SHORT_SECONDS),
            request_tokens: Histogram::new(TOKENS),
            run_texts: Histogram::new(TEXTS),
            static_texts: Counter::default(),
            texts_in_flight: Gauge::default(),
            resident_bytes: Gauge::default(),
            peak_bytes: Gauge::default(),
            inference_seconds: seconds(),
            certificate_expiry: Gauge::default(),
        };
        let mut timed = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        timed("queue", "Time from arrival to the model", &metrics.queue_seconds);
        timed("tokenize", "Time to tokenise the texts of one request", &metrics.tokenize_seconds);
        timed("serialize", "Time to write the answer of one request", &metrics.serialize_seconds);
        timed(
            "inference",
            "Time of one run of the model: a text, or some short ones",
            &metrics.inference_seconds,
        );
        let help = "Time of one request, waiting included";
        registry.register_with_unit("request", help, Unit::Seconds, metrics.request_seconds.clone());
        registry.register("requests", "Requests by route and outcome", metrics.requests.clone());
        registry.register("requests_in_flight", "Requests being worked on", metrics.in_flight.clone());
        registry.register("texts", "Texts that ran through the model", metrics.texts.clone());
        registry.register("tokens", "Tokens that ran through the model", metrics.tokens.clone());
        registry.register("request_tokens", "Tokens of one request", metrics.request_tokens.clone());
        registry.register("run_texts", "Texts of one run of the model", metrics.run_texts.clone());
        let help = "Texts of searches that were answered from the model's table, without inference";
        registry.register("static_texts", help, metrics.static_texts.clone());
        let help = "Texts that wait or run, those that wait for the tokenizer included";
        registry.register("texts_in_flight", help, metrics.texts_in_flight.clone());
        let help = "Memory of the process";
        registry.register_with_unit("resident_memory", help, Unit::Bytes, metrics.resident_bytes.clone());
        let help = "Most memory that the process ever had";
        registry.register_with_unit("peak_memory", help, Unit::Bytes, metrics.peak_bytes.clone());
        registry.register("dropped_texts", "Texts dropped before they ran", metrics.dropped.clone());
        registry.register("queue_texts", "Texts that wait", metrics.queue_depth.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the served TLS certificate ends; 0 without TLS",
            metrics.certificate_expiry.clone(),
        );
        Arc::new(metrics)
    }

    pub fn request(self: &Arc<Self>, route: Route) -> RequestGuard {
        self.in_flight.inc();
        self.begun.fetch_add(1, Ordering::Relaxed);
        RequestGuard {
            metrics: Arc::clone(self),
            route,
            outcome: Outcome::Abandoned,
            started: Instant::now(),
        }
    }

    pub fn serves_certificate_until(&self, second: i64) {
        self.certificate_expiry.set(second);
    }

    pub fn tokenized(&self, duration: Duration) {
        self.tokenize_seconds.observe(duration.as_secs_f64());
    }

    pub fn serialized(&self, duration: Duration) {
        self.serialize_seconds.observe(duration.as_secs_f64());
    }

    pub fn request_tokens(&self, tokens: usize) {
        self.request_tokens.observe(tokens as f64);
    }

    pub fn searched_statically(&self, texts: usize) {
        self.static_texts.inc_by(texts as u64);
    }

    /// What is only looked at when somebody asks.
    pub fn sample(&self, texts_in_flight: usize, memory: Option<Memory>) {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.texts_in_flight.set(signed(texts_in_flight as u64));
        if let Some(Memory { resident_bytes, peak_bytes }) = memory {
            self.resident_bytes.set(signed(resident_bytes));
            self.peak_bytes.set(signed(peak_bytes));
        }
    }

    /// Requests so far.
    pub fn requests_begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Requests that are being worked on.
    pub fn requests_in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    pub fn queue_depth(&self, texts: usize) {
        self.queue_depth.set(i64::try_from(texts).unwrap_or(i64::MAX));
    }

    pub fn queued(&self, duration: Duration) {
        self.queue_seconds.observe(duration.as_secs_f64());
    }

    pub fn dropped(&self, reason: DropReason, texts: usize) {
        if texts > 0 {
            self.dropped.get_or_create(&DropLabels { reason }).inc_by(texts as u64);
        }
    }

    /// Texts of these many tokens have run through the model together.
    pub fn ran(&self, tokens: impl Iterator<Item = usize>, duration: Duration) {
        let mut texts = 0.0;
        for tokens in tokens {
            texts += 1.0;
            self.texts.inc();
            self.tokens.inc_by(tokens as u64);
        }
        self.run_texts.observe(texts);
        self.inference_seconds.observe(duration.as_secs_f64());
    }
}

/// What is being served, as labels of a metric that is always 1.
pub fn register_info(registry: &mut Registry, info: &WorkerInfo) {
    let labels = vec![
        ("model", info.model.clone()),
        ("revision", info.revision.clone()),
        ("digest", info.digest.clone()),
        ("threads", info.threads.to_string()),
        ("precision", info.precision.to_string()),
        ("version", info.version.clone()),
    ];
    registry.register("model", "The model that is served", Info::new(labels));
}

/// Counts a request when it is dropped: as abandoned unless told how it ended.
pub struct RequestGuard {
    metrics: Arc<Metrics>,
    route: Route,
    outcome: Outcome,
    started: Instant,
}

impl RequestGuard {
    pub fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let Self { metrics, route, outcome, started } = self;
        metrics.in_flight.dec();
        metrics.requests.get_or_create(&RequestLabels { route: *route, outcome: *outcome }).inc();
        let labels = RouteLabels { route: *route };
        metrics.request_seconds.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    }
}

impl From<WorkerErrorKind> for Outcome {
    fn from(kind: WorkerErrorKind) -> Self {
        match kind {
            WorkerErrorKind::Overloaded => Self::Overloaded,
            WorkerErrorKind::TooLarge => Self::TooLarge,
            WorkerErrorKind::BadRequest => Self::BadRequest,
            WorkerErrorKind::NotReady => Self::NotReady,
            WorkerErrorKind::Internal => Self::Internal,
        }
    }
}
