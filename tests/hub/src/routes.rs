//! The routes: what a revision is, and its files. Large files answer with a redirect, as the real hub's do, so that the
//! client's handling of redirects is what runs in every test.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;

use crate::faults::Fault;
use crate::repository::{RepoFile, Repository, Storage};
use crate::stream::{self, Delivery};
use crate::{Hub, Request};

pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/api/models/{organisation}/{name}", get(default_revision))
        .route("/api/models/{organisation}/{name}/revision/{revision}", get(revision))
        .route("/{organisation}/{name}/resolve/{revision}/{*file}", get(resolve))
        .route("/content/{organisation}/{name}/{*file}", get(content))
        .with_state(hub)
}

type Shared = State<Arc<Hub>>;

async fn default_revision(
    State(hub): Shared,
    Path((organisation, name)): Path<(String, String)>,
    request: HttpRequest,
) -> Response {
    describe(&hub, &organisation, &name, "main", &request)
}

async fn revision(
    State(hub): Shared,
    Path((organisation, name, revision)): Path<(String, String, String)>,
    request: HttpRequest,
) -> Response {
    describe(&hub, &organisation, &name, &revision, &request)
}

fn describe(hub: &Hub, organisation: &str, name: &str, revision: &str, request: &HttpRequest) -> Response {
    let fault = match interruption(hub, request) {
        Ok(Some(Fault::Html)) => return login_page(),
        Ok(fault) => fault,
        Err(response) => return *response,
    };
    let repository = match find(hub, organisation, name, revision, request.headers()) {
        Ok(repository) => repository,
        Err(refusal) => return refusal.into_response(),
    };
    let siblings: Vec<_> = repository
        .files
        .iter()
        .map(|file| match &file.storage {
            _ if fault == Some(Fault::BareListing) => json!({"rfilename": file.name}),
            Storage::Git { blob } => json!({"rfilename": file.name, "size": file.size, "blobId": blob}),
            Storage::Large { sha256 } => {
                json!({"rfilename": file.name, "size": file.size, "lfs": {"sha256": sha256, "size": file.size}})
            }
        })
        .collect();
    let card = repository.license.as_ref().map(|license| json!({"license": license}));
    Json(json!({
        "id": repository.name, "sha": repository.commit, "private": repository.token.is_some(),
        "cardData": card, "siblings": siblings,
    }))
    .into_response()
}

async fn resolve(
    State(hub): Shared,
    Path((organisation, name, revision, file)): Path<(String, String, String, String)>,
    request: HttpRequest,
) -> Response {
    let fault = match interruption(&hub, &request) {
        Ok(fault) => fault,
        Err(response) => return *response,
    };
    let repository = match find(&hub, &organisation, &name, &revision, request.headers()) {
        Ok(repository) => repository,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(file) = repository.file(&file) else {
        return Refusal::EntryNotFound.into_response();
    };
    let mut response = match &file.storage {
        Storage::Git { blob } => deliver(&hub, file, blob, fault, request.headers()).await,
        Storage::Large { sha256 } => redirect(&hub, repository, file, sha256),
    };
    insert(response.headers_mut(), "x-repo-commit", &repository.commit);
    response
}

fn redirect(hub: &Hub, repository: &Repository, file: &RepoFile, sha256: &str) -> Response {
    let path = format!("/content/{}/{}", repository.name, file.name);
    let location =
        hub.content_address.as_ref().map_or(path.clone(), |address| format!("http://{address}{path}"));
    let mut response = StatusCode::FOUND.into_response();
    insert(response.headers_mut(), "location", &location);
    insert(response.headers_mut(), "x-linked-etag", &format!("\"{sha256}\""));
    insert(response.headers_mut(), "x-linked-size", &file.size.to_string());
    response
}

/// Stands for the content network: knows no revisions, and its `ETag` is none of the hub's hashes.
async fn content(
    State(hub): Shared,
    Path((organisation, name, file)): Path<(String, String, String)>,
    request: HttpRequest,
) -> Response {
    let fault = match interruption(&hub, &request) {
        Ok(fault) => fault,
        Err(response) => return *response,
    };
    let full_name = format!("{organisation}/{name}");
    let found = hub.repositories.iter().find(|repository| repository.name == full_name);
    let Some(file) = found.and_then(|repository| repository.file(&file)) else {
        return Refusal::EntryNotFound.into_response();
    };
    let (Storage::Git { blob: hash } | Storage::Large { sha256: hash }) = &file.storage;
    deliver(&hub, file, &hash[..32], fault, request.headers()).await
}

async fn deliver(
    hub: &Hub,
    file: &RepoFile,
    tag: &str,
    fault: Option<Fault>,
    headers: &HeaderMap,
) -> Response {
    let tag = match fault {
        Some(Fault::OtherETag) => format!("\"other-{tag}\""),
        _ => format!("\"{tag}\""),
    };
    if fault == Some(Fault::Html) {
        return login_page();
    }
    let range = match fault {
        Some(Fault::NoRange) => None,
        _ => stream::requested_range(headers, &tag, file.size),
    };
    let (more, compressed) = match fault {
        Some(Fault::Longer(more)) => (more, false),
        Some(Fault::Gzip) => (0, true),
        _ => (0, false),
    };
    let bytes_per_second = match fault {
        Some(Fault::Trickle(speed)) => Some(speed),
        _ => hub.bytes_per_second,
    };
    let delivery = Delivery { start: range.unwrap_or(0), bytes_per_second, more, fault };
    let Ok(body) = stream::body(file, delivery).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    insert(headers, "etag", &tag);
    insert(headers, "accept-ranges", "bytes");
    insert(headers, "content-length", &(file.size + more - range.unwrap_or(0)).to_string());
    if compressed {
        insert(headers, "content-encoding", "gzip");
    }
    if let Some(start) = range {
        insert(headers, "content-range", &format!("bytes {start}-{}/{}", file.size - 1, file.size));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// Records the request and answers those faults that need no file.
fn interruption(hub: &Hub, request: &HttpRequest) -> Result<Option<Fault>, Box<Response>> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    hub.record(Request {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        range: header(header::RANGE),
        if_range: header(header::IF_RANGE),
        authorization: header(header::AUTHORIZATION),
    });
    match hub.take_fault(request.method().as_str(), request.uri().path()) {
        Some(Fault::Status(status)) => {
            Err(Box::new(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY).into_response()))
        }
        Some(Fault::RedirectTo(location)) => {
            let mut response = StatusCode::FOUND.into_response();
            insert(response.headers_mut(), "location", &location);
            Err(Box::new(response))
        }
        fault => Ok(fault),
    }
}

fn login_page() -> Response {
    ([(header::CONTENT_TYPE, "text/html")], "<html>please log in</html>").into_response()
}

fn find<'hub>(
    hub: &'hub Hub,
    organisation: &str,
    name: &str,
    revision: &str,
    headers: &HeaderMap,
) -> Result<&'hub Repository, Refusal> {
    let full_name = format!("{organisation}/{name}");
    let repository = hub
        .repositories
        .iter()
        .find(|repository| repository.name == full_name)
        .ok_or(Refusal::RepositoryNotFound)?;
    if let Some(token) = &repository.token {
        let expected = format!("Bearer {token}");
        if headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) != Some(&expected) {
            return Err(Refusal::Gated);
        }
    }
    if !repository.resolves(revision) {
        return Err(Refusal::RevisionNotFound);
    }
    Ok(repository)
}

#[derive(Clone, Copy)]
enum Refusal {
    RepositoryNotFound,
    RevisionNotFound,
    EntryNotFound,
    Gated,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = match self {
            // The real hub does not tell strangers which names exist.
            Self::RepositoryNotFound => (StatusCode::UNAUTHORIZED, "RepoNotFound"),
            Self::RevisionNotFound => (StatusCode::NOT_FOUND, "RevisionNotFound"),
            Self::EntryNotFound => (StatusCode::NOT_FOUND, "EntryNotFound"),
            Self::Gated => (StatusCode::FORBIDDEN, "GatedRepo"),
        };
        let mut response = (status, Body::empty()).into_response();
        insert(response.headers_mut(), "x-error-code", code);
        response
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
