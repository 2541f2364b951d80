//! The margin: how late requests may be by plan, given how late they were. PURE.

use serde::{Deserialize, Serialize};

use super::kept::{Kept, left};

/// Seconds after which a late request counts for a third.
const MEMORY: f64 = 3600.0;

/// Requests below which a share says little.
const FEWEST: f64 = 200.0;

/// Plans are careful: while no burst comes, waits end sooner than they reckon with, and what is late is their share to a power above one. So
/// with nothing spent the plan may miss the goal: by four times where one request of a hundred may be late, by two where one of ten.
const CAREFUL: f64 = 0.3;

/// The part of the goal that is planned with when the budget is more than spent.
const LEAST: f64 = 0.1;

/// The budget beyond which no more care helps, in terms of the goal's.
const OVERSPENT: f64 = 1.25;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Budget {
    requests: Kept,
    late: Kept,
}

impl Budget {
    pub(super) fn spend(&mut self, interval: f64, requests: f64, late: f64) {
        let left = left(interval, MEMORY);
        self.requests.fade(left, requests);
        self.late.fade(left, late.min(requests));
    }

    /// Share of the requests that were late.
    pub(super) fn late(&self) -> f64 {
        self.late.get() / self.requests.get().max(FEWEST)
    }

    /// The part of the tolerated share that is to be planned with.
    pub(super) fn margin(&self, tolerated: f64) -> f64 {
        let at_rest = tolerated.powf(-CAREFUL);
        (at_rest * (1.0 - self.late() / (OVERSPENT * tolerated))).clamp(LEAST, at_rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_plan_reckons_with_all_requests_late_however_low_the_goal() {
        for tolerated in [1e-4, 0.01, 0.1, 0.3, 0.5] {
            let planned = tolerated * Budget::default().margin(tolerated);
            assert!(planned > tolerated && planned < 0.7, "{planned} of {tolerated}");
        }
    }

    #[test]
    fn more_late_requests_than_tolerated_narrow_the_plan_and_time_widens_it_again() {
        let mut budget = Budget::default();
        assert!((budget.margin(0.01) - 4.0).abs() < 0.1);
        budget.spend(1.0, 1000.0, 10.0);
        assert!((budget.margin(0.01) - 0.8).abs() < 0.01);
        budget.spend(1.0, 1000.0, 500.0);
        assert!((budget.margin(0.01) - 0.1).abs() < 1e-9);
        for _ in 0..4 * 3600 {
            budget.spend(1.0, 20.0, 0.0);
        }
        assert!(budget.margin(0.01) > 1.0);
    }
}
