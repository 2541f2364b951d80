//! What one request costs an allocation: mean and spread of the service time, by what was measured. PURE.

use serde::{Deserialize, Serialize};

use super::{kept::Kept, queueing::Service};
use crate::scaling::{Checked, observation::as_number};

/// Requests over which the mean is taken.
const REQUESTS: f64 = 3000.0;

/// Requests after which the mean is good enough for distances from it.
const SETTLED: f64 = 5.0;

/// Intervals over which the spread is taken, and after how many it is believed.
const INTERVALS: (f64, f64) = (300.0, 20.0);

/// Squared coefficient of variation that is assumed until it is known; and what is believed of a measured one.
const VARIATION: (f64, f64, f64) = (0.5, 0.05, 4.0);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Work {
    mean: Kept,
    requests: Kept,
    /// Variance of one request's time.
    variance: Kept,
    intervals: Kept,
}

impl Work {
    pub(super) fn learn(&mut self, observed: Checked<'_>) {
        let Some(time) = observed.service_time.filter(|time| observed.completed > 0 && *time > 0.0) else {
            return;
        };
        let count = as_number(observed.completed);
        let known = self.requests.get();
        // The mean of many requests strays less than one does, by their number.
        let distance = time - self.mean.get();
        let variance = observed
            .service_time_variation
            .map_or(count * distance * distance, |variation| variation * time * time);
        if known > SETTLED || observed.service_time_variation.is_some() {
            self.variance.approach(variance, 1.0 / (self.intervals.get() + 1.0));
            self.intervals.set((self.intervals.get() + 1.0).min(INTERVALS.0));
        }
        let requests = (known + count).min(REQUESTS);
        self.mean.approach(time, (count / requests).min(1.0));
        self.requests.set(requests);
    }

    pub(super) fn service(&self) -> Option<Service> {
        let mean = self.mean.get();
        if mean <= 0.0 {
            return None;
        }
        let (unknown, least, most) = VARIATION;
        let variation = if self.intervals.get() > INTERVALS.1 {
            (self.variance.get() / (mean * mean)).clamp(least, most)
        } else {
            unknown
        };
        Some(Service { mean, variation })
    }
}
