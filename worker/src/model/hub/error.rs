//! How asking the hub can fail, and which failures pass.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("hub address {address:?} is not an http or https address")]
    Address { address: String },
    #[error("the hub has no repository {repository} that this worker may see")]
    RepositoryNotFound { repository: String },
    #[error("repository {repository} has no revision {revision}")]
    RevisionNotFound { repository: String, revision: String },
    #[error("repository {repository} at {revision} has no file {file}")]
    FileNotFound { repository: String, revision: String, file: String },
    #[error("the hub does not allow access to {repository} ({status}); a token with access to it is needed")]
    Unauthorized { repository: String, status: u16 },
    #[error("the hub at {host} answered {status}")]
    Status { host: String, status: u16, retry_after: Option<Duration> },
    #[error("failed to reach {host}")]
    Unreachable {
        host: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("the hub at {host} answered the listing of {repository} with something else: {reason}")]
    Listing { host: String, repository: String, reason: String },
    #[error("the hub at {host} redirects to {location}, which is not followed: {reason}")]
    Redirect { host: String, location: String, reason: &'static str },
}

impl HubError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            // A captive portal or a proxy that is starting up answers with pages of its own.
            Self::Unreachable { .. } | Self::Listing { .. } => true,
            Self::Address { .. }
            | Self::RepositoryNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::Unauthorized { .. }
            | Self::Redirect { .. } => false,
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
