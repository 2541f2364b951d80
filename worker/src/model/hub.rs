//! A client of the Hugging Face hub: what a revision is, and its files from any offset.
//!
//! Redirects are followed here and not by the HTTP library, because the hub puts the hash of a large file on the
//! redirect, and because the token must not travel to another host.

mod content;
mod error;
mod listing;
mod location;

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, IF_RANGE, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use crate::model::source::{RevisionName, Source};
use content::{announced_hash, content, text};
use listing::Listing;
use location::Location;

pub use content::{Content, Resume};
pub use error::HubError;
pub use listing::{Hash, RemoteFile, Revision};

const MAX_REDIRECTS: usize = 5;
const MAX_LISTING_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Without a byte for this long, a transfer is given up and tried again.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

/// Printed nowhere, not even for debugging.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        (!token.is_empty()).then(|| Self(token.to_owned()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

pub struct Hub {
    agent: Agent,
    endpoint: Location,
    token: Option<Token>,
}

impl Hub {
    pub fn new(endpoint: &str, token: Option<Token>, timeouts: Timeouts) -> Result<Self, HubError> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.idle))
            .timeout_per_read(Some(timeouts.idle))
            .timeout_per_write(Some(timeouts.idle))
            .user_agent(concat!("lexiscale-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let endpoint = Location::parse(endpoint.trim_end_matches('/'))
            .ok_or_else(|| HubError::Address { address: endpoint.to_owned() })?;
        Ok(Self { agent, endpoint, token })
    }

    pub fn resolve(&self, source: &Source, revision: &RevisionName) -> Result<Revision, HubError> {
        let repository = source.repository();
        let path = format!("/api/models/{repository}/revision/{}?blobs=true", revision.encoded());
        let (response, _) = self.request(&self.endpoint.at(&path), &HeaderMap::new())?;
        let response = self.accept(response, repository, revision.as_str(), None)?;
        let mut body = response.into_body();
        let listing = |reason: String| HubError::Listing {
            host: self.endpoint.host(),
            repository: repository.to_owned(),
            reason,
        };
        let bytes = body
            .with_config()
            .limit(MAX_LISTING_BYTES)
            .read_to_vec()
            .map_err(|error| listing(error.to_string()))?;
        let answer: Listing = serde_json::from_slice(&bytes).map_err(|error| listing(error.to_string()))?;
        let answer =
            answer.into_revision().ok_or_else(|| listing("its commit is not a commit".to_owned()))?;
        if revision.is_commit() && answer.commit != revision.as_str() {
            return Err(listing(format!("it describes commit {}", answer.commit)));
        }
        Ok(answer)
    }

    /// Size and hash of a file, for hubs whose listing lacks them.
    pub fn describe(&self, source: &Source, commit: &str, file: &str) -> Result<RemoteFile, HubError> {
        let content = self.content(source, commit, file, None)?;
        Ok(RemoteFile { name: file.to_owned(), size: content.size, hash: content.hash })
    }

    pub fn content(
        &self,
        source: &Source,
        commit: &str,
        file: &str,
        resume: Option<&Resume>,
    ) -> Result<Content, HubError> {
        let mut headers = HeaderMap::new();
        // A compressed answer has another length and another hash than the file.
        headers.insert(ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        if let Some(Resume { offset, tag }) = resume {
            insert(&mut headers, RANGE, &format!("bytes={offset}-"));
            if let Some(tag) = tag {
                insert(&mut headers, IF_RANGE, tag);
            }
        }
        let repository = source.repository();
        let url = self.endpoint.at(&format!("/{repository}/resolve/{commit}/{file}"));
        let (response, hash) = self.request(&url, &headers)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(content(response, hash));
        }
        Ok(content(self.accept(response, repository, commit, Some(file))?, hash))
    }

    /// Follows redirects, and keeps the first hash that the hub announces on the way.
    fn request(
        &self,
        url: &Location,
        headers: &HeaderMap,
    ) -> Result<(Response<Body>, Option<Hash>), HubError> {
        let mut url = url.clone();
        let mut hash = None;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(url.as_str());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(Token(token)) = self.token.as_ref().filter(|_| url.is_same_server(&self.endpoint)) {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request
                .call()
                .map_err(|source| HubError::Unreachable { host: url.host(), source: Box::new(source) })?;
            hash = hash.or_else(|| announced_hash(response.headers()));
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok((response, hash));
            }
            let location = text(response.headers(), LOCATION).unwrap_or_default();
            url = url.follow(&location).map_err(|reason| HubError::Redirect {
                host: url.host(),
                location: location.clone(),
                reason,
            })?;
        }
        let (host, location) = (self.endpoint.host(), url.as_str().to_owned());
        Err(HubError::Redirect { host, location, reason: "there are too many redirects" })
    }

    fn accept(
        &self,
        response: Response<Body>,
        repository: &str,
        revision: &str,
        file: Option<&str>,
    ) -> Result<Response<Body>, HubError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (repository, revision) = (repository.to_owned(), revision.to_owned());
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        Err(match (status.as_u16(), code, file) {
            // The real hub answers 401 for names that do not exist, so that strangers cannot tell them from private ones.
            (401 | 404, Some("RepoNotFound"), _) => HubError::RepositoryNotFound { repository },
            (404, Some("RevisionNotFound"), _) => HubError::RevisionNotFound { repository, revision },
            (401 | 403, _, _) => HubError::Unauthorized { repository, status: status.as_u16() },
            (404 | 410, _, Some(file)) => {
                HubError::FileNotFound { repository, revision, file: file.to_owned() }
            }
            (404 | 410, _, None) => HubError::RepositoryNotFound { repository },
            (status, _, _) => HubError::Status {
                host: self.endpoint.host(),
                status,
                retry_after: text(response.headers(), RETRY_AFTER)
                    .and_then(|seconds| seconds.parse().ok())
                    .map(|seconds: u64| Duration::from_secs(seconds.min(300))),
            },
        })
    }
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = http::HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::new("hf_secret\n").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        assert!(Token::new("  ").is_none());
    }
}
