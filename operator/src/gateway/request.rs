//! Reading a request: path, parameters, body, in that order. All limits of what a client may send are here.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query as Pairs};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::directory::EndpointKey;
use super::elastic::media_type::MediaType;
use super::elastic::query::{Own, Query};
use super::elastic::task_type::TaskTypeName;
use super::error::Error;
use super::gzip::{Gunzip, Unreadable};
use super::settings::Settings;
use super::tenancy::Tenant;

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
pub(crate) async fn body(headers: &HeaderMap, body: Body, settings: &Settings) -> Result<Bytes, Error> {
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
    let read = tokio::time::timeout(settings.body_timeout, read(Limited::new(body, limit), coding, limit));
    let bytes = read.await.map_err(|_| Error::BodyTooSlow(settings.body_timeout))??;
    if bytes.is_empty() { Err(Error::NoBody) } else { Ok(bytes) }
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

/// What a body is read into. One buffer: pieces of a byte each would cost a multiple of what they hold.
enum Sink {
    Plain(BytesMut),
    Packed(Box<Gunzip>),
}

impl Sink {
    fn write(&mut self, piece: &[u8]) -> Result<(), Unreadable> {
        match self {
            Self::Plain(bytes) => {
                bytes.extend_from_slice(piece);
                Ok(())
            }
            Self::Packed(gunzip) => gunzip.write(piece),
        }
    }

    fn finish(self) -> Result<Bytes, Unreadable> {
        match self {
            Self::Plain(bytes) => Ok(bytes.freeze()),
            Self::Packed(gunzip) => gunzip.finish().map(Bytes::from),
        }
    }
}

/// So much of a body must come in each window but the first, or a client that sends a byte now and then would
/// hold its place for all the time that a large body may take.
const LEAST: usize = 1 << 10;
const WINDOW: Duration = Duration::from_secs(5);

async fn read(mut body: Limited<Body>, coding: Coding, limit: usize) -> Result<Bytes, Error> {
    let unreadable = |problem| match problem {
        Unreadable::TooLarge => Error::BodyTooLarge { limit },
        Unreadable::Corrupt => Error::BodyBroken,
    };
    let mut sink = match coding {
        Coding::Identity => Sink::Plain(BytesMut::new()),
        Coding::Gzip => Sink::Packed(Box::new(Gunzip::new(limit))),
    };
    let mut ends = Instant::now() + WINDOW;
    let (mut least, mut came) = (0, 0);
    loop {
        let Ok(frame) = timeout_at(ends, body.frame()).await else {
            if came < least {
                return Err(Error::BodyTrickles { least, within: WINDOW });
            }
            (least, came) = (LEAST, 0);
            ends += WINDOW;
            continue;
        };
        let Some(frame) = frame else { return sink.finish().map_err(unreadable) };
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() { Error::BodyTooLarge { limit } } else { Error::BodyBroken }
        })?;
        let Ok(data) = frame.into_data() else { continue };
        match &sink {
            // Most bodies come in one piece, which needs no copy.
            Sink::Plain(bytes) if bytes.is_empty() && body.is_end_stream() => return Ok(data),
            Sink::Plain(_) | Sink::Packed(_) => {}
        }
        came += data.len();
        sink.write(&data).map_err(unreadable)?;
    }
}

/// A header that is text; one that is not is treated as one that says nothing we know.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}
