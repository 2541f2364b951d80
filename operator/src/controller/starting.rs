//! Notes on each worker's pod that it has started, which has the kubelet look at it again (decision 018). By a watch and not in a
//! pass: a pass that is under way, and the reads of the next, take longer than a model does to load.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use lexiscale_core::{
    labels::{self, Component},
    started::Started,
};
use lexiscale_crds::InferenceEndpoint;

use super::{apply::Applier, error::chain};

/// Pods at once; they come in bursts.
const CONCURRENCY: usize = 16;

/// Those of these endpoints, for as long as it is polled.
pub(super) async fn note(pods: Api<Pod>, endpoints: Store<InferenceEndpoint>, applier: Applier) {
    let is_ours = |pod: &Pod| {
        let name = pod.annotations().get(labels::ENDPOINT)?;
        endpoints.get(&ObjectRef::new(name).within(&pod.namespace()?))
    };
    let workers = labels::to_query(&labels::component_selector(Component::Worker));
    let events = watcher(pods, watcher::Config::default().labels(&workers));
    let seen = events.default_backoff().applied_objects().filter_map(async |pod| match pod {
        Ok(pod) => is_ours(&pod).and_then(|_| Some((pod.namespace()?, Started::of(&pod)?))),
        Err(error) => {
            tracing::debug!(error = chain(&error), "failed to watch workers that start, trying again");
            None
        }
    });
    let note = async |(namespace, started): (String, Started)| applier.note(&namespace, &started).await;
    seen.for_each_concurrent(CONCURRENCY, note).await;
}
