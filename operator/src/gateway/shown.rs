//! The numbers of allocations that clients were lately told of. A client that reads an adaptive endpoint and writes it
//! back sends the number that it read, and by then another may run. Each gateway remembers its own answers only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a number that was shown may be sent back.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);
/// Numbers of one endpoint: scaling moves one by one, and rarely.
const MOST_NUMBERS: usize = 64;
/// Endpoints at once. What does not fit is not remembered, and then refused as Elasticsearch refuses it.
const MOST_ENDPOINTS: usize = 10_000;

/// By the object's uid, so that an endpoint made anew inherits nothing.
#[derive(Default)]
pub(crate) struct Shown(Mutex<HashMap<String, Vec<Answer>>>);

#[derive(Clone, Copy)]
struct Answer {
    number: i32,
    at: Instant,
}

impl Answer {
    fn is_recent(self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= REMEMBERED_FOR
    }
}

impl Shown {
    pub(crate) fn note(&self, uid: &str, number: i32, now: Instant) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() >= MOST_ENDPOINTS && !shown.contains_key(uid) {
            shown.retain(|_, answers| answers.iter().any(|answer| answer.is_recent(now)));
            if shown.len() >= MOST_ENDPOINTS {
                return;
            }
        }
        let answers = shown.entry(uid.to_owned()).or_default();
        answers.retain(|answer| answer.number != number && answer.is_recent(now));
        if answers.len() >= MOST_NUMBERS {
            answers.remove(0);
        }
        answers.push(Answer { number, at: now });
    }

    pub(crate) fn has(&self, uid: &str, number: i32, now: Instant) -> bool {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = shown.get(uid).map(Vec::as_slice).unwrap_or_default();
        answers.iter().any(|answer| answer.number == number && answer.is_recent(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_for_five_minutes_from_when_it_was_last_shown() {
        let (shown, start) = (Shown::default(), Instant::now());
        shown.note("a", 3, start);
        shown.note("a", 4, start);
        shown.note("a", 3, start + Duration::from_mins(2));
        let later = start + Duration::from_mins(6);
        assert!(shown.has("a", 3, later) && !shown.has("a", 4, later));
        assert!(!shown.has("b", 3, later), "another endpoint");
        assert!(!shown.has("a", 3, later + Duration::from_mins(2)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (shown, start) = (Shown::default(), Instant::now());
        for number in 0..1_000 {
            shown.note("a", number, start);
        }
        assert!(shown.has("a", 999, start) && !shown.has("a", 0, start));
        for endpoint in 0..=MOST_ENDPOINTS {
            shown.note(&endpoint.to_string(), 1, start);
        }
        assert_eq!(shown.0.lock().unwrap().len(), MOST_ENDPOINTS);
        shown.note("new", 1, start + Duration::from_mins(6));
        assert_eq!(shown.0.lock().unwrap().len(), 1, "what is forgotten makes room");
    }
}
