//! What the worker answers when it does not answer with vectors.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of refusal, each with one status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerErrorKind {
    /// The queue is full, or the request's time was over before its turn: ask another worker, or later.
    Overloaded,
    /// Body, text or number of texts above the limit.
    TooLarge,
    /// The body is not a request.
    BadRequest,
    /// Not warmed up yet, or on the way out.
    NotReady,
    /// The engine failed on this request; others are not affected.
    Internal,
}

impl WorkerErrorKind {
    pub const ALL: [Self; 5] =
        [Self::Overloaded, Self::TooLarge, Self::BadRequest, Self::NotReady, Self::Internal];

    pub fn status(self) -> u16 {
        match self {
            Self::Overloaded => 429,
            Self::TooLarge => 413,
            Self::BadRequest => 400,
            Self::NotReady => 503,
            Self::Internal => 500,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::TooLarge => "too_large",
            Self::BadRequest => "bad_request",
            Self::NotReady => "not_ready",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed on another worker.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Overloaded | Self::NotReady => true,
            Self::TooLarge | Self::BadRequest | Self::Internal => false,
        }
    }
}

impl fmt::Display for WorkerErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `{"error": "...", "type": "..."}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct WorkerError {
    pub error: String,
    #[serde(rename = "type")]
    pub kind: WorkerErrorKind,
}

impl WorkerError {
    pub fn new(kind: WorkerErrorKind, error: impl Into<String>) -> Self {
        Self { error: error.into(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_and_display_agree() {
        for kind in WorkerErrorKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let error = WorkerError::new(WorkerErrorKind::Overloaded, "queue is full");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"error":"queue is full","type":"overloaded"}"#
        );
    }
}
