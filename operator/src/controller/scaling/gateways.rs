//! What the gateways say: one document of each, read once a round.

use std::collections::HashMap;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, runtime::reflector::Store};
use lexiscale_core::load::{Sample, Silence, Witness};
use lexiscale_wire::{GatewayLoad, LoadCounters};
use tokio::time::Instant;

use super::{
    Key, Pace,
    client::{AskError, LoadClient},
    metrics::{ScalingMetrics, Source},
    pods::{self, Standing},
};

/// Port of the document, as the chart names it.
const ADMIN_PORT: &str = "admin";
/// Gateways that are asked at once.
const AT_ONCE: usize = 16;
/// Gateways beyond these are not read, and say so by being missing.
const MOST: usize = 1000;

pub(super) struct Gateways {
    pods: Store<Pod>,
    client: LoadClient,
    pace: Pace,
    known: Vec<Known>,
    /// When the latest look at them began.
    looked: Instant,
}

/// One gateway's pod, with what it said last.
struct Known {
    uid: String,
    name: String,
    /// Whether requests come to it.
    is_ready: bool,
    said: Option<Said>,
}

struct Said {
    at: Instant,
    instance: String,
    uptime: f64,
    endpoints: HashMap<Key, LoadCounters>,
}

/// For endpoints that a gateway does not name: it has counted nothing of them.
static NOTHING: LoadCounters = LoadCounters {
    arrivals: 0,
    completed: 0,
    failed: 0,
    late: 0,
    queued: 0,
    in_flight: 0,
    service_time: 0.0,
    service_time_squares: 0.0,
    queue_time: 0.0,
    latency: 0.0,
    idle: None,
};

impl Gateways {
    pub(super) fn new(pods: Store<Pod>, client: LoadClient, pace: Pace) -> Self {
        Self { pods, client, pace, known: Vec::new(), looked: Instant::now() }
    }

    pub(super) async fn wait_until_known(&self) {
        // An error means that the watch has ended, and with it the process.
        let _ = self.pods.wait_until_ready().await;
    }

    /// Asks every gateway that there is.
    pub(super) async fn read(&mut self, metrics: &ScalingMetrics) {
        self.looked = Instant::now();
        let mut before: HashMap<String, Said> =
            self.known.drain(..).filter_map(|Known { uid, said, .. }| Some((uid, said?))).collect();
        let mut pods = self.pods.state();
        pods.retain(|pod| !pods::is_over(pod));
        pods.sort_by_key(|pod| pod.name_any());
        let client = &self.client;
        let answers = stream::iter(pods.iter().take(MOST).cloned())
            .map(|pod| async move { (pod.uid(), ask(client, &pod).await) })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (uid, answer) in answers {
            metrics.read(Source::Gateway, answer.is_ok());
            match (uid, answer) {
                (Some(uid), Ok(load)) => drop(before.insert(uid, said(load))),
                (uid, Err(error)) => tracing::debug!(?uid, %error, "a gateway cannot be read"),
                (None, Ok(_)) => {}
            }
        }
        self.known = pods
            .iter()
            .map(|pod| {
                let uid = pod.uid().unwrap_or_default();
                let is_ready = pods::standing(pod) == Standing::Ready;
                Known {
                    name: format!("gateway {}", pod.name_any()),
                    is_ready,
                    said: before.remove(&uid),
                    uid,
                }
            })
            .collect();
        metrics.gateways_age(
            self.known.iter().filter_map(|known| Some(known.said.as_ref()?.at.elapsed())).max(),
        );
    }

    /// The gateway without which nothing is known, if there is one.
    pub(super) fn missing(&self) -> Option<String> {
        if self.known.is_empty() {
            return Some("no gateway is known".to_owned());
        }
        let silent = self.known.iter().find(|known| known.is_ready && self.fresh(known).is_none())?;
        Some(format!("{} does not answer", silent.name))
    }

    /// Whether one that counts has not answered the latest look, and may answer the next one: until then there is nothing to
    /// observe, as what it says later is of this time also.
    pub(super) fn is_late(&self) -> bool {
        self.known.iter().any(|known| known.is_ready && self.latest(known).is_none())
    }

    /// What all of them have counted of an endpoint.
    pub(super) fn samples<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = Sample> + 'a {
        self.known.iter().filter_map(move |known| {
            let said = self.latest(known)?;
            Some(Sample {
                source: known.uid.clone(),
                instance: said.instance.clone(),
                uptime: said.uptime,
                counters: said.endpoints.get(key)?.clone(),
            })
        })
    }

    /// All of them, as witnesses of an endpoint's idleness: those that take no requests any more as well.
    pub(super) fn witnesses<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = Witness<'a>> + 'a {
        self.known.iter().map(move |known| Witness {
            name: known.name.clone(),
            said: self
                .fresh(known)
                .map(|said| (said.endpoints.get(key).unwrap_or(&NOTHING), said.uptime))
                .ok_or(Silence),
        })
    }

    fn latest<'a>(&self, known: &'a Known) -> Option<&'a Said> {
        known.said.as_ref().filter(|said| said.at >= self.looked)
    }

    fn fresh<'a>(&self, known: &'a Known) -> Option<&'a Said> {
        known.said.as_ref().filter(|said| said.at.elapsed() <= self.pace.fresh())
    }
}

async fn ask(client: &LoadClient, pod: &Pod) -> Result<GatewayLoad, AskError> {
    let (ip, port) = pods::ip(pod).zip(pods::port(pod, ADMIN_PORT)).ok_or(AskError::Silent)?;
    client.get(ip, port).await
}

fn said(load: GatewayLoad) -> Said {
    let GatewayLoad { instance, uptime, endpoints } = load;
    let endpoints = endpoints
        .into_iter()
        .map(|endpoint| ((endpoint.namespace, endpoint.name), endpoint.counters))
        .collect();
    Said { at: Instant::now(), instance, uptime, endpoints }
}
