//! How many allocations each endpoint had over the last hour, as this gateway saw it. A count holds until the
//! next one, so only changes are kept. PURE.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use lexiscale_crds::AllocationStatus;

/// How far back the page looks.
pub(super) const WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// Of one endpoint; one that changes more often than every ten seconds for an hour is shown from later on.
const MOST_CHANGES: usize = 360;
/// With both at their bound, 9 MB.
const MOST_ENDPOINTS: usize = 1024;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Count {
    pub(super) desired: i32,
    pub(super) ready: i32,
}

impl From<AllocationStatus> for Count {
    fn from(status: AllocationStatus) -> Self {
        let AllocationStatus { desired, current: _, ready } = status;
        Self { desired, ready }
    }
}

/// The past of all endpoints, by a key of the caller's.
#[derive(Debug, Default)]
pub(super) struct History {
    by_key: HashMap<String, Changes>,
}

/// Oldest first.
#[derive(Debug, Default)]
struct Changes(VecDeque<(Timestamp, Count)>);

impl History {
    /// `present` are all the endpoints that there are; others are forgotten.
    pub(super) fn observe(&mut self, now: Timestamp, present: impl Iterator<Item = (String, Count)>) {
        let mut before = std::mem::take(&mut self.by_key);
        for (key, count) in present.take(MOST_ENDPOINTS) {
            let mut changes = before.remove(&key).unwrap_or_default();
            changes.note(now, count);
            self.by_key.insert(key, changes);
        }
    }

    /// Every change within the window, and first the count with which it begins.
    pub(super) fn of(&self, key: &str, now: Timestamp) -> impl Iterator<Item = (Timestamp, Count)> {
        let begin = now - WINDOW;
        let changes = self.by_key.get(key).map(|changes| &changes.0);
        let old = changes.map_or(0, |changes| changes.partition_point(|(at, _)| *at <= begin));
        changes
            .into_iter()
            .flatten()
            .skip(old.saturating_sub(1))
            .map(move |(at, count)| ((*at).max(begin), *count))
    }
}

impl Changes {
    fn note(&mut self, now: Timestamp, count: Count) {
        let Self(changes) = self;
        match changes.back_mut() {
            Some((_, last)) if *last == count => return,
            // A clock that was set back makes no past out of order.
            Some((at, last)) if *at >= now => *last = count,
            Some(_) | None => changes.push_back((now, count)),
        }
        while changes.len() > MOST_CHANGES || changes.get(1).is_some_and(|(at, _)| *at <= now - WINDOW) {
            changes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn see(history: &mut History, second: i64, desired: i32, ready: i32) {
        history.observe(at(second), [("a".to_owned(), Count { desired, ready })].into_iter());
    }

    /// Seconds, desired, ready.
    fn shown(history: &History, second: i64) -> Vec<(i64, i32, i32)> {
        let brief = |(time, count): (Timestamp, Count)| {
            (time.as_second() - 1_800_000_000, count.desired, count.ready)
        };
        history.of("a", at(second)).map(brief).collect()
    }

    #[test]
    fn only_changes_are_kept() {
        let mut history = History::default();
        for (second, ready) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)] {
            see(&mut history, second, 2, ready);
        }
        assert_eq!(shown(&history, 10), [(0, 2, 0), (2, 2, 1), (4, 2, 2)]);
    }

    /// Otherwise an endpoint that has not changed for an hour would have no line at all.
    #[test]
    fn the_count_at_the_beginning_of_the_window_stays() {
        let mut history = History::default();
        see(&mut history, 0, 1, 1);
        see(&mut history, 100, 2, 1);
        see(&mut history, 200, 2, 2);
        assert_eq!(shown(&history, 3750), [(150, 2, 1), (200, 2, 2)]);
        assert_eq!(shown(&history, 9000), [(5400, 2, 2)]);
        see(&mut history, 9000, 3, 2);
        assert_eq!(history.by_key["a"].0.len(), 2, "what is out of the window is let go");
    }

    #[test]
    fn changes_and_endpoints_are_bounded() {
        let mut history = History::default();
        for second in 0..1000 {
            see(&mut history, second, i32::from(second % 2 == 0), 0);
        }
        let shown = shown(&history, 1000);
        assert_eq!((shown.len(), shown[0].0), (MOST_CHANGES, 640));
        history.observe(at(0), (0..2000).map(|number| (number.to_string(), Count::default())));
        assert_eq!(history.by_key.len(), MOST_ENDPOINTS);
    }

    #[test]
    fn an_endpoint_that_is_gone_is_forgotten() {
        let mut history = History::default();
        see(&mut history, 0, 1, 1);
        history.observe(at(1), std::iter::empty());
        assert!(history.by_key.is_empty());
    }

    #[test]
    fn a_clock_set_back_keeps_the_order() {
        let mut history = History::default();
        see(&mut history, 100, 1, 1);
        see(&mut history, 50, 2, 1);
        see(&mut history, 101, 2, 2);
        assert_eq!(shown(&history, 200), [(100, 2, 1), (101, 2, 2)]);
    }
}
