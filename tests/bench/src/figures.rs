//! Figures of several rounds: minimum, median, 95th percentile, maximum, because the machine is noisy. Printed as a table, and
//! written flat as JSON with the unit in the key.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

/// What a figure has to be: its median, where nothing else is said.
#[derive(Clone, Copy)]
pub(crate) struct Bar {
    key: &'static str,
    place: Place,
    limit: f64,
    holds: fn(f64, f64) -> bool,
    words: &'static str,
}

impl Bar {
    pub(crate) const fn at_most(key: &'static str, limit: f64) -> Self {
        Self { key, place: Place::Median, limit, holds: |value, limit| value <= limit, words: "at most" }
    }

    pub(crate) const fn at_least(key: &'static str, limit: f64) -> Self {
        Self { key, place: Place::Median, limit, holds: |value, limit| value >= limit, words: "at least" }
    }

    /// Judges the 95th percentile.
    pub(crate) const fn p95(self) -> Self {
        Self { place: Place::P95, ..self }
    }
}

/// Which of a figure's values is meant, by its place in a summary.
#[derive(Clone, Copy)]
enum Place {
    Median = 1,
    P95 = 2,
}

/// What became of a bar; nothing where its figure was not measured.
pub(crate) struct Verdict {
    bar: Bar,
    value: Option<f64>,
    pub(crate) holds: Option<bool>,
}

/// A line.
impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bar: Bar { key, limit, words, .. }, value, holds } = self;
        match (value, holds) {
            (Some(value), Some(true)) => {
                writeln!(formatter, "holds   {key:<48}{value:>14.3}  {words} {limit}")
            }
            (Some(value), _) => writeln!(formatter, "MISSED  {key:<48}{value:>14.3}  {words} {limit}"),
            (None, _) => writeln!(formatter, "        {key:<48}  not measured"),
        }
    }
}

#[derive(Default)]
pub(crate) struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// Adds a round's figure. The key ends in its unit.
    pub(crate) fn add(&mut self, key: impl Into<String>, value: f64) {
        self.0.entry(key.into()).or_default().push(value);
    }

    /// Adds, round by round, how many times `numerator` is `denominator`.
    pub(crate) fn ratio(&mut self, key: &str, numerator: &str, denominator: &str) {
        let empty = Vec::new();
        let (over, under) =
            (self.0.get(numerator).unwrap_or(&empty), self.0.get(denominator).unwrap_or(&empty));
        if over.is_empty() {
            return;
        }
        let ratios: Vec<f64> = over.iter().zip(under).map(|(over, under)| over / under).collect();
        self.0.insert(key.to_owned(), ratios);
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<48}{:>12}{:>12}{:>12}{:>12}\n", "figure", "min", "median", "p95", "max");
        for (key, values) in &self.0 {
            let [min, median, p95, max] = summary(values);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key:<48}{min:>12.3}{median:>12.3}{p95:>12.3}{max:>12.3}");
        }
        text
    }

    pub(crate) fn judge(&self, bars: &[Bar]) -> Vec<Verdict> {
        let judge = |bar: &Bar| {
            let value = self.0.get(bar.key).map(|values| summary(values)[bar.place as usize]);
            Verdict { bar: *bar, value, holds: value.map(|value| (bar.holds)(value, bar.limit)) }
        };
        bars.iter().map(judge).collect()
    }

    pub(crate) fn write(&self, path: &Path, verdicts: &[Verdict]) -> Result<()> {
        let mut flat = Map::new();
        for (key, values) in &self.0 {
            for (name, value) in ["min", "median", "p95", "max"].iter().zip(summary(values)) {
                flat.insert(format!("{name}_{key}"), json!(value));
            }
        }
        for Verdict { bar, value: _, holds } in verdicts {
            flat.extend(holds.map(|holds| (format!("passed_{}", bar.key), json!(holds))));
        }
        fs_err::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        Ok(fs_err::write(path, format!("{:#}\n", Value::Object(flat)))?)
    }
}

fn summary(values: &[f64]) -> [f64; 4] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.0, 0.5, 0.95, 1.0].map(|share| percentile(&sorted, share))
}

/// Of sorted values, by the nearest rank. `share` from 0 to 1.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let rank = (share * last as f64).round() as usize;
    sorted[rank]
}
