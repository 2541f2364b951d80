//! How long each phase of a fetch took. PURE: told the time.

use std::time::{Duration, Instant};

use lexiscale_wire::{FetchDurations, Phase};

/// How long each phase took so far.
pub(super) struct Spent {
    /// Since when the present phase has not been counted.
    since: Instant,
    resolving: Duration,
    downloading: Duration,
    verifying: Duration,
    converting: Duration,
    comparing: Duration,
    publishing: Duration,
}

impl Spent {
    pub(super) fn new(now: Instant) -> Self {
        let nothing = Duration::ZERO;
        Self {
            since: now,
            resolving: nothing,
            downloading: nothing,
            verifying: nothing,
            converting: nothing,
            comparing: nothing,
            publishing: nothing,
        }
    }

    pub(super) fn count(&mut self, phase: Phase, now: Instant) {
        let total = match phase {
            Phase::Resolving => &mut self.resolving,
            Phase::Downloading => &mut self.downloading,
            Phase::Verifying => &mut self.verifying,
            Phase::Converting => &mut self.converting,
            Phase::Publishing => &mut self.publishing,
        };
        *total += now.saturating_duration_since(self.since);
        self.since = now;
    }

    /// The process that converts compares too, and says only at its end how long. It has read a stranger's files, so that it is
    /// believed within what it took altogether.
    pub(super) fn compared(&mut self, told: Duration) {
        let comparing = told.min(self.converting);
        self.converting -= comparing;
        self.comparing += comparing;
    }

    pub(super) fn told(&self) -> FetchDurations {
        let Self { since: _, resolving, downloading, verifying, converting, comparing, publishing } = self;
        let milliseconds = |spent: &Duration| u32::try_from(spent.as_millis()).unwrap_or(u32::MAX);
        FetchDurations {
            resolving: milliseconds(resolving),
            downloading: milliseconds(downloading),
            verifying: milliseconds(verifying),
            converting: milliseconds(converting),
            comparing: milliseconds(comparing),
            publishing: milliseconds(publishing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::progress::Tracker;

    /// Each file is downloaded and then verified, so that phases come again.
    #[test]
    fn time_is_counted_for_the_phase_that_it_passed_in() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let tracker = Tracker::new(start);
        for (phase, began) in [
            (Phase::Resolving, 2),
            (Phase::Downloading, 10),
            (Phase::Verifying, 110),
            (Phase::Downloading, 113),
            (Phase::Verifying, 153),
            (Phase::Converting, 160),
            (Phase::Publishing, 1160),
        ] {
            tracker.phase(phase, at(began));
        }
        tracker.compared(Duration::from_millis(400));
        let expected = FetchDurations {
            resolving: 10,
            downloading: 140,
            verifying: 10,
            converting: 600,
            comparing: 400,
            publishing: 5,
        };
        assert_eq!(tracker.durations(at(1165)), expected);
    }

    /// The process that says it has read a stranger's files.
    #[test]
    fn more_comparing_than_there_was_time_for_is_not_believed() {
        let start = Instant::now();
        let tracker = Tracker::new(start);
        tracker.phase(Phase::Converting, start);
        tracker.phase(Phase::Publishing, start + Duration::from_millis(30));
        tracker.compared(Duration::MAX);
        let durations = tracker.durations(start + Duration::from_millis(30));
        assert_eq!((durations.converting, durations.comparing), (0, 30));
    }
}
