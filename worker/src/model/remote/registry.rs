//! A model in a registry: as an artifact with a layer for each file, or inside the layers of an image. Every byte has a digest, from
//! the manifest on.

mod challenge;
mod manifest;

use http::header::{ACCEPT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use sha2::{Digest, Sha256};
use std::sync::Mutex;
use ureq::Body;

use super::content::{content, headers};
use super::{Content, Hash, Remote, RemoteError, RemoteFile, Resume, Revision, Unhashed};
use crate::model::address_policy::Address;
use crate::model::credentials::{Credentials, bearer};
use crate::model::manifest::hexadecimal;
use crate::model::source::{ImageReference, RevisionName, is_sha256};
use crate::model::transport::{Answer, Ask, Client, text};
use challenge::{Challenge, token_of};
use manifest::{MEDIA_TYPES, Manifest, layers};

const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
const MAX_TOKEN_BYTES: u64 = 1024 * 1024;

pub(super) struct Registry {
    client: Client,
    endpoint: Address,
    image: ImageReference,
    basic: Option<HeaderValue>,
    /// What the registry's token service gave.
    token: Mutex<Option<HeaderValue>>,
}

impl Registry {
    pub(super) fn new(
        client: Client,
        endpoint: Address,
        image: ImageReference,
        credentials: &Credentials,
    ) -> Self {
        let basic = credentials.of_registry(image.registry());
        Self {
            client,
            endpoint,
            image,
            basic,
            token: Mutex::new(credentials.token.as_ref().and_then(|token| bearer(token.reveal()))),
        }
    }

    fn what(&self) -> String {
        format!("artifact {}", self.image)
    }

    fn listing_error(&self, reason: impl Into<String>) -> RemoteError {
        RemoteError::Listing { host: self.endpoint.host(), what: self.what(), reason: reason.into() }
    }

    /// Asks, and asks again with a token where the registry wants one.
    fn get(&self, path: &str, headers: &HeaderMap) -> Result<Response<Body>, RemoteError> {
        let address = self.endpoint.at(&format!("/v2/{}/{path}", self.image.repository()));
        let known = self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let response = self.ask(&address, headers, known)?;
        let challenge = match text(response.headers(), &WWW_AUTHENTICATE).map(|text| Challenge::parse(&text))
        {
            Some(challenge) if response.status() == StatusCode::UNAUTHORIZED => challenge,
            _ => return Ok(response),
        };
        let authorization = match challenge {
            Some(Challenge::Bearer { realm, service, scope }) => {
                self.token(&realm, service.as_deref(), scope.as_deref())?
            }
            Some(Challenge::Basic) => self.basic.clone(),
            None => None,
        };
        let Some(authorization) = authorization else { return Ok(response) };
        let again = self.ask(&address, headers, Some(authorization.clone()))?;
        *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(authorization);
        Ok(again)
    }

    fn ask(
        &self,
        address: &Address,
        headers: &HeaderMap,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Body>, RemoteError> {
        let ask = Ask { method: Method::GET, address, headers: headers.clone(), authorization };
        let Answer { response, hops: _ } = self.client.send(&ask)?;
        Ok(response)
    }

    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Option<HeaderValue>, RemoteError> {
        let address = challenge::token_address(realm, service, scope)?;
        let response = self.ask(&address, &HeaderMap::new(), self.basic.clone())?;
        if !response.status().is_success() {
            return Err(RemoteError::of_answer(&response, address.host(), &self.what(), None));
        }
        let mut body = response.into_body();
        let bytes = body.with_config().limit(MAX_TOKEN_BYTES).read_to_vec();
        let bytes = bytes.map_err(|error| self.listing_error(error.to_string()))?;
        let token = token_of(&bytes).ok_or_else(|| self.listing_error("its token service gives no token"))?;
        Ok(bearer(&token))
    }

    /// A manifest and its digest, which is computed and not believed.
    fn manifest(&self, reference: &str) -> Result<(Manifest, String), RemoteError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPES));
        let response = self.get(&format!("manifests/{reference}"), &headers)?;
        if !response.status().is_success() {
            return Err(RemoteError::of_answer(&response, self.endpoint.host(), &self.what(), None));
        }
        let mut body = response.into_body();
        let bytes = body.with_config().limit(MAX_MANIFEST_BYTES).read_to_vec();
        let bytes = bytes.map_err(|error| self.listing_error(error.to_string()))?;
        let digest = format!("sha256:{}", hexadecimal(&Sha256::digest(&bytes)));
        if reference.starts_with("sha256:") && reference != digest {
            return Err(self.listing_error(format!("the manifest {reference} has digest {digest}")));
        }
        let manifest =
            serde_json::from_slice(&bytes).map_err(|error| self.listing_error(error.to_string()))?;
        Ok((manifest, digest))
    }
}

impl Remote for Registry {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError> {
        let asked = match revision.pinned() {
            Some(digits) => format!("sha256:{digits}"),
            None if revision.as_str() == "main" => self.image.wanted(),
            None => revision.as_str().to_owned(),
        };
        let (mut manifest, digest) = self.manifest(&asked)?;
        if let Some(platform) = manifest.of_platform() {
            if platform.strip_prefix("sha256:").is_none_or(|digits| !is_sha256(digits)) {
                let reason = format!("its index names {platform:?}, which is no sha256");
                return Err(RemoteError::Unusable { what: self.what(), reason });
            }
            manifest = self.manifest(&platform)?.0;
        }
        let (files, archives) =
            layers(manifest).map_err(|reason| RemoteError::Unusable { what: self.what(), reason })?;
        Ok(Revision { id: digest.replace(':', "-"), license: None, files, archives })
    }

    fn content(&self, _: &str, file: &RemoteFile, resume: Option<&Resume>) -> Result<Content, RemoteError> {
        let Some(Hash::Sha256(digits)) = &file.hash else {
            return Err(RemoteError::FileNotFound { what: self.what(), file: file.name.clone() });
        };
        let response = self.get(&format!("blobs/sha256:{digits}"), &headers(resume))?;
        if response.status().is_success() || response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(content(response, None));
        }
        Err(RemoteError::of_answer(&response, self.endpoint.host(), &self.what(), Some(&file.name)))
    }

    fn unhashed(&self) -> Unhashed {
        Unhashed::Refused
    }
}
