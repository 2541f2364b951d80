//! `PUT _inference/{id}/_update`: the object's spec is patched, and the answer waits until this gateway sees it, so
//! that the client's next request meets what it did. Scaling itself goes on after the answer, as in Elasticsearch.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::Uri;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint, InferenceEndpointSpec};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::admission::Began;
use super::auth::Caller;
use super::create::stored;
use super::directory::{Directory, EndpointKey, Entry};
use super::elastic::endpoint::State as EndpointState;
use super::elastic::id::NewId;
use super::elastic::update::{self, Known, Update};
use super::error::{Error, of_write};
use super::merge_patch::difference;
use super::request::{self, Target};
use super::{FIELD_MANAGER, Gateway, api};

/// Writes that met somebody else's. The operator reports on an object often, but not that often.
const MOST_CONFLICTS: usize = 16;
/// After a conflict, before the object is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn update(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Error> {
    let query = request::query(&uri, &[])?;
    let asked = query.timeout.or(query.master_timeout);
    let (parts, body) = request.into_parts();
    let began = Began::of(&parts.extensions);
    let deadline = gateway.deadline(began, asked, gateway.settings.create_timeout);
    let too_late = |_| Error::UpdateTimeout { id: target.id.clone(), timeout: deadline.timeout };
    let read = request::body(&parts, body, &gateway.settings);
    let body = timeout_at(deadline.at, read).await.map_err(too_late)??;
    NewId::of_changeable(&target.id)?;
    let task = target.task;
    let read = request::settings(&target.tenant, body, move |body| update::parse(task, body));
    let update = timeout_at(deadline.at, read).await.map_err(too_late)??;
    let entry = gateway.find(&target)?;
    let endpoint = timeout_at(deadline.at, change(&gateway, &target.key(), &entry, &update))
        .await
        .map_err(too_late)??;
    // What serves it is another endpoint, which this update has left alone, or it is itself.
    let deployment =
        if endpoint.spec.service_settings.deployment_id.is_some() { entry.deployment() } else { &endpoint };
    Ok(stored(&endpoint, deployment))
}

/// The endpoint as it is stored afterwards.
async fn change(
    gateway: &Gateway,
    key: &EndpointKey,
    entry: &Entry,
    update: &Update,
) -> Result<Arc<InferenceEndpoint>, Error> {
    let mut endpoint = Arc::clone(&entry.endpoint);
    let id = key.id.clone();
    let endpoints = gateway.endpoints(&key.namespace);
    let (name, uid) = (endpoint.name_any(), endpoint.uid().unwrap_or_default());
    for _ in 0..MOST_CONFLICTS {
        let wanted = wanted(gateway, &endpoint, entry, update)?;
        if wanted == endpoint.spec {
            return Ok(endpoint);
        }
        if wanted.service_settings != endpoint.spec.service_settings {
            refuse_unless_started(&endpoint)?;
        }
        let patch = patch(&endpoint, &wanted);
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api::answer(endpoints.patch(&name, &parameters, &Patch::Merge(&patch))).await {
            Ok(changed) => {
                seen(gateway, key, &changed).await?;
                return Ok(Arc::new(changed));
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(of_write(error)),
        }
        tokio::time::sleep(PAUSE).await;
        let current = api::answer(endpoints.get_opt(&name)).await.map_err(Error::Kubernetes)?;
        let current = current.filter(|current| current.uid().as_deref() == Some(&uid));
        endpoint = Arc::new(current.ok_or_else(|| Error::NotFound { id: id.clone() })?);
    }
    Err(Error::UpdateConflict { id })
}

fn wanted(
    gateway: &Gateway,
    endpoint: &Arc<InferenceEndpoint>,
    entry: &Entry,
    update: &Update,
) -> Result<InferenceEndpointSpec, Error> {
    let own = &endpoint.spec.service_settings;
    let deployment = if own.deployment_id.is_some() { entry.deployment() } else { endpoint };
    let (uid, now) = (deployment.uid().unwrap_or_default(), Instant::now());
    let live = deployment.status.as_ref().and_then(|status| status.allocations);
    let known = Known {
        live: live.map(|allocations| allocations.desired),
        was_shown: &|number| gateway.shown.has(&uid, number, now),
    };
    let Some(attached_to) = &own.deployment_id else {
        return Ok(update.apply(&endpoint.spec, &known)?);
    };
    // An attached endpoint shows the settings of the deployment. Those may be sent back, and not changed from here.
    let in_force = &deployment.spec.service_settings;
    let shown = InferenceEndpointSpec { service_settings: in_force.clone(), ..endpoint.spec.clone() };
    // Whose deployment it is comes before what that deployment would allow.
    match update.apply(&shown, &known) {
        Ok(changed) if changed.service_settings == *in_force => {
            Ok(InferenceEndpointSpec { service_settings: own.clone(), ..changed })
        }
        Ok(_) | Err(_) => {
            Err(Error::Attached { id: endpoint.inference_id().to_owned(), deployment: attached_to.clone() })
        }
    }
}

/// With the version that was looked at: what the update rests on must not have changed meanwhile.
fn patch(endpoint: &InferenceEndpoint, wanted: &InferenceEndpointSpec) -> Value {
    let value = |spec| serde_json::to_value(spec).expect("a spec is made of strings, numbers and lists");
    json!({
        "metadata": {"resourceVersion": endpoint.resource_version()},
        "spec": difference(&value(&endpoint.spec), &value(wanted)),
    })
}

/// One allocation is a start, whatever the rest is doing, and so is the sleep of an endpoint that is scaled to zero.
fn refuse_unless_started(endpoint: &InferenceEndpoint) -> Result<(), Error> {
    let serves =
        endpoint.status.as_ref().and_then(|status| status.allocations).is_some_and(|count| count.ready > 0);
    if serves || endpoint.is(ConditionType::Ready) {
        return Ok(());
    }
    Err(Error::NotStarted { id: endpoint.inference_id().to_owned(), state: EndpointState::of(endpoint) })
}

/// Waits until this gateway knows the object at least as new as this.
async fn seen(gateway: &Gateway, key: &EndpointKey, changed: &InferenceEndpoint) -> Result<(), Error> {
    let uid = changed.uid();
    let is_seen = |directory: &Arc<Directory>| {
        directory.get(key).is_none_or(|entry| {
            entry.endpoint.uid() != uid || entry.endpoint.metadata.generation >= changed.metadata.generation
        })
    };
    gateway.watch_directory().wait_for(is_seen).await.map(drop).map_err(|_| Error::NotReady)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(status: &Value) -> InferenceEndpoint {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "resourceVersion": "7", "generation": 3},
            "spec": {"taskType": "sparse_embedding", "service": "elser",
                     "serviceSettings": {"numAllocations": 1, "numThreads": 1}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn the_patch_holds_the_version_and_what_changes() {
        let before = endpoint(&json!(null));
        let mut wanted = before.spec.clone();
        wanted.service_settings.num_allocations = None;
        wanted.service_settings.adaptive_allocations =
            serde_json::from_value(json!({"enabled": true})).unwrap();
        assert_eq!(
            patch(&before, &wanted),
            json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"serviceSettings": {"numAllocations": null, "adaptiveAllocations": {"enabled": true}}},
            })
        );
    }

    /// A second update right after a first one meets a status about the older spec, and must not be refused for it.
    #[test]
    fn one_allocation_or_sleep_is_a_start() {
        let ready = |status: &str| json!([{"type": "Ready", "status": status, "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let table = [
            (json!(null), false),
            (
                json!({"allocations": {"desired": 2, "current": 2, "ready": 0}, "conditions": ready("False")}),
                false,
            ),
            (json!({"allocations": {"desired": 2, "current": 2, "ready": 1}, "observedGeneration": 2}), true),
            (
                json!({"allocations": {"desired": 0, "current": 0, "ready": 0}, "conditions": ready("True")}),
                true,
            ),
        ];
        for (status, starts) in table {
            assert_eq!(refuse_unless_started(&endpoint(&status)).is_ok(), starts, "{status}");
        }
    }
}
