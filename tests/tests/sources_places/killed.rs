//! Downloads whose pods are taken away in the middle.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, until};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use lexiscale_crds::{ConditionType, Conditions, ModelCache};
use lexiscale_hub::{Fault, Request};
use serde_json::json;

use crate::{make_cache, places::Places};

const NAME: &str = "killed";
const LISTING: &str = "/api/models/team/killed/revision/main";
const WEIGHTS: &str = "/content/team/killed/model.safetensors";
const PATIENCE: Duration = Duration::from_mins(1);

/// Killed while it asks what there is, told to stop in the middle of the weights: the third download goes on where the second one was.
/// (`worker/tests/process` kills at every step; here it is the operator that must begin again.)
pub(crate) async fn goes_on(namespace: &Namespace, places: &Places) -> Result<()> {
    let hub = &places.hub;
    hub.inject_for("GET", LISTING, &Fault::Status(503), 3);
    let spec = json!({ "source": "hf://team/killed", "hubEndpoint": format!("https://{}", places.web) });
    make_cache(namespace, NAME, spec).await?;
    asked(places, LISTING, 1).await?;
    hub.inject(WEIGHTS, Fault::StallAfter(10_000));
    take_away(namespace, &DeleteParams::default().grace_period(0)).await?;
    asked(places, WEIGHTS, 1).await?;
    take_away(namespace, &DeleteParams::default()).await?;
    let is_ready = |cache: &ModelCache| cache.is(ConditionType::Ready);
    let cache = namespace.cache(NAME, "is ready in the end", is_ready).await?;
    let status = cache.status.context("no status")?;
    ensure!(status.attempts == Some(3), "{:?} attempts", status.attempts);
    let asked = asked(places, WEIGHTS, 2).await?;
    ensure!(asked.len() == 2 && asked[1].range.as_deref() == Some("bytes=10000-"), "{asked:?}");
    Ok(())
}

/// The requests for a path, once there are so many.
async fn asked(places: &Places, path: &str, least: usize) -> Result<Vec<Request>> {
    until(&format!("{path} is asked for"), PATIENCE, async || {
        let mut requests = places.hub.requests();
        requests.retain(|request| request.path == path);
        Ok(if requests.len() >= least { Ok(requests) } else { Err(requests.len()) })
    })
    .await
}

/// Takes away the pod of the running download, and asks for another as soon as the operator has named what happened.
async fn take_away(namespace: &Namespace, how: &DeleteParams) -> Result<()> {
    let pods = namespace.api::<Pod>();
    let of_cache = ListParams::default().labels(&format!("inference.lexiscale.io/model-cache={NAME}"));
    // It asks the hub before the kubelet has said that it runs.
    let running = until("the download's pod runs", PATIENCE, async || {
        let is_running =
            |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        let found = pods.list(&of_cache).await?.into_iter().find(is_running);
        Ok(found.ok_or("none"))
    })
    .await?;
    pods.delete(&running.name_any(), how).await?;
    let failed = |cache: &ModelCache| {
        cache.status.as_ref().is_some_and(|status| {
            status.last_failure.as_ref().is_some_and(|failure| !failure.reason.is_empty())
                && cache.condition(ConditionType::Ready).is_some_and(|ready| ready.message.contains("; try "))
        })
    };
    let before = namespace.cache(NAME, "says that the download was taken away", failed).await?;
    let value = before.resource_version().unwrap_or_default();
    let retry = json!({ "metadata": { "annotations": { "inference.lexiscale.io/retry": value } } });
    namespace.api::<ModelCache>().patch(NAME, &PatchParams::default(), &Patch::Merge(retry)).await?;
    Ok(())
}
