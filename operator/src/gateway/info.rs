//! What is not about one endpoint: the banner by which clients recognise Elasticsearch, the services, and the
//! answers to paths and methods that do not exist.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use serde::Serialize;

use super::Gateway;
use super::auth::Caller;
use super::elastic::services::services;
use super::error::Error;
use super::presentation::{json, ok};
use super::request::{self, TaskTarget};

/// Fixed, so that equal sources give equal programs.
const BUILD_DATE: &str = "2026-01-01T00:00:00.000Z";
/// Of Elasticsearch 9.1. There is no Lucene here; typed clients read no banner without it.
const LUCENE_VERSION: &str = "10.2.2";

#[derive(Serialize)]
struct Banner<'a> {
    name: &'a str,
    cluster_name: &'a str,
    cluster_uuid: &'a str,
    version: Version<'a>,
    tagline: &'a str,
}

/// Older clients look at `build_flavor` and `tagline` too before they believe.
#[derive(Serialize)]
struct Version<'a> {
    number: &'a str,
    build_flavor: &'a str,
    build_type: &'a str,
    build_hash: &'a str,
    build_date: &'a str,
    build_snapshot: bool,
    #[serde(rename = "lucene_version")]
    lucene: &'a str,
    #[serde(rename = "minimum_wire_compatibility_version")]
    minimum_wire_compatibility: &'a str,
    #[serde(rename = "minimum_index_compatibility_version")]
    minimum_index_compatibility: &'a str,
}

pub(crate) async fn banner(
    State(gateway): State<Gateway>,
    _caller: Caller,
    uri: Uri,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    let number = gateway.settings.elasticsearch_version.as_str();
    Ok(ok(json(&Banner {
        name: "lexiscale-gateway",
        cluster_name: &gateway.settings.cluster_name,
        cluster_uuid: "lexiscale",
        version: Version {
            number,
            build_flavor: "default",
            build_type: "docker",
            build_hash: concat!("lexiscale-", env!("CARGO_PKG_VERSION")),
            build_date: BUILD_DATE,
            build_snapshot: false,
            lucene: LUCENE_VERSION,
            minimum_wire_compatibility: "8.0.0",
            minimum_index_compatibility: "8.0.0",
        },
        tagline: "You Know, for Search",
    })))
}

pub(crate) async fn list_services(
    State(gateway): State<Gateway>,
    TaskTarget(task): TaskTarget,
    _caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    request::refuse_body(request, &gateway.settings).await?;
    Ok(ok(services(task)))
}

pub(crate) async fn unknown_path(request: Request) -> Error {
    Error::UnknownPath { method: request.method().clone(), path: request.uri().path().to_owned() }
}

/// The router adds the `Allow` header.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    Error::WrongMethod { method, path: uri.path().to_owned() }.into_response()
}
