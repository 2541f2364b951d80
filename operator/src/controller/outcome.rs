//! How a pass ended when it did not fail, and when the next one is due without any event.

use std::time::Duration;

use kube::runtime::controller::Action;

use super::metrics::Ending;

/// Watches are trusted, but not for ever.
const FALLBACK: Duration = Duration::from_mins(30);
/// A rejected write is no event when it would be accepted: a quota was raised, a policy changed.
const AFTER_REJECTION: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is as it should be, or will say so when it is.
    Settled,
    /// Something takes time that no watch reports.
    Waiting(Duration),
    /// Only an edit can help.
    Invalid,
    /// The object is gone or going.
    Gone,
}

impl Outcome {
    pub(super) fn after_rejection() -> Self {
        Self::Waiting(AFTER_REJECTION)
    }

    /// The same, but looking again after this time if not sooner.
    pub(super) fn at_the_latest(self, after: Option<Duration>) -> Self {
        match (self, after) {
            (Self::Settled, Some(after)) => Self::Waiting(after),
            (Self::Waiting(before), Some(after)) => Self::Waiting(before.min(after)),
            (Self::Invalid | Self::Gone, Some(_)) | (_, None) => self,
        }
    }

    pub(super) fn action(self) -> Action {
        match self {
            Self::Settled | Self::Invalid => Action::requeue(FALLBACK),
            Self::Waiting(after) => Action::requeue(after.min(FALLBACK)),
            Self::Gone => Action::await_change(),
        }
    }

    pub(super) fn ending(self) -> Ending {
        match self {
            Self::Settled => Ending::Settled,
            Self::Waiting(_) => Ending::Waiting,
            Self::Invalid => Ending::Invalid,
            Self::Gone => Ending::Gone,
        }
    }
}
