//! What was measured, for machines as JSON and for people as text. PURE.

use std::fmt;
use std::time::Duration;

use lexiscale_wire::{ByteSize, Precision};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub model: String,
    pub revision: String,
    pub version: String,
    pub precision: Precision,
    pub threads: u32,
    /// Until the first vector, with the files in the page cache or not.
    pub load_seconds: f64,
    pub resident_bytes: u64,
    pub peak_bytes: u64,
    /// Absent if they could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    pub lengths: Vec<OfLength>,
    pub query: Query,
}

/// What our kernels' products reach on operands in the nearest cache, in thousands of millions of operations a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    pub fp32: f64,
    pub int8: f64,
}

/// Documents of one length, as many in flight as keep all threads busy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OfLength {
    pub tokens: usize,
    pub documents_per_second: Spread,
    pub tokens_per_second: f64,
    /// What the products would take at their limits, of what a document takes, at the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_limit: Option<f64>,
    /// To turn a text into tokens.
    pub tokenize_microseconds: f64,
    /// To write a vector as JSON.
    pub serialize_microseconds: f64,
    /// What both are of the CPU time for a document.
    pub share_of_text_work: f64,
}

/// Over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub minimum: f64,
    pub median: f64,
    pub maximum: f64,
}

/// Short texts, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    pub tokens: usize,
    pub runs: usize,
    pub p50_milliseconds: f64,
    pub p99_milliseconds: f64,
}

impl Spread {
    /// None of no rounds.
    pub fn of(mut rounds: Vec<f64>) -> Option<Self> {
        rounds.sort_by(f64::total_cmp);
        let (minimum, maximum) = (*rounds.first()?, *rounds.last()?);
        Some(Self { minimum, median: rounds[rounds.len() / 2], maximum })
    }
}

impl Query {
    /// None of no runs.
    pub fn of(tokens: usize, mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
        let p99 = times.get((times.len() * 99).div_ceil(100).checked_sub(1)?)?;
        let p50 = times.get((times.len() - 1) / 2)?;
        Some(Self {
            tokens,
            runs: times.len(),
            p50_milliseconds: milliseconds(p50),
            p99_milliseconds: milliseconds(p99),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, revision, version, precision, threads, .. } = self;
        let precision = serde_json::to_value(precision).unwrap_or_default();
        let precision = precision.as_str().unwrap_or_default();
        writeln!(formatter, "{model} {revision}, {precision}, threads {threads}, worker {version}")?;
        writeln!(
            formatter,
            "loaded in {:.2} s; memory {}, at most {}",
            self.load_seconds,
            ByteSize(self.resident_bytes),
            ByteSize(self.peak_bytes)
        )?;
        if let Some(Limits { fp32, int8 }) = self.limits {
            writeln!(formatter, "products alone reach {fp32:.0} G operations/s in fp32, {int8:.0} in int8")?;
        }
        let query = self.query;
        writeln!(
            formatter,
            "query of {} tokens: p50 {:.2} ms, p99 {:.2} ms ({} runs)",
            query.tokens, query.p50_milliseconds, query.p99_milliseconds, query.runs
        )?;
        writeln!(formatter)?;
        writeln!(
            formatter,
            "{:>7} {:>9} {:>9} {:>9} {:>10} {:>8} {:>12} {:>8} {:>7}",
            "tokens", "docs/s", "min", "max", "tokens/s", "of limit", "tokenise us", "JSON us", "share"
        )?;
        for length in &self.lengths {
            let share = length.share_of_limit.map_or_else(|| "-".to_owned(), |share| percent(share, 0));
            writeln!(
                formatter,
                "{:>7} {:>9.1} {:>9.1} {:>9.1} {:>10.0} {share:>8} {:>12.1} {:>8.1} {:>7}",
                length.tokens,
                length.documents_per_second.median,
                length.documents_per_second.minimum,
                length.documents_per_second.maximum,
                length.tokens_per_second,
                length.tokenize_microseconds,
                length.serialize_microseconds,
                percent(length.share_of_text_work, 1),
            )?;
        }
        Ok(())
    }
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let times = |number: u64| (1..=number).rev().map(Duration::from_millis).collect();
        let query = Query::of(16, times(200)).unwrap();
        assert_eq!((query.p50_milliseconds, query.p99_milliseconds, query.runs), (100.0, 198.0, 200));
        let one = Query::of(16, times(1)).unwrap();
        assert_eq!((one.p50_milliseconds, one.p99_milliseconds), (1.0, 1.0));
        assert_eq!(Query::of(16, Vec::new()), None);
        let spread = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.minimum, spread.median, spread.maximum), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn people_and_machines_read_the_same() {
        let report = Report {
            model: "hf://a/b".to_owned(),
            revision: "abc".to_owned(),
            version: "0.1.0".to_owned(),
            precision: Precision::Fp32,
            threads: 2,
            load_seconds: 0.25,
            resident_bytes: 200 << 20,
            peak_bytes: 256 << 20,
            limits: Some(Limits { fp32: 420.4, int8: 1838.0 }),
            lengths: vec![OfLength {
                tokens: 128,
                documents_per_second: Spread { minimum: 40.0, median: 45.25, maximum: 50.0 },
                tokens_per_second: 5792.0,
                share_of_limit: Some(0.71),
                tokenize_microseconds: 90.0,
                serialize_microseconds: 12.5,
                share_of_text_work: 0.0023,
            }],
            query: Query { tokens: 16, runs: 100, p50_milliseconds: 4.7, p99_milliseconds: 9.01 },
        };
        let text = report.to_string();
        for part in [
            "hf://a/b abc, fp32, threads 2, worker 0.1.0",
            "loaded in 0.25 s; memory 200.0 MiB, at most 256.0 MiB",
            "reach 420 G operations/s in fp32, 1838 in int8",
            "query of 16 tokens: p50 4.70 ms, p99 9.01 ms (100 runs)",
            "    128      45.2      40.0      50.0       5792     71 %         90.0     12.5   0.2 %",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["lengths"][0]["documentsPerSecond"]["median"], 45.25);
        assert_eq!(json["query"]["p99Milliseconds"], 9.01);
        assert_eq!(json["limits"]["int8"], 1838.0);
    }
}
