//! A create that has not been answered yet. An annotation on the object says until when somebody waits for
//! it. Once that time is over, one identical request may take the wait over; every other one is told that the
//! endpoint exists. The annotation is on the object and not in memory, so that it holds for all gateways and
//! survives a restart.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use lexiscale_crds::InferenceEndpoint;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::admission::Deadline;
use super::directory::EndpointKey;
use super::error::{Error, of_write};
use super::{FIELD_MANAGER, Gateway, api};
use crate::clock;

/// Until when a PUT waits for the endpoint. Absent once a PUT was answered with 200, and on what kubectl
/// made.
pub(crate) const WAITED_FOR_UNTIL: &str = "inference.lexiscale.io/create-waited-for-until";
/// For the last word on a create whose own time is already over.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Between looks at an object that is on its way out.
const RECHECK: Duration = Duration::from_millis(100);

/// The right to answer for one create. Dropped without a word (the client left), it gives the right back.
pub(crate) struct Pending {
    endpoints: Api<InferenceEndpoint>,
    key: EndpointKey,
    name: String,
    uid: String,
    origin: Origin,
    is_settled: bool,
}

/// Where the object of a create comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// This very request made it.
    Made,
    /// An earlier request made it. It may have served ever since, so this one must not remove it.
    Joined,
}

/// Creates the object, or takes over the wait for one that an identical request left behind.
pub(crate) async fn claim(
    gateway: &Gateway,
    namespace: &str,
    wanted: InferenceEndpoint,
    deadline: Deadline,
) -> Result<Pending, Error> {
    let id = wanted.inference_id().to_owned();
    let name = wanted.name_any();
    let key = EndpointKey::new(namespace, &id);
    let endpoints = gateway.endpoints(namespace);
    if gateway.directory().get(&key).is_some_and(|entry| entry.endpoint.name_any() != name) {
        return Err(Error::AlreadyExists { id });
    }
    let until = clock::now().saturating_add(deadline.timeout).unwrap_or(Timestamp::MAX).to_string();
    let mut object = wanted.clone();
    object.annotations_mut().insert(WAITED_FOR_UNTIL.to_owned(), until.clone());
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    loop {
        match api::answer(endpoints.create(&parameters, &object)).await {
            Ok(created) => return Ok(Pending::new(endpoints, key, &created, Origin::Made)),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(Error::ForeignNamespace { name: key.namespace });
            }
            Err(error) => return Err(of_write(error)),
        }
        let Some(existing) = api::answer(endpoints.get_opt(&name)).await.map_err(Error::Kubernetes)? else {
            continue;
        };
        if existing.metadata.deletion_timestamp.is_some() {
            tokio::time::sleep(RECHECK).await;
            continue;
        }
        match standing(&existing, &wanted, clock::now()) {
            Standing::Abandoned => {}
            Standing::Exists => return Err(Error::AlreadyExists { id }),
            Standing::Foreign => {
                return Err(Error::NameTaken { id, name, other: existing.inference_id().to_owned() });
            }
        }
        // With the version that was looked at: of two requests that see an abandoned create, one takes it
        // over.
        let patch = json!({"metadata": {
            "resourceVersion": existing.resource_version(),
            "annotations": {WAITED_FOR_UNTIL: until},
        }});
        let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER), Patch::Merge(&patch));
        match api::answer(endpoints.patch_metadata(&name, &parameters, &patch)).await {
            Ok(_) => return Ok(Pending::new(endpoints, key, &existing, Origin::Joined)),
            // The operator reports on the object all the time, so this is common; look again.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(of_write(error)),
        }
    }
}

/// What an object of the same name means for a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// The same request made it, and its wait ended without an answer.
    Abandoned,
    Exists,
    /// It serves another id.
    Foreign,
}

fn standing(existing: &InferenceEndpoint, wanted: &InferenceEndpoint, now: Timestamp) -> Standing {
    if existing.inference_id() != wanted.inference_id() {
        return Standing::Foreign;
    }
    let until =
        existing.annotations().get(WAITED_FOR_UNTIL).and_then(|until| until.parse::<Timestamp>().ok());
    match until {
        Some(until) if until <= now && existing.spec == wanted.spec => Standing::Abandoned,
        Some(_) | None => Standing::Exists,
    }
}

impl Pending {
    fn new(
        endpoints: Api<InferenceEndpoint>,
        key: EndpointKey,
        object: &InferenceEndpoint,
        origin: Origin,
    ) -> Self {
        Self {
            endpoints,
            key,
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            origin,
            is_settled: false,
        }
    }

    pub(crate) fn key(&self) -> &EndpointKey {
        &self.key
    }

    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether this object is the one, and not another that took its name.
    pub(crate) fn is(&self, object: &InferenceEndpoint) -> bool {
        object.metadata.uid.as_deref() == Some(&self.uid)
    }

    /// The client gets its 200; the next PUT is told that the endpoint exists.
    pub(crate) async fn finish(mut self) {
        self.is_settled = true;
        annotate(&self.endpoints, &self.name, &self.uid, Value::Null).await;
    }

    /// The client is told to come back; an identical PUT then joins.
    pub(crate) async fn give_up(mut self) {
        self.is_settled = true;
        annotate(&self.endpoints, &self.name, &self.uid, json!(clock::now().to_string())).await;
    }

    /// The start failed: nothing is left behind that could make the next try fail.
    pub(crate) async fn remove(mut self) {
        self.is_settled = true;
        let preconditions = Some(Preconditions { uid: Some(self.uid.clone()), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
        let removed = tokio::time::timeout(LAST_WORD, self.endpoints.delete(&self.name, &parameters)).await;
        if !matches!(removed, Ok(Ok(_))) {
            tracing::warn!(
                endpoint = self.name,
                ?removed,
                "failed to remove an endpoint that could not be started"
            );
        }
    }

    /// The object is gone.
    pub(crate) fn forget(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        // The client left, or gave up waiting itself. Should this be lost, the time in the annotation runs
        // out by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let (endpoints, name, uid) = (self.endpoints.clone(), self.name.clone(), self.uid.clone());
        runtime
            .spawn(async move { annotate(&endpoints, &name, &uid, json!(clock::now().to_string())).await });
    }
}

/// Best effort: the time in the annotation is the fallback, and the client's answer does not depend on it.
async fn annotate(endpoints: &Api<InferenceEndpoint>, name: &str, uid: &str, value: Value) {
    let patch = json!({"metadata": {"uid": uid, "annotations": {WAITED_FOR_UNTIL: value}}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written =
        tokio::time::timeout(LAST_WORD, endpoints.patch_metadata(name, &parameters, &Patch::Merge(&patch)))
            .await;
    if !matches!(written, Ok(Ok(_))) {
        tracing::warn!(endpoint = name, ?written, "failed to note the end of a create");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(threads: i32, until: Option<&str>) -> InferenceEndpoint {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": until.map(|until| json!({WAITED_FOR_UNTIL: until}))},
            "spec": {"taskType": "sparse_embedding", "service": "elser",
                     "serviceSettings": {"numAllocations": 1, "numThreads": threads}},
        }))
        .unwrap()
    }

    #[test]
    fn only_an_identical_request_takes_over_and_only_once_nobody_waits() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let before = Some("2026-01-01T00:00:09Z");
        let after = Some("2026-01-01T00:00:11Z");
        let table = [
            (endpoint(1, before), Standing::Abandoned),
            (endpoint(1, after), Standing::Exists),
            (endpoint(2, before), Standing::Exists),
            (endpoint(1, None), Standing::Exists),
            (endpoint(1, Some("soon")), Standing::Exists),
        ];
        for (existing, expected) in table {
            assert_eq!(
                standing(&existing, &endpoint(1, None), now),
                expected,
                "{:?}",
                existing.metadata.annotations
            );
        }
        let mut foreign = endpoint(1, before);
        foreign.spec.inference_id = Some("b".to_owned());
        assert_eq!(standing(&foreign, &endpoint(1, None), now), Standing::Foreign);
    }
}
