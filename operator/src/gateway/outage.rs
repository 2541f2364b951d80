//! How often it is said that the API server gives no answer: when that begins, now and then while it lasts, and when it is
//! over. Every request could say it otherwise. And whether it may have been away just now. PURE but for the log.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about the same outage.
const AGAIN: Duration = Duration::from_secs(30);

/// Longer than an API server takes from its start until it has read what it judges by.
const DOUBT: Duration = Duration::from_mins(1);

/// Whether the API server may have just started. It then refuses what it has not read the rules for yet, and does not say so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubt(Arc<Mutex<Option<Instant>>>);

impl Doubt {
    pub(crate) fn raise(&self) {
        self.set(Some(Instant::now()));
    }

    pub(crate) fn settle(&self) {
        self.set(None);
    }

    pub(crate) fn is_open(&self) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < DOUBT)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// What is known of whether somebody answers.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Begun>>);

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Instant,
    said: Instant,
    failures: u64,
}

/// Failures so far, where they are worth a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Failures(u64);

/// An outage that is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Over {
    lasted: Duration,
    failures: u64,
}

impl Outage {
    /// `what` is what could not be done.
    pub(crate) fn failed(&self, what: &'static str, error: &dyn Display) {
        if let Some(Failures(failures)) = self.note_failure(Instant::now()) {
            tracing::warn!(%error, failures, "failed to {what}, trying again");
        }
    }

    pub(crate) fn answered(&self, what: &'static str) {
        if let Some(Over { lasted, failures }) = self.note_answer(Instant::now()) {
            tracing::info!(?lasted, failures, "able to {what} again");
        }
    }

    fn note_failure(&self, now: Instant) -> Option<Failures> {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = &mut *outage else {
            *outage = Some(Begun { at: now, said: now, failures: 1 });
            return Some(Failures(1));
        };
        begun.failures += 1;
        (now >= begun.said + AGAIN).then(|| {
            begun.said = now;
            Failures(begun.failures)
        })
    }

    fn note_answer(&self, now: Instant) -> Option<Over> {
        let Begun { at, failures, said: _ } = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Over { lasted: now - at, failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or an API server whose readiness cannot be asked for would never be believed again.
    #[tokio::test(start_paused = true)]
    async fn a_doubt_is_settled_or_forgotten() {
        let doubt = Doubt::default();
        assert!(!doubt.is_open());
        doubt.raise();
        assert!(doubt.clone().is_open());
        doubt.settle();
        assert!(!doubt.is_open());
        doubt.raise();
        tokio::time::advance(DOUBT).await;
        assert!(!doubt.is_open());
    }

    /// Five minutes of a thousand failures a second.
    #[test]
    fn an_outage_is_a_few_lines_however_many_notice_it() {
        let (outage, began) = (Outage::default(), Instant::now());
        assert_eq!(outage.note_answer(began), None);
        let times = (0..300_000).map(|number| began + Duration::from_millis(number));
        let said: Vec<_> = times.filter_map(|now| outage.note_failure(now)).collect();
        assert_eq!((said.len(), said[0], said[1]), (10, Failures(1), Failures(30_001)));
        let lasted = Duration::from_mins(5);
        assert_eq!(outage.note_answer(began + lasted), Some(Over { lasted, failures: 300_000 }));
        assert_eq!(outage.note_answer(began + lasted), None);
        assert_eq!(outage.note_failure(began + lasted), Some(Failures(1)), "the next one is another");
    }
}
