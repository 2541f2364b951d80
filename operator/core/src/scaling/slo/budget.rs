//! The margin: how late requests may be by plan, given how late they were. PURE.

use serde::{Deserialize, Serialize};

use super::kept::{Kept, left};

/// Seconds after which a late request counts for a third.
const MEMORY: f64 = 3600.0;

/// Requests below which a share says little.
const FEWEST: f64 = 200.0;

/// With nothing spent the plan may miss the goal by half, as plans are careful; with the whole budget spent, half of the
/// goal is planned for; beyond, ever less of it.
const AT_REST: f64 = 1.5;
const LEAST: f64 = 0.1;

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
        (AT_REST - self.late() / tolerated).clamp(LEAST, AT_REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_late_requests_than_tolerated_narrow_the_plan_and_time_widens_it_again() {
        let mut budget = Budget::default();
        assert!((budget.margin(0.01) - 1.5).abs() < 1e-9);
        budget.spend(1.0, 1000.0, 10.0);
        assert!((budget.margin(0.01) - 0.5).abs() < 0.01);
        budget.spend(1.0, 1000.0, 500.0);
        assert!((budget.margin(0.01) - 0.1).abs() < 1e-9);
        for _ in 0..4 * 3600 {
            budget.spend(1.0, 20.0, 0.0);
        }
        assert!(budget.margin(0.01) > 1.0);
    }
}
