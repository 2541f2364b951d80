//! Follows the cluster and publishes what it looks like. When the API server is away, the last picture stays:
//! inference goes on.

use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector::Lookup};
use kube::{Api, Client, ResourceExt};
use lexiscale_crds::InferenceEndpoint;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use super::directory::{Builder, Change, Directory};

/// On the Services of endpoints; Kubernetes copies a Service's labels to its slices.
const ENDPOINT_LABEL: &str = "inference.lexiscale.io/endpoint";

pub(crate) async fn follow(client: Client, namespace: String, directory: watch::Sender<Arc<Directory>>) {
    let endpoints: Api<InferenceEndpoint> = Api::namespaced(client.clone(), &namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client, &namespace);
    let mut endpoints = pin!(events(endpoints, watcher::Config::default()));
    let mut slices = pin!(events(slices, watcher::Config::default().labels(ENDPOINT_LABEL)));
    let mut builder = Builder::default();
    loop {
        let change = tokio::select! {
            Some(event) = endpoints.next() => builder.endpoint(event),
            Some(event) = slices.next() => builder.slice(event),
            else => return,
        };
        match change {
            Change::Visible => drop(directory.send_replace(Arc::new(builder.build(Instant::now())))),
            Change::None => {}
        }
    }
}

fn events<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>>
where
    K: kube::Resource + Lookup + ResourceExt + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config)
        // Nobody reads who manages which field, and it is half of an object's size.
        .modify(|object| object.managed_fields_mut().clear())
        .default_backoff()
        .filter_map(|event| async {
            event
                .inspect_err(|error| tracing::warn!(%error, "failed to watch the cluster, trying again"))
                .ok()
        })
}
