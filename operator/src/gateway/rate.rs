//! How fast an endpoint works, and from that when it makes sense to come again. PURE.

use std::time::{Duration, Instant};

/// What was served so long ago counts a third of what is served now.
const MEMORY: Duration = Duration::from_secs(10);
const SOONEST: u64 = 1;
const LATEST: u64 = 60;

/// Texts served lately.
#[derive(Debug)]
pub(crate) struct Rate {
    began: Instant,
    /// Texts, each counting less the older it is.
    weight: f64,
    at: Instant,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, weight: 0.0, at: now }
    }

    pub(crate) fn served(&mut self, texts: usize, now: Instant) {
        self.weight = self.weight_at(now) + texts as f64;
        self.at = now;
    }

    pub(crate) fn texts_per_second(&self, now: Instant) -> f64 {
        // Nothing is known of the time before the first look; without this a young rate would seem slow.
        let known = now.saturating_duration_since(self.began).max(Duration::from_millis(100));
        let share = 1.0 - (-known.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.weight_at(now) / (MEMORY.as_secs_f64() * share)
    }

    fn weight_at(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.weight * (-age / MEMORY.as_secs_f64()).exp()
    }
}

/// Seconds until what waits now is done, within bounds: a client that is told an hour never comes back, and
/// one that is told nothing comes at once.
pub(crate) fn retry_after(waiting: usize, texts_per_second: f64) -> u64 {
    let seconds = (waiting as f64 / texts_per_second).ceil();
    // Nobody waits and nothing was served: not a number.
    if seconds.is_nan() {
        return SOONEST;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 1 and 60 once it is clamped"
    )]
    let seconds = seconds.clamp(SOONEST as f64, LATEST as f64) as u64;
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_what_waits_over_what_is_served() {
        let table =
            [(0, 5.0, 1), (100, 50.0, 2), (101, 50.0, 3), (10_000, 1.0, 60), (1, 0.0, 60), (0, 0.0, 1)];
        for (waiting, rate, seconds) in table {
            assert_eq!(retry_after(waiting, rate), seconds, "{waiting} at {rate}");
        }
    }

    #[test]
    fn a_rate_is_right_from_the_start_and_forgets() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for tenth in 1..=1000_u32 {
            let now = start + Duration::from_millis(100) * tenth;
            rate.served(5, now);
            if tenth >= 10 {
                let measured = rate.texts_per_second(now);
                assert!((45.0..=60.0).contains(&measured), "{measured} after {tenth} tenths of a second");
            }
        }
        let later = start + Duration::from_secs(200);
        assert!(rate.texts_per_second(later) < 0.1);
    }
}
