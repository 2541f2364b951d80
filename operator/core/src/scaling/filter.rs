//! The one-dimensional Kalman filter that Elasticsearch follows request rate and inference time with. PURE.
//!
//! Specification of the original: section 5.2; its process noise is a hundredth of the measurement's variance, so that it
//! smooths over about a hundred measurements.

use serde::{Deserialize, Serialize};

/// Ten standard deviations: a jump that is no noise.
const JUMP: f64 = 100.0;

/// Whether a filter finds jumps by itself, or is told of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jumps {
    Detected,
    Told,
}

/// An estimate with its variance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Estimate {
    pub value: f64,
    pub variance: f64,
    /// Whether the latest measurement was a jump. The one after it is followed as quickly.
    jumped: bool,
}

impl Estimate {
    pub(super) fn first(value: f64, variance: f64) -> Self {
        Self { value, variance, jumped: true }
    }

    /// With one more measurement. `told` says that the measured quantity was changed from outside.
    #[must_use]
    pub(super) fn then(self, measured: f64, variance: f64, smoothing: f64, jumps: Jumps, told: bool) -> Self {
        let distance = measured - self.value;
        let found = jumps == Jumps::Detected && distance * distance / (variance + self.variance) > JUMP;
        let jumped = told || found;
        let noise = if jumped || self.jumped { measured * measured } else { variance / smoothing };
        let widened = self.variance + noise;
        let gain = widened / (widened + variance);
        Self { value: self.value + gain * distance, variance: (1.0 - gain) * widened, jumped }
    }

    /// One standard deviation.
    pub(super) fn error(self) -> f64 {
        self.variance.sqrt()
    }

    pub(super) fn lower(self) -> f64 {
        self.value - self.error()
    }

    pub(super) fn upper(self) -> f64 {
        self.value + self.error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: f64 = 1e-6;

    fn run(values: &[(f64, f64)], smoothing: f64, last_is_told: bool) -> Estimate {
        let mut estimate = Estimate::first(values[0].0, values[0].1);
        for (index, (value, variance)) in values.iter().enumerate().skip(1) {
            let told = last_is_told && index == values.len() - 1;
            estimate = estimate.then(*value, *variance, smoothing, Jumps::Told, told);
        }
        estimate
    }

    #[test]
    fn equal_measurements_keep_the_estimate_and_narrow_it() {
        let first = Estimate::first(42.0, 9.0);
        assert_eq!((first.value, first.error(), first.lower(), first.upper()), (42.0, 3.0, 39.0, 45.0));
        let mut estimate = first;
        for expected in [2.992_415, 2.123_937, 1.744_879] {
            estimate = estimate.then(42.0, 9.0, 100.0, Jumps::Told, false);
            assert!((estimate.value - 42.0).abs() < CLOSE);
            assert!(
                (estimate.error() - expected).abs() < CLOSE,
                "{} instead of {expected}",
                estimate.error()
            );
        }
    }

    #[test]
    fn a_jump_is_followed_at_once_only_when_told() {
        let values = [(0.0, 100.0), (0.0, 1.0), (100.0, 1.0)];
        assert!((run(&values, 100.0, false).value - 50.002_475).abs() < CLOSE);
        let told = run(&values, 100.0, true);
        assert!((told.value - 99.990_002).abs() < CLOSE);
        assert!((told.error() - 0.999_950).abs() < CLOSE);
    }

    #[test]
    fn little_smoothing_follows_the_latest_measurement() {
        let mut values = vec![(42.0, 1.0); 100];
        values.push((77.0, 1.0));
        assert!((run(&values, 0.001, false).value - 76.965_070).abs() < CLOSE);
    }
}
