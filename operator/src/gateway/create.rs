//! `PUT _inference/{task_type}/{id}`: an object is created, and the client waits until it serves. The object
//! stays when the wait is over too early, and the same request then goes on waiting; when the start fails, the
//! request that made the object removes it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::WARNING;
use http::{HeaderValue, Uri};
use lexiscale_core::{labels, name::object_name};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint, InferenceEndpointSpec};
use tokio::time::timeout_at;

use super::Gateway;
use super::admission::{Began, Deadline};
use super::attach;
use super::auth::{Caller, refuse_unless_may_infer};
use super::directory::{EndpointKey, Entry};
use super::elastic::create::{self, Create};
use super::elastic::endpoint::{Allocations, EndpointView, State as EndpointState};
use super::elastic::id::NewId;
use super::error::{Error, INFERENCE_STATE};
use super::nodes::refuse_more_threads_than_cpus;
use super::pending::{self, Origin, Pending};
use super::presentation::{json, ok};
use super::request::{self, Target};
use super::tenancy::Tenant;

pub(crate) async fn create(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Error> {
    let query = request::query(&uri, &[])?;
    let (parts, body) = request.into_parts();
    let began = Began::of(&parts.extensions);
    let deadline = gateway.deadline(began, query.timeout, gateway.settings.create_timeout);
    let too_late = |_| Error::StoreTimeout { id: target.id.clone(), timeout: deadline.timeout };
    let read = request::body(&parts, body, &gateway.settings);
    let body = timeout_at(deadline.at, read).await.map_err(too_late)??;
    let id = NewId::parse(&target.id)?;
    let task = target.task;
    let read = request::settings(&target.tenant, body, move |body| create::parse(task, body));
    let Create { spec, beside } = timeout_at(deadline.at, read).await.map_err(too_late)??;
    attach::refuse_taken_id(&gateway, &target.key())?;
    if let Some(deployment) = &spec.service_settings.deployment_id {
        // Or whoever may create could use what they may not.
        let deployment = EndpointKey::new(&target.tenant.0, deployment);
        let asked = refuse_unless_may_infer(&gateway, &parts.headers, &deployment);
        timeout_at(deadline.at, asked).await.map_err(too_late)??;
    }
    let mut warnings = attach::check(&gateway, &target.tenant, &spec, &beside)?;

    warnings.extend(create::deprecation(&spec).map(str::to_owned));
    let mut response = match start(&gateway, &target.tenant, &id, spec, deadline).await {
        Ok(entry) => stored(&entry.endpoint, entry.deployment()),
        // The endpoint is there, so what is deprecated about it is said now and not only to who comes back.
        Err(error @ Error::StartTimeout { .. }) => error.into_response(),
        Err(error) => return Err(error),
    };
    for text in warnings {
        response.headers_mut().append(WARNING, warning(&gateway, &text));
    }
    Ok(response)
}

/// As Elasticsearch writes it: code, agent with version and build, text in quotes. Its Java client knows two
/// kinds of build: a hash, and `unknown`.
fn warning(gateway: &Gateway, text: &str) -> HeaderValue {
    let version = &gateway.settings.elasticsearch_version;
    HeaderValue::from_str(&format!("299 Elasticsearch-{version}-unknown \"{text}\"")).expect(
        "the version is checked when it is parsed, and the text is made of our words, ids and numbers",
    )
}

/// The endpoint as it was asked for, with its state: the answer to PUT.
pub(crate) fn stored(endpoint: &InferenceEndpoint, deployment: &InferenceEndpoint) -> Response {
    let mut response = ok(json(&EndpointView::new(endpoint, deployment, Allocations::Stored)));
    let state = HeaderValue::from_static(EndpointState::of(deployment).as_str());
    response.headers_mut().insert(INFERENCE_STATE, state);
    response
}

async fn start(
    gateway: &Gateway,
    tenant: &Tenant,
    id: &NewId,
    spec: InferenceEndpointSpec,
    deadline: Deadline,
) -> Result<Arc<Entry>, Error> {
    let id = id.as_str();
    let claim = async {
        refuse_more_threads_than_cpus(gateway, &spec.service_settings).await?;
        let wanted = object(id, spec, gateway.settings.instance.as_deref());
        pending::claim(gateway, &tenant.0, wanted, deadline).await
    };
    let pending = timeout_at(deadline.at, claim)
        .await
        .map_err(|_| Error::StoreTimeout { id: id.to_owned(), timeout: deadline.timeout })??;
    let Ok(start) = timeout_at(deadline.at, outcome(gateway, &pending)).await else {
        let error = too_late(gateway, pending.key(), deadline);
        pending.give_up().await;
        return Err(error);
    };
    match start? {
        Start::Succeeded(entry) => {
            pending.finish().await;
            Ok(entry)
        }
        Start::Failed { reason, message } => match pending.origin() {
            Origin::Made => {
                pending.remove().await;
                Err(Error::StartFailed { id: id.to_owned(), reason, message })
            }
            Origin::Joined => {
                pending.give_up().await;
                Err(Error::JoinedFailed { id: id.to_owned(), reason, message })
            }
        },
        Start::Deleted => {
            pending.forget();
            Err(Error::DeletedWhileStarting { id: id.to_owned() })
        }
    }
}

/// The object that a PUT of this id makes, for the controller of the same instance.
fn object(id: &str, spec: InferenceEndpointSpec, instance: Option<&str>) -> InferenceEndpoint {
    let name = object_name(id);
    let inference_id = (name != id).then(|| id.to_owned());
    let mut object = InferenceEndpoint::new(&name, InferenceEndpointSpec { inference_id, ..spec });
    object.metadata.labels = instance.map(|name| [(labels::OPERATOR.to_owned(), name.to_owned())].into());
    object
}

enum Start {
    Succeeded(Arc<Entry>),
    Failed { reason: String, message: String },
    Deleted,
}

/// Follows the object until it is ready, cannot get ready, or is gone.
async fn outcome(gateway: &Gateway, pending: &Pending) -> Result<Start, Error> {
    let mut directory = gateway.watch_directory();
    let mut was_seen = false;
    loop {
        let known = Arc::clone(&directory.borrow_and_update());
        match known.get(pending.key()).filter(|entry| pending.is(&entry.endpoint)) {
            Some(entry) => {
                was_seen = true;
                // Nothing is started for it: what serves it is there already, or on its way for somebody else.
                if entry.endpoint.spec.service_settings.deployment_id.is_some() {
                    return Ok(Start::Succeeded(Arc::clone(entry)));
                }
                match EndpointState::of(&entry.endpoint) {
                    EndpointState::Ready | EndpointState::Idle => {
                        return Ok(Start::Succeeded(Arc::clone(entry)));
                    }
                    EndpointState::Failed => return Ok(failure(&entry.endpoint)),
                    EndpointState::Deploying => {}
                }
            }
            None if was_seen => return Ok(Start::Deleted),
            // The watch is a moment behind the answer to our own write.
            None => {}
        }
        directory.changed().await.map_err(|_| Error::NotReady)?;
    }
}

fn failure(endpoint: &InferenceEndpoint) -> Start {
    let (reason, message) = endpoint
        .condition(ConditionType::Stalled)
        .map_or_else(Default::default, |condition| (condition.reason.clone(), condition.message.clone()));
    Start::Failed { reason, message }
}

fn too_late(gateway: &Gateway, key: &EndpointKey, deadline: Deadline) -> Error {
    let directory = gateway.directory();
    let progress = directory
        .get(key)
        .and_then(|entry| entry.endpoint.condition(ConditionType::Ready))
        .map(|condition| condition.message.clone())
        .filter(|message| !message.is_empty());
    Error::StartTimeout {
        id: key.id.clone(),
        timeout: deadline.timeout,
        progress: progress.unwrap_or_else(|| "no progress is reported yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::elastic::task_type::TaskTypeName;

    fn spec() -> InferenceEndpointSpec {
        let body = br#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1}}"#;
        create::parse(Some(TaskTypeName::SparseEmbedding), body).unwrap().spec
    }

    #[test]
    fn the_id_is_written_only_where_the_name_is_another() {
        assert_eq!(object("my-elser-model", spec(), None).spec.inference_id, None);
        let hashed = object("my_elser", spec(), None);
        assert_eq!(hashed.metadata.name, Some(object_name("my_elser")));
        assert_eq!(hashed.spec.inference_id.as_deref(), Some("my_elser"));
    }
}
