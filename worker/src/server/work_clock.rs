//! How long the model worked on each request, whoever sent it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Goes with an answer to whoever counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkedFor(pub(super) Duration);

/// When the latest answer was given. There is one model: while it answered others before, a request waited, and of requests that ran
/// together the first has had all the time. So the sum never exceeds the time that passes.
#[derive(Debug, Default)]
pub(super) struct WorkClock(Mutex<Option<Instant>>);

impl WorkClock {
    /// The work on a request that came at `since` and is answered now.
    pub(super) fn answered(&self, since: Instant, now: Instant) -> WorkedFor {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = answered.map_or(since, |before| before.max(since));
        *answered = Some(answered.map_or(now, |before| before.max(now)));
        WorkedFor(now.saturating_duration_since(began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two requests at a time are no two allocations' work: taken so, a busy endpoint would grow for ever.
    #[test]
    fn the_model_works_no_longer_than_time_passes() {
        let (clock, start) = (WorkClock::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let worked = |since, now| clock.answered(at(since), at(now)).0.as_millis();
        assert_eq!(worked(0, 100), 100);
        assert_eq!(worked(0, 180), 80, "it waited for the first");
        assert_eq!(worked(50, 180), 0, "it ran with the second");
        assert_eq!(worked(300, 350), 50);
    }
}
