//! How asking a place can fail, and which failures pass.

use std::io;
use std::time::Duration;

use http::StatusCode;
use ureq::Body;

use crate::model::address_policy::Refusal;
use crate::model::transport;

#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no {what} that this worker may see")]
    ModelNotFound { what: String },
    #[error("{what} has no revision {revision}")]
    RevisionNotFound { what: String, revision: String },
    #[error(
        "{what} is no longer what it was when {revision} was pinned; it is {found} now. Delete the ModelCache to take that"
    )]
    Changed { what: String, revision: String, found: String },
    #[error("{what} has no file {file}")]
    FileNotFound { what: String, file: String },
    #[error(
        "access to {what} is refused ({status}); a Secret with credentials for it is needed, such as storage.secretName names"
    )]
    Unauthorized { what: String, status: u16 },
    #[error("{host} answered {status}")]
    Status { host: String, status: u16, retry_after: Option<Duration> },
    #[error("failed to reach {host}")]
    Unreachable {
        host: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{host} answered the listing of {what} with something else: {reason}")]
    Listing { host: String, what: String, reason: String },
    #[error("{what} cannot be used: {reason}")]
    Unusable { what: String, reason: String },
    #[error("a redirect of {host} is not followed: {reason}")]
    Redirect { host: String, reason: String },
    #[error("the volume of claim {claim} is not mounted here: --claim-folder says where it is")]
    NotMounted { claim: String },
    #[error("failed to read {what}")]
    Read {
        what: String,
        #[source]
        source: io::Error,
    },
}

impl RemoteError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            // A captive portal or a proxy that is starting up answers with pages of its own.
            Self::Unreachable { .. } | Self::Listing { .. } => true,
            Self::Refused(_)
            | Self::ModelNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::Changed { .. }
            | Self::FileNotFound { .. }
            | Self::Unauthorized { .. }
            | Self::Unusable { .. }
            | Self::Redirect { .. }
            | Self::NotMounted { .. }
            | Self::Read { .. } => false,
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an answer without content means, when it means nothing particular to its kind of place.
    pub(super) fn of_answer(
        response: &http::Response<Body>,
        host: String,
        what: &str,
        file: Option<&str>,
    ) -> Self {
        let what = what.to_owned();
        match (response.status(), file) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Self::Unauthorized { what, status: response.status().as_u16() }
            }
            (StatusCode::NOT_FOUND | StatusCode::GONE, Some(file)) => {
                Self::FileNotFound { what, file: file.to_owned() }
            }
            (StatusCode::NOT_FOUND | StatusCode::GONE, None) => Self::ModelNotFound { what },
            (status, _) => Self::Status {
                host,
                status: status.as_u16(),
                retry_after: transport::retry_after(response.headers()),
            },
        }
    }
}
