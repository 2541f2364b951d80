//! Reads a request's body within bounds of size and time, and parses it.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http_body_util::LengthLimitError;
use lexiscale_wire::{MAX_BODY_BYTES, TIMEOUT_HEADER, WorkerErrorKind};
use serde::de::DeserializeOwned;

use super::error::Failure;

/// A body that trickles in holds memory and a connection.
const BODY_TIME: Duration = Duration::from_secs(30);

pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let bytes = match tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if is_too_long(&error) => {
            let message = format!("the body is larger than {MAX_BODY_BYTES} bytes");
            return Err(Failure::new(WorkerErrorKind::TooLarge, message));
        }
        Ok(Err(_)) => return Err(Failure::new(WorkerErrorKind::BadRequest, "the body ended early")),
        Err(_) => {
            let message = format!("the body did not arrive within {} seconds", BODY_TIME.as_secs());
            return Err(Failure::new(WorkerErrorKind::BadRequest, message));
        }
    };
    // serde would take a list for an object whose keys are left out.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Failure::new(WorkerErrorKind::BadRequest, "the body must be a JSON object"));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(WorkerErrorKind::BadRequest, error.to_string()))
}

/// How long the caller said that it will wait.
pub(super) fn timeout(headers: &http::HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(None);
    };
    let milliseconds = value.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
        Failure::new(WorkerErrorKind::BadRequest, format!("{TIMEOUT_HEADER} is not a number of milliseconds"))
    })?;
    Ok(Some(Duration::from_millis(milliseconds)))
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<LengthLimitError>() {
            return true;
        }
        source = cause.source();
    }
    false
}
