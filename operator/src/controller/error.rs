//! What can fail in a pass. Not ready yet is no error, and neither is a user's mistake.

use lexiscale_core::identity::Incomplete;

use super::apply::ApplyError;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to read {what}")]
    Read { what: &'static str, source: kube::Error },
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the pass took longer than {} s", .0.as_secs())]
    TimedOut(std::time::Duration),
    #[error("the API server handed out an incomplete object")]
    Incomplete(#[from] Incomplete),
}

impl Error {
    /// Reason to tell on the object; absent where this replica has no business to tell anything.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } | Self::Incomplete(_) => Some("ReadFailed"),
            Self::Apply(ApplyError::Write { .. }) => Some("WriteFailed"),
            Self::TimedOut(_) => Some("TimedOut"),
            Self::Apply(ApplyError::NotLeader { .. }) => None,
        }
    }
}

/// The text of an error with all of its causes, for a log line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
