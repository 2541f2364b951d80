//! A worker measures itself once, in a quiet moment after its start: how fast it is on this machine and what memory it wants. One
//! text at a time, a second in all at most, and not beside anybody's request: who comes waits for one text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lexiscale_wire::{InputType, Options, Sizing};

use crate::embedder::{Embedder, Texts};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::specimen;

/// The length that documents are compared at.
const DOCUMENT_TOKENS: usize = 128;
/// All of a measurement.
const LONGEST: Duration = Duration::from_secs(1);
/// Of that, for documents; the rest is for one text as long as the window.
const FOR_DOCUMENTS: Duration = Duration::from_millis(500);

const MEBIBYTE: u64 = 1024 * 1024;
/// For texts that wait and answers that are being sent.
const QUEUE_BYTES: u64 = 64 * MEBIBYTE;
const MEMORY_UNIT: u64 = 16 * MEBIBYTE;

/// What a measurement saw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Of one document.
    tokens: usize,
    took: Duration,
    threads: u32,
    /// How many times the tokens of the longest text that ran the model's window has.
    beyond: u64,
    before: Memory,
    /// After the longest text.
    after: Memory,
}

/// Waits for a moment in which nobody has asked for `quiet`, measures, and tells the embedder. Dropped, it gives up.
pub async fn measure_when_quiet(embedder: Arc<Embedder>, metrics: Arc<Metrics>, quiet: Duration) {
    loop {
        let begun = metrics.requests_begun();
        tokio::time::sleep(quiet).await;
        let watch = Watch { embedder: &embedder, metrics: &metrics, begun };
        if watch.is_disturbed() {
            continue;
        }
        let Some(seen) = measure(&watch).await else {
            if watch.is_disturbed() {
                tracing::debug!("disturbed while it measured itself");
                continue;
            }
            // Trying again would fail again, and cost CPU for ever.
            tracing::warn!("failed to measure itself; there will be no status.sizing");
            return;
        };
        let sizing = seen.sizing();
        tracing::info!(
            documents_per_second_128 = sizing.documents_per_second_128,
            tokens_per_second = sizing.tokens_per_second,
            resident_bytes = sizing.resident_bytes,
            recommended_memory_bytes = sizing.recommended_memory_bytes,
            "measured itself"
        );
        embedder.sized(sizing);
        return;
    }
}

/// Notices when somebody asks.
struct Watch<'a> {
    embedder: &'a Arc<Embedder>,
    metrics: &'a Metrics,
    begun: u64,
}

impl Watch<'_> {
    fn is_disturbed(&self) -> bool {
        self.metrics.requests_begun() != self.begun
            || self.metrics.requests_in_flight() > 0
            || self.embedder.load() > 0
    }

    /// How long a text takes, from tokens to row; none if that was not all that was going on, or failed.
    async fn time(&self, text: String) -> Option<(usize, Duration)> {
        if self.is_disturbed() {
            return None;
        }
        let texts = Texts {
            texts: vec![text],
            // Behind all searches that may come.
            input_type: Some(InputType::Ingest),
            options: Options::default(),
            timeout: Some(LONGEST * 30),
        };
        let started = Instant::now();
        let embedded = self.embedder.embed(texts).await.ok()?;
        let took = started.elapsed();
        let tokens = embedded.first()?.tokens;
        (!self.is_disturbed()).then_some((tokens, took))
    }
}

async fn measure(watch: &Watch<'_>) -> Option<Seen> {
    let info = watch.embedder.info();
    let window = usize::try_from(info.max_tokens).ok()?;
    let embedder = Arc::clone(watch.embedder);
    // Tokenised a dozen times each: not on the thread that answers requests.
    let specimens = tokio::task::spawn_blocking(move || {
        let of_length = |tokens| specimen::text(tokens, 0, |text| embedder.count(text));
        (of_length(DOCUMENT_TOKENS.min(window)), of_length(window))
    });
    let (document, longest) = specimens.await.ok()?;
    let before = Memory::now()?;
    let started = Instant::now();
    let mut times = Vec::new();
    let mut tokens = 0;
    while times.is_empty() || started.elapsed() < FOR_DOCUMENTS {
        let (of_text, took) = watch.time(document.clone()).await?;
        tokens = of_text;
        times.push(took);
    }
    times.sort_unstable();
    let took = times[times.len() / 2];
    // Twice as many tokens take a little more than twice as long.
    let ratio = window.div_ceil(DOCUMENT_TOKENS) + 1;
    let expected = took * u32::try_from(ratio).unwrap_or(u32::MAX);
    let mut beyond = u64::try_from(window.div_ceil(DOCUMENT_TOKENS)).unwrap_or(u64::MAX);
    if started.elapsed() + expected <= LONGEST {
        watch.time(longest).await?;
        beyond = 1;
    }
    Some(Seen { tokens, took, threads: info.threads, beyond, before, after: Memory::now()? })
}

impl Seen {
    /// PURE.
    fn sizing(self) -> Sizing {
        let Self { tokens, took, threads, beyond, before, after } = self;
        let seconds = took.as_secs_f64().max(1e-6);
        // What a text added. The peak so far may be that of loading, which no text adds to.
        let of_text = after
            .peak_bytes
            .saturating_sub(before.peak_bytes)
            .max(after.resident_bytes.saturating_sub(before.resident_bytes));
        // What one of the longest kind adds, for each that may run beside it.
        let of_longest = of_text.saturating_mul(beyond);
        let others = u64::from(threads.saturating_sub(1));
        let wanted = after
            .peak_bytes
            .saturating_add(of_longest - of_text)
            .saturating_add(of_longest.saturating_mul(others))
            .saturating_add(QUEUE_BYTES);
        Sizing {
            tokens_per_second: three_digits(tokens as f64 / seconds),
            documents_per_second_128: three_digits(tokens as f64 / DOCUMENT_TOKENS as f64 / seconds),
            resident_bytes: after.resident_bytes,
            recommended_memory_bytes: wanted.div_ceil(MEMORY_UNIT) * MEMORY_UNIT,
        }
    }
}

/// More would say more than was measured.
fn three_digits(number: f64) -> f64 {
    if !(number > 0.0 && number.is_finite()) {
        return 0.0;
    }
    let unit = 10.0_f64.powf(number.log10().floor() - 2.0);
    let rounded = (number / unit).round() * unit;
    // Off by the last bit of a product otherwise: 0.30000000000000004.
    (rounded * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recommendation_has_room_for_a_long_text_on_each_thread() {
        let memory = |resident: u64, peak: u64| Memory {
            resident_bytes: resident * MEBIBYTE,
            peak_bytes: peak * MEBIBYTE,
        };
        let seen = |threads| Seen {
            tokens: 126,
            took: Duration::from_millis(20),
            threads,
            beyond: 1,
            before: memory(200, 205),
            after: memory(210, 230),
        };
        let sizing = seen(1).sizing();
        assert_eq!((sizing.tokens_per_second, sizing.documents_per_second_128), (6300.0, 49.2));
        assert_eq!(sizing.resident_bytes, 210 * MEBIBYTE);
        assert_eq!(sizing.recommended_memory_bytes, 304 * MEBIBYTE, "230 + 64, rounded up");
        assert_eq!(seen(4).sizing().recommended_memory_bytes, 384 * MEBIBYTE, "and 25 for each other thread");
        let cut_short = Seen { beyond: 4, ..seen(1) };
        assert_eq!(
            cut_short.sizing().recommended_memory_bytes,
            384 * MEBIBYTE,
            "and 75 for what was not run"
        );
        let loading = Seen { before: memory(200, 600), after: memory(210, 600), ..seen(8) };
        assert_eq!(loading.sizing().recommended_memory_bytes, 736 * MEBIBYTE, "and 10 for each other thread");
    }

    #[test]
    fn figures_have_three_digits() {
        for (number, expected) in
            [(49.21875, 49.2), (6299.9, 6300.0), (0.123_456, 0.123), (0.0, 0.0), (7.0, 7.0)]
        {
            assert_eq!(three_digits(number).to_string(), expected.to_string());
        }
        assert_eq!(three_digits(f64::INFINITY).to_string(), "0");
    }
}
