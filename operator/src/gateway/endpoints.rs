//! `GET` and `DELETE _inference`. What PUT made, kubectl shows; what kubectl made, GET shows.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, Uri};
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use serde::Serialize;
use tokio::time::timeout_at;

use super::Gateway;
use super::admission::Deadline;
use super::auth::Caller;
use super::directory::{Directory, EndpointKey, Entry};
use super::elastic::endpoint::{Allocations, EndpointList, EndpointView, State as EndpointState};
use super::elastic::id::is_default_endpoint;
use super::elastic::query::Own;
use super::elastic::task_type::TaskTypeName;
use super::error::{Error, INFERENCE_STATE, of_write};
use super::presentation::{json, ok};
use super::request::{self, Target};
use super::tenancy::Tenant;

/// The two ids that mean every endpoint, for GET only.
const EVERY: [&str; 2] = ["_all", "*"];

pub(crate) async fn list(
    State(gateway): State<Gateway>,
    tenant: Tenant,
    _caller: Caller,
    uri: Uri,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    show_all(&gateway, &tenant, None)
}

pub(crate) async fn get(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    if EVERY.contains(&target.id.as_str()) {
        return show_all(&gateway, &target.tenant, target.task);
    }
    let entry = gateway.find(&target)?;
    let mut response =
        ok(json(&EndpointList { endpoints: vec![EndpointView::new(&entry.endpoint, Allocations::Live)] }));
    let state = HeaderValue::from_static(EndpointState::of(&entry.endpoint).as_str());
    response.headers_mut().insert(INFERENCE_STATE, state);
    Ok(response)
}

fn show_all(gateway: &Gateway, tenant: &Tenant, task: Option<TaskTypeName>) -> Result<Response, Error> {
    let directory = gateway.directory();
    if !directory.is_complete {
        return Err(Error::NotReady);
    }
    let is_wanted =
        |entry: &&Arc<Entry>| task.is_none_or(|task| task.matches(entry.endpoint.spec.task_type.into()));
    let wanted = directory.entries(&tenant.0).filter(is_wanted);
    Ok(ok(json(&EndpointList {
        endpoints: wanted.map(|entry| EndpointView::new(&entry.endpoint, Allocations::Live)).collect(),
    })))
}

#[derive(Serialize)]
struct Deleted {
    acknowledged: bool,
    /// Elasticsearch's ingest pipelines and indexes that use the endpoint: none here, and clients expect the
    /// lists.
    pipelines: [&'static str; 0],
    indexes: [&'static str; 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'static str>,
}

pub(crate) async fn delete(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
) -> Result<Response, Error> {
    let query = request::query(&uri, &[Own::DryRun, Own::Force])?;
    let entry = gateway.find(&target)?;
    if is_default_endpoint(&target.id) && !query.has(Own::Force) {
        return Err(Error::DefaultEndpoint { id: target.id });
    }
    if query.has(Own::DryRun) {
        return Ok(ok(json(&Deleted {
            acknowledged: false,
            pipelines: [],
            indexes: [],
            error_message: Some(""),
        })));
    }
    let deadline = Deadline::after(query.timeout.unwrap_or(gateway.settings.create_timeout));
    let too_late = |_| Error::DeleteTimeout { id: target.id.clone(), timeout: deadline.timeout };
    timeout_at(deadline.at, remove(&gateway, &target.key(), &entry)).await.map_err(too_late)??;
    Ok(ok(json(&Deleted { acknowledged: true, pipelines: [], indexes: [], error_message: None })))
}

/// Deletes the object and waits until this gateway does not know it any more, so that the client's next
/// request sees what it did.
async fn remove(gateway: &Gateway, key: &EndpointKey, entry: &Entry) -> Result<(), Error> {
    let uid = entry.endpoint.uid();
    let parameters = DeleteParams {
        // An endpoint created anew in between is not the one that was asked about.
        preconditions: Some(Preconditions { uid: uid.clone(), resource_version: None }),
        ..DeleteParams::background()
    };
    match gateway.endpoints(&key.namespace).delete(&entry.endpoint.name_any(), &parameters).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => return Err(of_write(error)),
    }
    let is_gone =
        |directory: &Arc<Directory>| directory.get(key).is_none_or(|entry| entry.endpoint.uid() != uid);
    gateway.watch_directory().wait_for(is_gone).await.map(drop).map_err(|_| Error::NotReady)
}
