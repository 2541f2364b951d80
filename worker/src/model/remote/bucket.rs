//! A folder of an S3 bucket. Requests are signed in their URL (signature version 4) where there are keys; public buckets need none.

use std::time::Duration;

use http::{HeaderMap, Method, Response, StatusCode};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket as Place, Credentials as Keys, S3Action, UrlStyle};
use ureq::Body;

use super::content::{content, headers, insert};
use super::listed::{self, check_revision, revision_of};
use super::{Content, Remote, RemoteError, RemoteFile, Resume, Revision, Unhashed};
use crate::model::address_policy::Address;
use crate::model::credentials::{Credentials, S3Keys};
use crate::model::source::{RevisionName, is_archive};
use crate::model::sums::{self, MAX_SUMS_BYTES, SUMS_FILE};
use crate::model::transport::{Ask, Client};

/// Of a signature. A request is sent at once; what it starts may take as long as it likes.
const VALID: Duration = Duration::from_mins(15);
const DEFAULT_REGION: &str = "us-east-1";
const MAX_PAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Of a thousand objects each; a model's folder has dozens.
const MAX_PAGES: usize = 10;

pub(super) struct Bucket {
    client: Client,
    place: Place,
    keys: Option<Keys>,
    prefix: String,
    host: String,
}

impl Bucket {
    pub(super) fn new(
        client: Client,
        endpoint: Option<&str>,
        bucket: &str,
        prefix: &str,
        credentials: &Credentials,
    ) -> Result<Self, RemoteError> {
        let region = credentials
            .region
            .clone()
            .or_else(|| endpoint.and_then(region_of))
            .unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let endpoint = endpoint.map_or_else(|| format!("https://s3.{region}.amazonaws.com"), str::to_owned);
        let address = Address::parse(&endpoint)?;
        let unusable = |reason: String| RemoteError::Unusable { what: format!("bucket {bucket}"), reason };
        let url = endpoint.parse().map_err(|error| unusable(format!("its endpoint is no URL: {error}")))?;
        let place = Place::new(url, UrlStyle::Path, bucket.to_owned(), region)
            .map_err(|error| unusable(error.to_string()))?;
        let keys = credentials.s3.as_ref().map(|S3Keys { id, secret, session }| match session {
            Some(session) => Keys::new_with_token(id.reveal(), secret.reveal(), session.reveal()),
            None => Keys::new(id.reveal(), secret.reveal()),
        });
        Ok(Self { client, place, keys, prefix: prefix.to_owned(), host: address.host() })
    }

    fn what(&self) -> String {
        format!("model in bucket {} at {:?}", self.place.name(), self.prefix)
    }

    fn listing_error(&self, reason: String) -> RemoteError {
        RemoteError::Listing { host: self.host.clone(), what: self.what(), reason }
    }

    fn send(&self, url: &str, headers: HeaderMap) -> Result<Response<Body>, RemoteError> {
        let address = Address::parse(url)?;
        let ask = Ask { method: Method::GET, address: &address, headers, authorization: None };
        Ok(self.client.send(&ask)?.response)
    }

    fn accept(&self, response: Response<Body>, file: Option<&str>) -> Result<Response<Body>, RemoteError> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(RemoteError::of_answer(&response, self.host.clone(), &self.what(), file))
    }

    /// The objects whose keys begin with the text, by their whole keys.
    fn list(&self, start: &str) -> Result<Vec<RemoteFile>, RemoteError> {
        let mut files = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut action = self.place.list_objects_v2(self.keys.as_ref());
            action.with_prefix(start.to_owned());
            if let Some(token) = next.take() {
                action.with_continuation_token(token);
            }
            let response = self.send(action.sign(VALID).as_str(), HeaderMap::new())?;
            let mut body = self.accept(response, None)?.into_body();
            let text = body.with_config().limit(MAX_PAGE_BYTES).read_to_string();
            let text = text.map_err(|error| self.listing_error(error.to_string()))?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|error| self.listing_error(error.to_string()))?;
            files.extend(page.contents.into_iter().map(|object| RemoteFile {
                name: object.key,
                size: object.size,
                hash: None,
                tag: object.etag,
            }));
            next = page.next_continuation_token;
            if next.is_none() {
                return Ok(files);
            }
        }
        Err(RemoteError::Unusable {
            what: self.what(),
            reason: format!("it has more than {} objects", MAX_PAGES * 1000),
        })
    }

    fn get(
        &self,
        file: &RemoteFile,
        key: &str,
        mut headers: HeaderMap,
    ) -> Result<Response<Body>, RemoteError> {
        // What was listed, or nothing: an object that was replaced meanwhile is another model's.
        if let Some(tag) = &file.tag {
            insert(&mut headers, http::header::IF_MATCH, tag);
        }
        headers.remove(http::header::IF_RANGE);
        self.send(self.place.get_object(self.keys.as_ref(), key).sign(VALID).as_str(), headers)
    }

    fn key(&self, name: &str) -> String {
        if is_archive(&self.prefix) || self.prefix.is_empty() {
            let folder = self.prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            return if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        }
        format!("{}/{name}", self.prefix)
    }

    fn sums(&self, files: &[RemoteFile]) -> Result<Vec<(String, String)>, RemoteError> {
        let Some(list) = files.iter().find(|file| file.name == SUMS_FILE) else { return Ok(Vec::new()) };
        let response = self.get(list, &self.key(SUMS_FILE), headers(None))?;
        let mut body = self.accept(response, Some(SUMS_FILE))?.into_body();
        let text = body.with_config().limit(MAX_SUMS_BYTES).read_to_string();
        let text = text.map_err(|error| self.listing_error(format!("{SUMS_FILE}: {error}")))?;
        sums::parse(&text).map_err(|reason| self.listing_error(format!("{SUMS_FILE}: {reason}")))
    }
}

impl Remote for Bucket {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError> {
        let start = if is_archive(&self.prefix) || self.prefix.is_empty() {
            self.prefix.clone()
        } else {
            format!("{}/", self.prefix)
        };
        let objects = self.list(&start)?;
        let (mut files, mut archives) = (Vec::new(), Vec::new());
        for object in objects {
            if object.name == self.prefix {
                let name = object.name.rsplit('/').next().unwrap_or_default().to_owned();
                archives.push(RemoteFile { name, ..object });
            } else if let Some(name) =
                object.name.strip_prefix(&start).filter(|name| !name.is_empty() && !name.ends_with('/'))
            {
                files.push(RemoteFile { name: name.to_owned(), ..object });
            }
        }
        if is_archive(&self.prefix) {
            files.clear();
        }
        if files.is_empty() && archives.is_empty() {
            return Err(RemoteError::ModelNotFound { what: self.what() });
        }
        let sums = self.sums(&files)?;
        listed::apply(&mut files, &sums);
        let id = revision_of(&[files.as_slice(), archives.as_slice()].concat());
        check_revision(&self.what(), revision, &id)?;
        Ok(Revision { id, license: None, files, archives })
    }

    fn content(&self, _: &str, file: &RemoteFile, resume: Option<&Resume>) -> Result<Content, RemoteError> {
        let response = self.get(file, &self.key(&file.name), headers(resume))?;
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(content(response, None)),
            StatusCode::PRECONDITION_FAILED => Err(RemoteError::Changed {
                what: self.what(),
                revision: format!("the listing with {}", file.tag.as_deref().unwrap_or_default()),
                found: format!("another {}", file.name),
            }),
            _ => Ok(content(self.accept(response, Some(&file.name))?, None)),
        }
    }

    fn unhashed(&self) -> Unhashed {
        Unhashed::PinnedAtFirstFetch
    }
}

/// Of an endpoint of Amazon's own, whose name says it.
fn region_of(endpoint: &str) -> Option<String> {
    let host = endpoint.split_once("://")?.1.strip_suffix(".amazonaws.com")?;
    host.strip_prefix("s3.").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;

    #[test]
    fn any_listing_gets_a_verdict() {
        let seed = r#"<?xml version="1.0"?><ListBucketResult><Name>b</Name><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a%20b</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"x"</ETag><Size>3</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"#;
        let words = [
            "<Contents>",
            "</Contents>",
            "<Key>../</Key>",
            "<Size>-1</Size>",
            "<![CDATA[",
            "<!DOCTYPE a [<!ENTITY b \"c\">]>",
            "&b;",
            "%zz",
        ];
        fuzz(&Inputs::of_texts("s3-listing", &[seed], &words), |input| {
            let _ = ListObjectsV2::parse_response(&String::from_utf8_lossy(input));
        });
    }

    #[test]
    fn the_region_is_that_of_the_endpoint() {
        assert_eq!(region_of("https://s3.eu-central-1.amazonaws.com").as_deref(), Some("eu-central-1"));
        assert_eq!(region_of("https://minio.example"), None);
    }
}
