//! `GET` and `DELETE _inference`. What PUT made, kubectl shows; what kubectl made, GET shows.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, Uri};
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use lexiscale_crds::InferenceEndpoint;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::admission::Began;
use super::auth::Caller;
use super::directory::{Directory, EndpointKey, Entry};
use super::elastic::endpoint::{Allocations, EndpointList, EndpointView, State as EndpointState};
use super::elastic::id::{EVERY, is_default_endpoint};
use super::elastic::query::Own;
use super::elastic::task_type::TaskTypeName;
use super::error::{Error, INFERENCE_STATE, InUse, of_write};
use super::presentation::{json, ok};
use super::request::{self, Target};
use super::tenancy::Tenant;
use super::{Gateway, api};

pub(crate) async fn list(
    State(gateway): State<Gateway>,
    tenant: Tenant,
    _caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    request::refuse_body(request, &gateway.settings).await?;
    show_all(&gateway, &tenant, None)
}

pub(crate) async fn get(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    request::refuse_body(request, &gateway.settings).await?;
    if EVERY.contains(&target.id.as_str()) {
        return show_all(&gateway, &target.tenant, target.task);
    }
    let entry = gateway.find(&target)?;
    note_shown(&gateway, &entry);
    let mut response = ok(json(&EndpointList { endpoints: vec![view(&entry)] }));
    let state = HeaderValue::from_static(EndpointState::of(entry.deployment()).as_str());
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
    let wanted: Vec<_> = directory.entries(&tenant.0).filter(is_wanted).collect();
    for entry in &wanted {
        note_shown(gateway, entry);
    }
    Ok(ok(json(&EndpointList { endpoints: wanted.iter().map(|entry| view(entry)).collect() })))
}

fn view(entry: &Entry) -> EndpointView<'_> {
    EndpointView::new(&entry.endpoint, entry.deployment(), Allocations::Live)
}

/// An update may send the live number of an adaptive endpoint back.
fn note_shown(gateway: &Gateway, entry: &Entry) {
    let InferenceEndpoint { metadata, spec, status } = &**entry.deployment();
    let is_adaptive =
        spec.service_settings.adaptive_allocations.is_some_and(|adaptive| adaptive.is_enabled());
    let live = status.as_ref().and_then(|status| status.allocations);
    if let (true, Some(uid), Some(live)) = (is_adaptive, &metadata.uid, live) {
        gateway.shown.note(uid, live.desired, Instant::now());
    }
}

#[derive(Serialize)]
struct Deleted {
    acknowledged: bool,
    /// Elasticsearch's ingest pipelines and indexes that use the endpoint: none here, and clients expect the
    /// lists.
    pipelines: [&'static str; 0],
    indexes: [&'static str; 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

pub(crate) async fn delete(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Error> {
    let query = request::query(&uri, &[Own::DryRun, Own::Force])?;
    let began = Began::of(request.extensions());
    let deadline = gateway.deadline(began, query.timeout, gateway.settings.create_timeout);
    request::refuse_body(request, &gateway.settings).await?;
    let entry = gateway.find(&target)?;
    if is_default_endpoint(&target.id) && !query.has(Own::Force) {
        return Err(Error::DefaultEndpoint { id: target.id });
    }
    let uses = gateway
        .directory()
        .attached_to(&target.key())
        .map(|entry| entry.endpoint.inference_id().to_owned())
        .collect();
    let in_use = InUse { id: target.id.clone(), uses };
    if query.has(Own::DryRun) {
        return Ok(ok(json(&Deleted {
            acknowledged: false,
            pipelines: [],
            indexes: [],
            error_message: Some(if in_use.uses.is_empty() { String::new() } else { in_use.to_string() }),
        })));
    }
    if !in_use.uses.is_empty() && !query.has(Own::Force) {
        return Err(in_use.into());
    }
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
    match api::answer(gateway.endpoints(&key.namespace).delete(&entry.endpoint.name_any(), &parameters)).await
    {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => return Err(of_write(error)),
    }
    let is_gone =
        |directory: &Arc<Directory>| directory.get(key).is_none_or(|entry| entry.endpoint.uid() != uid);
    gateway.watch_directory().wait_for(is_gone).await.map(drop).map_err(|_| Error::NotReady)
}
