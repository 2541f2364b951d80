//! What the workers say of requests that came to them directly: each worker of an endpoint that is followed, once a round.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, runtime::reflector::Store};
use lexiscale_core::{
    desired::{service::PORT_NAME, tls::ADMIN_PORT_NAME},
    load::{Allocated, Sample, Silence, Witness},
};
use lexiscale_wire::WorkerLoad;
use tokio::time::Instant;

use super::{
    Key, Pace,
    client::{AskError, LoadClient},
    metrics::{ScalingMetrics, Source},
    pods::{self, Standing},
};

/// Workers that are asked at once.
const AT_ONCE: usize = 64;
/// Workers that are asked in one round, those first that were not asked for longest: beyond these, each is asked less often.
const MOST: usize = 4096;

/// Shared by the task that asks and by the rounds. Cheap to clone.
#[derive(Clone)]
pub(super) struct Workers {
    shared: Arc<Mutex<Shared>>,
    pace: Pace,
}

#[derive(Default)]
struct Shared {
    said: HashMap<String, Said>,
    /// Endpoints whose workers are asked.
    followed: HashSet<Key>,
}

/// What one pod said.
#[derive(Clone, Debug)]
struct Said {
    asked: Instant,
    answered: Option<(Instant, WorkerLoad)>,
}

/// The workers of all endpoints at one time.
pub(super) struct Picture {
    by_endpoint: HashMap<Key, Vec<Arc<Pod>>>,
    said: HashMap<String, Said>,
    pace: Pace,
}

impl Workers {
    pub(super) fn new(pace: Pace) -> Self {
        Self { shared: Arc::default(), pace }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for as long as it is polled.
    pub(super) async fn ask_forever(
        &self,
        pods: &[Store<Pod>],
        client: &LoadClient,
        metrics: &ScalingMetrics,
    ) {
        let mut tick = tokio::time::interval(self.pace.round());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let due = self.due(pods);
            stream::iter(due)
                .for_each_concurrent(AT_ONCE, |pod| async move {
                    let asked = Instant::now();
                    let answer = ask(client, &pod).await;
                    metrics.read(Source::Worker, answer.is_ok());
                    let Some(uid) = pod.uid() else { return };
                    let mut shared = self.lock();
                    let said = shared.said.entry(uid).or_insert(Said { asked, answered: None });
                    said.asked = asked;
                    match answer {
                        Ok(load) => said.answered = Some((Instant::now(), load)),
                        Err(error) => {
                            tracing::debug!(pod = pod.name_any(), %error, "a worker cannot be read");
                        }
                    }
                })
                .await;
        }
    }

    /// Serving workers of endpoints that are followed. Forgets the pods that are gone.
    fn due(&self, pods: &[Store<Pod>]) -> Vec<Arc<Pod>> {
        let pods: Vec<_> = pods.iter().flat_map(Store::state).collect();
        let mut shared = self.lock();
        let here: HashSet<_> = pods.iter().filter_map(|pod| pod.uid()).collect();
        shared.said.retain(|uid, _| here.contains(uid));
        let is_followed = |pod: &Pod| pods::endpoint(pod).is_some_and(|key| shared.followed.contains(&key));
        let mut due: Vec<_> = pods
            .into_iter()
            .filter(|pod| is_followed(pod) && pods::standing(pod) == Standing::Ready)
            .filter_map(|pod| Some((shared.said.get(&pod.uid()?).map(|said| said.asked), pod)))
            .collect();
        due.sort_by_key(|(asked, _)| *asked);
        due.into_iter().take(MOST).map(|(_, pod)| pod).collect()
    }

    /// The endpoints whose workers are asked from now on.
    pub(super) fn follow(&self, endpoints: HashSet<Key>) {
        self.lock().followed = endpoints;
    }

    pub(super) fn picture(&self, pods: &[&Store<Pod>]) -> Picture {
        let mut by_endpoint: HashMap<Key, Vec<Arc<Pod>>> = HashMap::new();
        for pod in pods.iter().flat_map(|store| store.state()) {
            if let Some(key) = pods::endpoint(&pod) {
                by_endpoint.entry(key).or_default().push(pod);
            }
        }
        Picture { by_endpoint, said: self.lock().said.clone(), pace: self.pace }
    }
}

async fn ask(client: &LoadClient, pod: &Pod) -> Result<WorkerLoad, AskError> {
    // Where workers speak TLS, this is answered on the port beside.
    let port = pods::port(pod, ADMIN_PORT_NAME).or_else(|| pods::port(pod, PORT_NAME));
    let (ip, port) = pods::ip(pod).zip(port).ok_or(AskError::Silent)?;
    client.get(ip, port).await
}

impl Picture {
    fn pods(&self, key: &Key) -> impl Iterator<Item = &Arc<Pod>> {
        self.by_endpoint.get(key).into_iter().flatten()
    }

    /// What the law decides about: standby allocations are lent, and not scaled.
    fn allocations(&self, key: &Key) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods(key).filter(|pod| !pods::is_standby(pod))
    }

    fn serving(&self, key: &Key) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods(key).filter(|pod| pods::standing(pod) == Standing::Ready)
    }

    fn answer(&self, pod: &Pod, within: Duration) -> Option<&WorkerLoad> {
        let (at, load) = self.said.get(&pod.uid()?)?.answered.as_ref()?;
        (at.elapsed() <= within).then_some(load)
    }

    pub(super) fn allocated(&self, key: &Key, desired: u32, now: Timestamp) -> Allocated {
        let standing =
            |wanted: Standing| self.allocations(key).filter(move |pod| pods::standing(pod) == wanted);
        let count = |wanted| u32::try_from(standing(wanted).count()).unwrap_or(u32::MAX);
        let youngest = standing(Standing::Ready).filter_map(|pod| pods::ready_for(pod, now)).reduce(f64::min);
        let standby = self.serving(key).filter(|pod| pods::is_standby(pod)).count();
        Allocated {
            desired,
            ready: count(Standing::Ready),
            starting: count(Standing::Starting),
            standby: u32::try_from(standby).unwrap_or(u32::MAX),
            youngest,
        }
    }

    pub(super) fn samples(&self, key: &Key) -> impl Iterator<Item = Sample> {
        self.serving(key).filter_map(|pod| {
            let load = self.answer(pod, self.pace.doubt())?;
            let WorkerLoad { instance, uptime, counters } = load.clone();
            Some(Sample { source: pod.uid()?, instance, uptime, counters })
        })
    }

    /// A serving worker that has not answered for long: it may be busy with direct traffic.
    pub(super) fn doubtful(&self, key: &Key) -> Option<String> {
        let silent = self.serving(key).find(|pod| self.answer(pod, self.pace.doubt()).is_none())?;
        Some(format!("worker {} does not answer", silent.name_any()))
    }

    pub(super) fn witnesses(&self, key: &Key) -> impl Iterator<Item = Witness<'_>> {
        self.serving(key).map(|pod| Witness {
            name: format!("worker {}", pod.name_any()),
            said: self
                .answer(pod, self.pace.fresh())
                .map(|load| (&load.counters, load.uptime))
                .ok_or(Silence),
        })
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_core::labels;
    use serde_json::json;

    use super::*;

    fn pod(labels: &serde_json::Value, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let conditions = [("PodScheduled", "True"), ("Ready", status)]
            .map(|(kind, status)| json!({"type": kind, "status": status}));
        let pod =
            json!({"metadata": {"labels": labels}, "status": {"phase": "Running", "conditions": conditions}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// One that stands by and counts as an allocation would be work that the law thinks it has places for.
    #[test]
    fn standbys_are_counted_apart_and_once_they_serve() {
        let key = ("default".to_owned(), "search".to_owned());
        let standby = json!({labels::STANDBY_OF: "search"});
        let pods = vec![
            pod(&json!({}), true),
            pod(&json!({}), false),
            pod(&standby, true),
            pod(&standby, true),
            pod(&standby, false),
        ];
        let pace = Pace::new(Duration::from_secs(10));
        let picture = Picture { by_endpoint: [(key.clone(), pods)].into(), said: HashMap::new(), pace };
        let found = picture.allocated(&key, 2, Timestamp::UNIX_EPOCH);
        assert_eq!((found.desired, found.ready, found.starting, found.standby), (2, 1, 1, 2));
    }
}
