//! Files below an address of a web server. What they are says a `SHA256SUMS` beside them; without one, the names are asked for that
//! models have.

use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use ureq::Body;

use super::candidates::{INDEX, MAX_INDEX_BYTES, NAMES, shards};
use super::content::{content, headers};
use super::listed::{check_revision, revision_of};
use super::{Content, Hash, Remote, RemoteError, RemoteFile, Resume, Revision, Unhashed};
use crate::model::address_policy::Address;
use crate::model::credentials::Credentials;
use crate::model::manifest::is_safe_name;
use crate::model::signature::SIGNATURE_FILE;
use crate::model::source::{RevisionName, is_archive};
use crate::model::sums::{self, MAX_SUMS_BYTES, SUMS_FILE};
use crate::model::transport::{Ask, Client, text};

/// Each is asked for once before anything is downloaded.
const MOST_LISTED: usize = 1000;

pub(super) struct Web {
    client: Client,
    /// Ends in a slash.
    base: Address,
    /// What the source names below it: a file list or an archive.
    file: Option<String>,
    authorization: Option<HeaderValue>,
}

impl Web {
    pub(super) fn new(
        client: Client,
        address: &Address,
        credentials: &Credentials,
    ) -> Result<Self, RemoteError> {
        let text = address.as_str();
        let end = text.rfind('/').map_or(text.len(), |slash| slash + 1);
        let file = Some(text[end..].to_owned()).filter(|file| !file.is_empty());
        let base = Address::parse(&text[..end])?;
        Ok(Self { client, base, file, authorization: credentials.authorization() })
    }

    fn what(&self) -> String {
        format!("model at {}", self.base.as_str())
    }

    fn send(&self, method: Method, file: &str, headers: HeaderMap) -> Result<Response<Body>, RemoteError> {
        let address = self.base.at(file);
        let authorization = self.authorization.clone();
        Ok(self.client.send(&Ask { method, address: &address, headers, authorization })?.response)
    }

    fn accept(&self, response: Response<Body>, file: &str) -> Result<Response<Body>, RemoteError> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(RemoteError::of_answer(&response, self.base.host(), &self.what(), Some(file)))
    }

    fn listing_error(&self, reason: String) -> RemoteError {
        RemoteError::Listing { host: self.base.host(), what: self.what(), reason }
    }

    /// A small file, unless it is not there.
    fn read(&self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let response = self.send(Method::GET, file, headers(None))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let mut body = self.accept(response, file)?.into_body();
        let bytes = body.with_config().limit(limit).read_to_vec();
        bytes.map(Some).map_err(|error| self.listing_error(format!("{file}: {error}")))
    }

    /// What the server says of a file, unless it is not there.
    fn probe(&self, name: &str) -> Result<Option<RemoteFile>, RemoteError> {
        let mut response = self.send(Method::HEAD, name, headers(None))?;
        if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            response = self.send(Method::GET, name, headers(None))?;
        }
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        let response = self.accept(response, name)?;
        let size = text(response.headers(), &CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let tag = text(response.headers(), &ETAG).filter(|tag| tag.starts_with('"'));
        Ok(Some(RemoteFile { name: name.to_owned(), size, hash: None, tag }))
    }

    fn listed(&self, list: &str) -> Result<Option<Vec<RemoteFile>>, RemoteError> {
        let Some(bytes) = self.read(list, MAX_SUMS_BYTES)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| self.listing_error(format!("{list} is no text")))?;
        let sums = sums::parse(&text).map_err(|reason| self.listing_error(format!("{list}: {reason}")))?;
        if sums.len() > MOST_LISTED {
            let reason = format!("{list} names {} files, more than {MOST_LISTED}", sums.len());
            return Err(self.listing_error(reason));
        }
        let mut files = Vec::new();
        for (name, sum) in sums.into_iter().filter(|(name, _)| is_safe_name(name)) {
            let found = self.probe(&name)?;
            let file = found.ok_or(RemoteError::FileNotFound { what: self.what(), file: name })?;
            files.push(RemoteFile { hash: Some(Hash::Sha256(sum)), ..file });
        }
        // The list itself, and a signature beside it, for those who ask for one.
        for name in [list, SIGNATURE_FILE] {
            files.extend(self.probe(name)?);
        }
        Ok(Some(files))
    }

    fn guessed(&self) -> Result<Vec<RemoteFile>, RemoteError> {
        let mut files = Vec::new();
        for name in NAMES {
            files.extend(self.probe(name)?);
        }
        if files.iter().any(|file| file.name == INDEX)
            && let Some(index) = self.read(INDEX, MAX_INDEX_BYTES)?
        {
            let names = shards(&index).map_err(|reason| self.listing_error(format!("{INDEX}: {reason}")))?;
            for name in names.iter().filter(|name| is_safe_name(name)) {
                files.extend(self.probe(name)?);
            }
        }
        Ok(files)
    }
}

impl Remote for Web {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError> {
        let not_found = |what: String| RemoteError::ModelNotFound { what };
        let (files, archives) = match &self.file {
            Some(file) if is_archive(file) => {
                let archive =
                    self.probe(file)?.ok_or_else(|| not_found(format!("file {file} in {}", self.what())))?;
                (Vec::new(), vec![archive])
            }
            Some(list) => {
                let files = self
                    .listed(list)?
                    .ok_or_else(|| not_found(format!("list {list} of the {}", self.what())))?;
                (files, Vec::new())
            }
            None => match self.listed(SUMS_FILE)? {
                Some(files) => (files, Vec::new()),
                None => (self.guessed()?, Vec::new()),
            },
        };
        if files.is_empty() && archives.is_empty() {
            return Err(not_found(self.what()));
        }
        let id = revision_of(&[files.as_slice(), archives.as_slice()].concat());
        check_revision(&self.what(), revision, &id)?;
        Ok(Revision { id, license: None, files, archives })
    }

    fn content(&self, _: &str, file: &RemoteFile, resume: Option<&Resume>) -> Result<Content, RemoteError> {
        let response = self.send(Method::GET, &file.name, headers(resume))?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(content(response, None));
        }
        Ok(content(self.accept(response, &file.name)?, None))
    }

    fn unhashed(&self) -> Unhashed {
        Unhashed::PinnedAtFirstFetch
    }
}
