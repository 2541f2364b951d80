//! Reading a request: path, parameters, body, in that order. All limits of what a client may send are here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query as Pairs, Request};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::Gateway;
use super::budget::{Held, OverBudget};
use super::directory::EndpointKey;
use super::elastic::error::Refusal;
use super::elastic::media_type::MediaType;
use super::elastic::query::{Own, Query};
use super::elastic::task_type::TaskTypeName;
use super::error::Error;
use super::gzip::{Gunzip, Unreadable};
use super::paced::Paced;
use super::places::Places;
use super::settings::Settings;
use super::tenancy::Tenant;

/// No id is that long. Longer ones are not looked for, cached or told back.
const LONGEST_ID: usize = 1024;

/// What the path names. The id is decoded once, as it came.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) tenant: Tenant,
    pub(crate) task: Option<TaskTypeName>,
    pub(crate) id: String,
}

impl Target {
    pub(crate) fn key(&self) -> EndpointKey {
        EndpointKey::new(&self.tenant.0, &self.id)
    }
}

impl FromRequestParts<Gateway> for Target {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &Gateway) -> Result<Self, Error> {
        let tenant = Tenant::from_request_parts(parts, state).await?;
        let mut task = None;
        let mut id = String::new();
        for (name, value) in path_parameters(parts, state).await? {
            match name.as_str() {
                "task_type" => task = Some(TaskTypeName::parse(&value)?),
                _ if value.len() > LONGEST_ID => {
                    return Err(Refusal::argument(format!("an id has at most [{LONGEST_ID}] bytes")).into());
                }
                _ => id = value,
            }
        }
        Ok(Self { tenant, task, id })
    }
}

pub(crate) async fn path_parameters<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Vec<(String, String)>, Error> {
    let Path(parameters) = Path::from_request_parts(parts, state).await.map_err(|_| Error::BadPath)?;
    Ok(parameters)
}

/// A path's task type, where there is no id.
#[derive(Debug)]
pub(crate) struct TaskTarget(pub(crate) Option<TaskTypeName>);

impl FromRequestParts<Gateway> for TaskTarget {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &Gateway) -> Result<Self, Error> {
        Target::from_request_parts(parts, state).await.map(|target| Self(target.task))
    }
}

/// The query parameters of a URI, decoded.
pub(crate) fn pairs(uri: &Uri) -> Vec<(String, String)> {
    // Decoding replaces what is not UTF-8; only then can a query be unreadable, and it then names no
    // parameter we know.
    Pairs::try_from_uri(uri).map(|Pairs(pairs)| pairs).unwrap_or_default()
}

pub(crate) fn query(uri: &Uri, own: &[Own]) -> Result<Query, Error> {
    Ok(Query::parse(uri.path(), &pairs(uri), own)?)
}

/// The body of a request that needs one. The media type is checked before a byte is read.
pub(crate) async fn body(parts: &Parts, body: Body, settings: &Settings) -> Result<Bytes, Error> {
    let headers = &parts.headers;
    let limit = settings.max_body_size;
    if body.is_end_stream() {
        return Err(Error::NoBody);
    }
    MediaType::of_body(text(headers, &CONTENT_TYPE))?;
    let coding = Coding::of(text(headers, &CONTENT_ENCODING))?;
    // What is above the limit packed is not below it unpacked.
    if text(headers, &CONTENT_LENGTH)
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > limit as u64)
    {
        return Err(Error::BodyTooLarge { limit });
    }
    let held = parts.extensions.get::<Arc<Held>>();
    let read =
        tokio::time::timeout(settings.body_timeout, read(Paced::new(body, limit), coding, limit, held));
    let read = read.await.map_err(|_| Error::BodyTooSlow(settings.body_timeout))?;
    let bytes = read.map_err(|error| match held {
        // Whatever the reader made of a body that broke off.
        Some(held) if held.is_refused() => Error::TooManyBytes { limit: held.limit() },
        Some(_) | None => error,
    })?;
    if bytes.is_empty() { Err(Error::NoBody) } else { Ok(bytes) }
}

/// Of a request that is about nothing but its path. As Elasticsearch does, what is not understood is refused first.
pub(crate) async fn refuse_body(request: Request, settings: &Settings) -> Result<(), Error> {
    let (parts, mut body) = request.into_parts();
    let first = async {
        while let Some(frame) = body.frame().await {
            // What cannot be read is no reason to refuse what needs none of it.
            let Ok(frame) = frame else { return false };
            if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                return true;
            }
        }
        false
    };
    let has_body = tokio::time::timeout(settings.body_timeout, first).await;
    if !has_body.map_err(|_| Error::BodyTooSlow(settings.body_timeout))? {
        return Ok(());
    }
    MediaType::of_body(text(&parts.headers, &CONTENT_TYPE))?;
    let (method, path) = (&parts.method, parts.uri.path());
    Err(Refusal::argument(format!("request [{method} {path}] does not support having a body")).into())
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    fn of(header: Option<&str>) -> Result<Self, Error> {
        match header.map(str::trim) {
            None | Some("") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case("identity") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Ok(Self::Gzip)
            }
            Some(other) => Err(Error::Encoding(other.chars().take(100).collect())),
        }
    }
}

/// What is unpacked counts as held as well; the packed bytes are counted as they arrive.
async fn read(
    mut body: Paced,
    coding: Coding,
    limit: usize,
    held: Option<&Arc<Held>>,
) -> Result<Bytes, Error> {
    let unreadable = |problem| match problem {
        Unreadable::TooLarge => Error::BodyTooLarge { limit },
        Unreadable::Corrupt => Error::BodyBroken,
    };
    match coding {
        Coding::Identity => body.collect().await,
        Coding::Gzip => {
            let mut gunzip = Gunzip::new(limit);
            while let Some(piece) = body.next().await? {
                let before = gunzip.len();
                gunzip.write(&piece).map_err(unreadable)?;
                let grown = held.map_or(Ok(()), |held| held.grow(gunzip.len() - before));
                grown.map_err(|OverBudget| Error::BodyBroken)?;
            }
            Ok(gunzip.finish().map_err(unreadable)?.into())
        }
    }
}

/// A header that is text; one that is not is treated as one that says nothing we know.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Where [`settings`] are read. They are rare, so one at a time is enough.
static READING: Places = Places::new(1);

/// Reads a body of settings, which may hold separators that have to be compiled: no work for a thread that serves others.
pub(crate) async fn settings<T: Send + 'static>(
    tenant: &Tenant,
    body: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Error> {
    let read = READING.run(tenant, move || read(&body)).await;
    Ok(read.map_err(|_| Error::SettingsBroken)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who meets a mistake of ours is told so; a connection that just closes is asked again and again.
    #[tokio::test]
    async fn a_reader_that_fails_is_answered_for() {
        let tenant = Tenant("a".to_owned());
        let read =
            settings(&tenant, Bytes::new(), |_| -> Result<(), Refusal> { panic!("a mistake of ours") });
        assert!(matches!(read.await, Err(Error::SettingsBroken)));
    }
}
