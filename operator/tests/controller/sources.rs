//! Gateways and workers that say of their load what a test wants them to say.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use lexiscale_wire::{EndpointLoad, GatewayLoad, LOAD_PATH, LoadCounters, Times, WorkerLoad};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::World;

/// A gateway's pod, and what it answers. Silent when dropped.
pub(crate) struct Gateway {
    world: World,
    pod: Pod,
    said: Arc<Mutex<Option<GatewayLoad>>>,
    _stop: DropGuard,
}

impl Gateway {
    /// A ready gateway that counts nothing yet.
    pub(crate) async fn start(world: &World, name: &str) -> Self {
        let said = Arc::new(Mutex::new(Some(GatewayLoad {
            instance: "first".to_owned(),
            // For long enough to know of every request.
            uptime: 1e6,
            ..GatewayLoad::default()
        })));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = serve(listener, Arc::clone(&said));
        let pod = make_pod(world, name, port).await;
        let gateway = Self { world: world.clone(), pod, said, _stop: stop };
        gateway.stands(true).await;
        gateway
    }

    /// Whether requests come to it.
    pub(crate) async fn stands(&self, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let conditions = [("PodScheduled", "True"), ("Ready", status)];
        let conditions = conditions.map(|(kind, status)| json!({"type": kind, "status": status}));
        let ip = Ipv4Addr::LOCALHOST;
        let status =
            json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions});
        self.world.set_status(&self.pod, status).await;
    }

    /// Answers no more.
    pub(crate) fn falls_silent(&self) {
        *self.said.lock().unwrap() = None;
    }

    /// Is deleted.
    pub(crate) async fn goes(self) {
        let api: Api<Pod> = self.world.api();
        api.delete(&self.pod.name_any(), &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// Changes what it has counted of an endpoint.
    pub(crate) fn counts(&self, endpoint: &str, change: impl FnOnce(&mut LoadCounters)) {
        let mut said = self.said.lock().unwrap();
        let Some(load) = said.as_mut() else { return };
        if !load.endpoints.iter().any(|known| known.name == endpoint) {
            let (namespace, name) = (self.world.namespace.clone(), endpoint.to_owned());
            load.endpoints.push(EndpointLoad { namespace, name, counters: LoadCounters::default() });
        }
        let known = load.endpoints.iter_mut().find(|known| known.name == endpoint).unwrap();
        change(&mut known.counters);
    }

    /// Is busy from now on: as much work as so many allocations can do. Ends when what is returned is dropped.
    pub(crate) fn is_busy(self: &Arc<Self>, endpoint: &str, allocations: u64) -> DropGuard {
        let stop = CancellationToken::new();
        let (gateway, endpoint) = (Arc::clone(self), endpoint.to_owned());
        let work = async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            loop {
                tick.tick().await;
                let service = Duration::from_millis(10);
                gateway.counts(&endpoint, |counters| {
                    for _ in 0..allocations {
                        counters.arrivals += 1;
                        counters.answered(Times { service, queue: Duration::ZERO, latency: service }, None);
                    }
                    counters.idle = Some(0.0);
                });
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(work));
        stop.drop_guard()
    }
}

fn serve(listener: TcpListener, said: Arc<Mutex<Option<GatewayLoad>>>) -> DropGuard {
    let stop = CancellationToken::new();
    let answer = |State(said): State<Arc<Mutex<Option<GatewayLoad>>>>| async move {
        let said = said.lock().unwrap().clone();
        said.map_or_else(
            || StatusCode::SERVICE_UNAVAILABLE.into_response(),
            |said| Json(said).into_response(),
        )
    };
    let router = Router::new().route(LOAD_PATH, get(answer)).with_state(said);
    let server = axum::serve(listener, router).into_future();
    tokio::spawn(stop.clone().run_until_cancelled_owned(server));
    stop.drop_guard()
}

/// A pod that no scheduler touches.
async fn make_pod(world: &World, name: &str, port: u16) -> Pod {
    let labels: BTreeMap<_, _> =
        [("app.kubernetes.io/part-of", "lexiscale"), ("app.kubernetes.io/component", "gateway")].into();
    let pod = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "schedulingGates": [{"name": "lexiscale.io/test"}],
            "containers": [{"name": "gateway", "image": "registry.invalid/gateway:1", "ports": [{"name": "admin", "containerPort": port}]}],
        },
    });
    world.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
}

/// Workers that answer on addresses of their own.
pub(crate) struct Worker {
    said: Arc<Mutex<WorkerLoad>>,
    _stop: DropGuard,
}

impl Worker {
    pub(crate) fn counts(&self, change: impl FnOnce(&mut LoadCounters)) {
        change(&mut self.said.lock().unwrap().counters);
    }
}

impl World {
    /// As `start_workers`, and they tell their load. Workers listen on one port, so each has another loopback address.
    pub(crate) async fn start_telling_workers(&self, count: usize) -> Vec<Worker> {
        let mut workers = Vec::new();
        for pod in self.pods("worker", count).await {
            let (ip, listener) = listen().await;
            let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
            let status = json!({
                "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True", "reason": null, "message": null}],
                "containerStatuses": [{"name": "worker", "image": "w", "imageID": "w", "ready": true, "restartCount": 0, "state": running}],
            });
            self.set_status(&pod, status).await;
            let (instance, counters) = (pod.name_any(), LoadCounters::default());
            let said = Arc::new(Mutex::new(WorkerLoad { instance, uptime: 1e6, counters }));
            let stop = CancellationToken::new();
            let answer = |State(said): State<Arc<Mutex<WorkerLoad>>>| async move {
                Json(said.lock().unwrap().clone())
            };
            let router = Router::new().route(LOAD_PATH, get(answer)).with_state(Arc::clone(&said));
            tokio::spawn(stop.clone().run_until_cancelled_owned(axum::serve(listener, router).into_future()));
            workers.push(Worker { said, _stop: stop.drop_guard() });
        }
        workers
    }
}

pub(crate) async fn listen() -> (IpAddr, TcpListener) {
    loop {
        let bytes: [u8; 3] = rand();
        let ip = Ipv4Addr::new(127, bytes[0].max(1), bytes[1], bytes[2].clamp(1, 254));
        if let Ok(listener) = TcpListener::bind((ip, 8080)).await {
            return (ip.into(), listener);
        }
    }
}

/// Unlike those of tests that run beside this one.
fn rand() -> [u8; 3] {
    use std::hash::{BuildHasher, RandomState};
    let [first, second, third, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    [first, second, third]
}
