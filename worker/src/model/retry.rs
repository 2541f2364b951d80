//! When to try again. PURE: chance comes as a number.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in a row that bring nothing new.
    pub attempts: u32,
    /// Tries altogether; without it a server that gives one byte each time would be asked for ever.
    pub total_attempts: u32,
    pub first_delay: Duration,
    pub longest_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            total_attempts: 100,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(30),
        }
    }
}

/// Counts the tries of one transfer.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    in_a_row: u32,
    total: u32,
}

impl Attempts {
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, in_a_row: 0, total: 0 }
    }

    /// A try has failed. How long to wait before the next one, or none when there is none. `chance` spreads those who
    /// failed together over half the delay.
    pub fn failed(&mut self, made_progress: bool, chance: u64) -> Option<Duration> {
        self.total += 1;
        self.in_a_row = if made_progress { 1 } else { self.in_a_row + 1 };
        if self.in_a_row >= self.policy.attempts || self.total >= self.policy.total_attempts {
            return None;
        }
        let delay = self.policy.first_delay.saturating_mul(1 << (self.in_a_row - 1).min(16));
        let delay = delay.min(self.policy.longest_delay);
        Some(delay / 2 + delay / 2 * u32::try_from(chance % 1001).unwrap_or(0) / 1000)
    }
}

/// A number that is not worth predicting, for spreading retries.
pub fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        total_attempts: 10,
        first_delay: Duration::from_secs(1),
        longest_delay: Duration::from_secs(3),
    };

    #[test]
    fn delays_double_up_to_the_longest_and_then_end() {
        let mut attempts = Attempts::new(POLICY);
        let delays: Vec<_> =
            (0..4).map(|_| attempts.failed(false, 1000).map(|delay| delay.as_secs())).collect();
        assert_eq!(delays, [Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn chance_takes_away_at_most_half() {
        assert_eq!(Attempts::new(POLICY).failed(false, 0), Some(Duration::from_millis(500)));
        assert_eq!(Attempts::new(POLICY).failed(false, 1000), Some(Duration::from_secs(1)));
    }

    /// A long download over a bad line gets through piece by piece, but not for ever.
    #[test]
    fn progress_starts_the_count_again_within_the_total() {
        let mut attempts = Attempts::new(POLICY);
        let tries = (0..100).take_while(|_| attempts.failed(true, 0).is_some()).count();
        assert_eq!(tries, 9);
    }
}
