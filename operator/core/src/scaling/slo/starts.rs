//! How long an allocation takes from its creation until it serves, by what was seen. PURE.

use serde::{Deserialize, Serialize};

use super::kept::Kept;

/// Seconds that are assumed until a start was seen.
const UNKNOWN: f64 = 20.0;

/// Starts after which an old one counts for a third.
const MEMORY: f64 = 30.0;

/// Seconds. A pod that finds no node starts for ever, and says nothing of those that do.
const LONGEST: f64 = 120.0;

/// By Little's law: seconds spent in starting over starts that were completed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Starts {
    seconds: Kept,
    count: Kept,
    /// Allocations that served at the observation before.
    ready: Option<u32>,
}

impl Starts {
    pub(super) fn resumed(self) -> Self {
        Self { ready: None, ..self }
    }

    pub(super) fn learn(&mut self, interval: f64, ready: u32, starting: u32) {
        self.seconds.add(f64::from(starting) * interval);
        if let Some(before) = self.ready.replace(ready) {
            let started = f64::from(ready.saturating_sub(before));
            // Seen only at the end of intervals, a start has lasted half of one longer or shorter.
            self.seconds.add(started * interval / 2.0);
            self.count.add(started);
        }
        // One that never ends must not outweigh all that do, long after it is gone.
        self.seconds.set(self.seconds.get().min((self.count.get() + 1.0) * LONGEST));
        if self.count.get() > MEMORY {
            self.seconds.set(self.seconds.get() * MEMORY / self.count.get());
            self.count.set(MEMORY);
        }
    }

    /// Seconds that a start takes.
    pub(super) fn expected(&self) -> f64 {
        let count = self.count.get();
        let seconds = if count > 0.0 { self.seconds.get() / count } else { UNKNOWN };
        seconds.clamp(0.1, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_as_long_as_allocations_were_seen_starting() {
        let mut slow = Starts::default();
        let mut quick = Starts::default();
        for _ in 0..5 {
            slow.learn(0.5, 1, 0);
            quick.learn(0.5, 1, 0);
            for _ in 0..24 {
                slow.learn(0.5, 1, 2);
            }
            slow.learn(0.5, 3, 0);
            quick.learn(0.5, 3, 0);
        }
        assert!((slow.expected() - 12.25).abs() < 0.01, "{}", slow.expected());
        assert!(quick.expected() < 0.5);
    }

    #[test]
    fn allocations_that_were_there_before_the_first_look_are_no_starts() {
        let mut starts = Starts::default();
        starts.learn(0.5, 8, 0);
        assert!((starts.expected() - UNKNOWN).abs() < 1e-9);
    }

    #[test]
    fn a_start_that_never_ends_is_not_taken_for_endless() {
        let mut starts = Starts::default();
        starts.learn(0.5, 0, 1);
        starts.learn(0.5, 1, 0);
        for _ in 0..100_000 {
            starts.learn(0.5, 1, 1);
        }
        assert!(starts.expected() <= LONGEST);
        for _ in 0..30 {
            starts.learn(0.5, 1, 0);
            for _ in 0..20 {
                starts.learn(0.5, 1, 1);
            }
            starts.learn(0.5, 2, 0);
        }
        assert!(starts.expected() < 25.0, "{} s", starts.expected());
    }

    #[test]
    fn what_began_to_serve_unwatched_is_no_start() {
        let mut starts = Starts::default();
        starts.learn(0.5, 2, 0);
        let mut starts = starts.resumed();
        starts.learn(0.5, 10, 0);
        assert!((starts.expected() - UNKNOWN).abs() < 1e-9);
    }
}
