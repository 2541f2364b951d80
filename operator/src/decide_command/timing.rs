//! How long decisions took, in a memory that does not grow with them. PURE.

use std::{fmt, time::Duration};

/// Buckets of a microsecond; the last one is for all that took longer.
const BUCKETS: usize = 1000;

#[derive(Debug)]
pub(super) struct Timing {
    buckets: Vec<u64>,
    longest: Duration,
}

impl Timing {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], longest: Duration::ZERO }
    }

    pub(super) fn add(&mut self, took: Duration) {
        let bucket = usize::try_from(took.as_micros()).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.longest = self.longest.max(took);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Microseconds within which so many of a thousand decisions were made.
    fn quantile(&self, per_thousand: u64) -> usize {
        let wanted = (self.count() * per_thousand).div_ceil(1000);
        let mut seen = 0;
        self.buckets
            .iter()
            .take_while(|bucket| {
                seen += **bucket;
                seen < wanted
            })
            .count()
            + 1
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, most) = (self.quantile(500), self.quantile(990));
        let longest = self.longest.as_micros();
        write!(
            formatter,
            "{} decisions: half of them within {median} us, 99 % within {most} us, the longest {longest} us",
            self.count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_ends_of_their_microseconds() {
        let mut timing = Timing::new();
        for microseconds in 0..100 {
            timing.add(Duration::from_micros(microseconds));
        }
        timing.add(Duration::from_secs(1));
        assert_eq!(
            timing.to_string(),
            "101 decisions: half of them within 51 us, 99 % within 100 us, the longest 1000000 us"
        );
    }
}
