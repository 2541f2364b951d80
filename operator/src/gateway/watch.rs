//! Follows the cluster and publishes what it looks like. When the API server is away, the last picture stays:
//! inference goes on.

use std::pin::pin;
use std::sync::Arc;

use futures::future::{self, ready};
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{
    WatchStreamExt,
    reflector::{Lookup, store::Writer},
};
use kube::{Api, Client, ResourceExt};
use lexiscale_core::labels;
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{
    Settings, api,
    directory::{Builder, Change, Directory},
    metrics::Metrics,
    outage::{Doubt, Outage},
    starting::Starting,
    worker::WorkerClient,
};

/// What is done here, as the log says it.
const WATCH: &str = "watch the cluster";

pub(crate) async fn follow(
    client: Client,
    settings: &Settings,
    metrics: Metrics,
    workers: WorkerClient,
    directory: watch::Sender<Arc<Directory>>,
    doubt: &Doubt,
) {
    let endpoints: Api<InferenceEndpoint> = scope(client.clone(), settings);
    let slices: Api<EndpointSlice> = scope(client, settings);
    let ours = api::watch_config().labels(&labels::instance_query(settings.instance.as_deref()));
    // Kubernetes copies the labels of an endpoint's Service to its slices.
    let of_workers = api::watch_config().labels(labels::ENDPOINT);
    let mut endpoints = pin!(events(endpoints, ours, doubt.clone()));
    let mut slices = pin!(events(slices, of_workers, doubt.clone()));
    let mut builder = Builder::new(settings.line_limits(), settings.worker_tls.protocol(), metrics);
    let (mut starting, mut said) = Starting::new(workers);
    loop {
        let change = tokio::select! {
            Some(event) = endpoints.next() => builder.endpoint(event),
            Some(event) = slices.next() => builder.slice(event),
            Some((pod, is_ready)) = said.recv() => builder.said(&pod, is_ready),
            else => return,
        };
        match change {
            Change::Visible => {
                directory.send_replace(Arc::new(builder.build(Instant::now())));
                starting.follow(builder.starting());
            }
            Change::None => {}
        }
    }
}

/// Model caches, for the page only: nothing that serves waits for them.
pub(crate) async fn follow_caches(client: Client, settings: &Settings, writer: Writer<ModelCache>) {
    let caches = events(scope(client, settings), api::watch_config(), Doubt::default());
    let seen = caches.scan(writer, |writer, event| {
        writer.apply_watcher_event(&event);
        future::ready(Some(()))
    });
    seen.for_each(|()| future::ready(())).await;
}

/// The namespaces that are served.
fn scope<K>(client: Client, settings: &Settings) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if settings.all_namespaces { Api::all(client) } else { Api::namespaced(client, &settings.namespace) }
}

fn events<K>(api: Api<K>, config: watcher::Config, doubt: Doubt) -> impl Stream<Item = Event<K>>
where
    K: kube::Resource + Lookup + ResourceExt + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let outage = Outage::default();
    watcher(api, config)
        // Nobody reads who manages which field, and it is half of an object's size.
        .modify(|object| object.managed_fields_mut().clear())
        .backoff(api::watch_pauses())
        .filter_map(move |event| {
            match &event {
                Ok(_) => outage.answered(WATCH),
                Err(error) => {
                    doubt.raise();
                    outage.failed(WATCH, error);
                }
            }
            ready(event.ok())
        })
}
