//! The one place where a worker's error becomes a response.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lexiscale_wire::{WorkerError, WorkerErrorKind};

/// Wraps the wire's type, which cannot know of axum.
#[derive(Debug)]
pub(super) struct Failure(pub(super) WorkerError);

impl Failure {
    pub(super) fn new(kind: WorkerErrorKind, message: impl Into<String>) -> Self {
        Self(WorkerError::new(kind, message))
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let kind = error.kind;
        let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(error)).into_response();
        if kind.is_retryable() {
            // The queue of a worker empties within a second or so; a caller with other workers goes there at once.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
