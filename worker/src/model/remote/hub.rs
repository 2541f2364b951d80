//! A client of the Hugging Face hub: what a revision is, and its files from any offset.

mod listing;

use http::header::ETAG;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use ureq::Body;

use super::content::{content, headers};
use super::{Content, Hash, Remote, RemoteError, RemoteFile, Resume, Revision, Unhashed};
use crate::model::address_policy::Address;
use crate::model::credentials::Credentials;
use crate::model::source::RevisionName;
use crate::model::transport::{Answer, Ask, Client, text};
use listing::{Listing, hash_of_tag};

pub(super) const PUBLIC: &str = "https://huggingface.co";
const MAX_LISTING_BYTES: u64 = 16 * 1024 * 1024;

pub(super) struct Hub {
    client: Client,
    endpoint: Address,
    repository: String,
    authorization: Option<HeaderValue>,
}

impl Hub {
    pub(super) fn new(
        client: Client,
        endpoint: Address,
        repository: String,
        credentials: &Credentials,
    ) -> Self {
        Self { client, endpoint, repository, authorization: credentials.authorization() }
    }

    fn what(&self) -> String {
        format!("repository {}", self.repository)
    }

    /// The answer, with the first hash that the hub announces on the way to it.
    fn request(&self, path: &str, headers: HeaderMap) -> Result<(Response<Body>, Option<Hash>), RemoteError> {
        let address = self.endpoint.at(path);
        let authorization = self.authorization.clone();
        let ask = Ask { method: Method::GET, address: &address, headers, authorization };
        let Answer { response, hops } = self.client.send(&ask)?;
        Ok((response, hops.iter().find_map(announced_hash)))
    }

    fn accept(
        &self,
        response: Response<Body>,
        revision: &str,
        file: Option<&str>,
    ) -> Result<Response<Body>, RemoteError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        Err(match (response.status().as_u16(), code) {
            // The real hub answers 401 for names that do not exist, so that strangers cannot tell them from private ones.
            (401 | 404, Some("RepoNotFound")) => RemoteError::ModelNotFound { what: self.what() },
            (404, Some("RevisionNotFound")) => {
                RemoteError::RevisionNotFound { what: self.what(), revision: revision.to_owned() }
            }
            _ => RemoteError::of_answer(&response, self.endpoint.host(), &self.what(), file),
        })
    }
}

impl Remote for Hub {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError> {
        let path = format!("/api/models/{}/revision/{}?blobs=true", self.repository, revision.encoded());
        let (response, _) = self.request(&path, HeaderMap::new())?;
        let mut body = self.accept(response, revision.as_str(), None)?.into_body();
        let listing =
            |reason: String| RemoteError::Listing { host: self.endpoint.host(), what: self.what(), reason };
        let bytes = body
            .with_config()
            .limit(MAX_LISTING_BYTES)
            .read_to_vec()
            .map_err(|error| listing(error.to_string()))?;
        let answer: Listing = serde_json::from_slice(&bytes).map_err(|error| listing(error.to_string()))?;
        let answer =
            answer.into_revision().ok_or_else(|| listing("its commit is not a commit".to_owned()))?;
        if revision.is_commit() && answer.id != revision.as_str() {
            return Err(listing(format!("it describes commit {}", answer.id)));
        }
        Ok(answer)
    }

    fn content(
        &self,
        revision: &str,
        file: &RemoteFile,
        resume: Option<&Resume>,
    ) -> Result<Content, RemoteError> {
        let path = format!("/{}/resolve/{revision}/{}", self.repository, file.name);
        let (response, hash) = self.request(&path, headers(resume))?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(content(response, hash));
        }
        Ok(content(self.accept(response, revision, Some(&file.name))?, hash))
    }

    fn unhashed(&self) -> Unhashed {
        Unhashed::Refused
    }
}

/// The hash that the hub itself announces, on a redirect or with the content.
fn announced_hash(headers: &HeaderMap) -> Option<Hash> {
    let linked = headers.get("x-linked-etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    // Without the hub's own header the tag may be anybody's and mean anything.
    let own = headers.contains_key("x-repo-commit").then(|| text(headers, &ETAG)).flatten();
    hash_of_tag(&linked.or(own)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_strictly() {
        assert_eq!(hash_of_tag("\"xyz\""), None);
        assert_eq!(hash_of_tag(&format!("W/\"{}\"", "a".repeat(64))), Some(Hash::Sha256("a".repeat(64))));
    }
}
