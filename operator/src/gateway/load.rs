//! What the controller is told of the endpoints' load: counters of each line, which its admin port hands out as one
//! document. Nothing here decides.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use kube::ResourceExt;
use lexiscale_crds::{AdaptiveAllocations, InferenceEndpoint};
use lexiscale_wire::{EndpointLoad, GatewayLoad, GaveUp, LOAD_PATH, LoadCounters, Times};
use tokio::sync::watch;
use tokio::time::Instant;

use super::directory::{Directory, Entry};

/// Counters of one line. Updated under a lock of their own, which nobody holds for longer than an addition.
#[derive(Debug, Default)]
pub(crate) struct Load(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    counters: LoadCounters,
    latest: Option<Instant>,
    goal: Option<Duration>,
}

impl Load {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latency goal that the endpoint has from now on.
    pub(crate) fn aims_at(&self, goal: Option<Duration>) {
        self.lock().goal = goal;
    }

    pub(crate) fn arrived(&self, now: Instant) {
        let mut counted = self.lock();
        counted.counters.arrivals += 1;
        counted.latest = Some(now);
    }

    /// Something happened to one of them.
    pub(crate) fn touched(&self, now: Instant) {
        self.lock().latest = Some(now);
    }

    /// An allocation has it.
    pub(crate) fn began(&self) {
        self.lock().counters.in_flight += 1;
    }

    /// An allocation has it no more, and it comes back to the line.
    pub(crate) fn came_back(&self, now: Instant) {
        let mut counted = self.lock();
        counted.counters.in_flight -= 1;
        counted.latest = Some(now);
    }

    pub(crate) fn answered(&self, times: Times, now: Instant) {
        let mut counted = self.lock();
        let goal = counted.goal;
        counted.counters.in_flight -= 1;
        counted.counters.answered(times, goal);
        counted.latest = Some(now);
    }

    /// Nobody will answer it. `in_flight` says whether an allocation had it.
    pub(crate) fn gave_up(&self, since: Instant, in_flight: bool, why: GaveUp, now: Instant) {
        let mut counted = self.lock();
        let goal = counted.goal;
        counted.counters.in_flight -= u64::from(in_flight);
        counted.counters.gave_up(now.saturating_duration_since(since), goal, why);
        counted.latest = Some(now);
    }

    /// With what waits now.
    pub(crate) fn counters(&self, queued: usize, now: Instant) -> LoadCounters {
        let counted = self.lock();
        let counters = LoadCounters { queued: queued as u64, ..counted.counters.clone() };
        counters.with_idle(counted.latest.map(|latest| now.saturating_duration_since(latest)))
    }
}

/// What an endpoint's object says that its requests shall take at most.
pub(crate) fn goal(endpoint: &InferenceEndpoint) -> Option<Duration> {
    let scaling = endpoint.spec.deployment.as_ref()?.scaling.as_ref()?;
    let latency: jiff::SignedDuration = scaling.target_latency.as_ref()?.parse().ok()?;
    latency.try_into().ok()
}

#[derive(Clone)]
struct Document {
    instance: Arc<str>,
    began: Instant,
    directory: watch::Receiver<Arc<Directory>>,
}

/// Serves the document. Its instance id is of this process.
pub(crate) fn router(directory: watch::Receiver<Arc<Directory>>) -> Router {
    // The standard library's seed for hash maps is as unique as is needed here.
    let instance = format!("{:016x}", RandomState::new().hash_one(0));
    let document = Document { instance: instance.into(), began: Instant::now(), directory };
    Router::new().route(LOAD_PATH, get(serve)).with_state(document)
}

async fn serve(State(document): State<Document>) -> Response {
    let directory = Arc::clone(&document.directory.borrow());
    // Endpoints that are not known yet would look idle.
    if !directory.is_complete {
        return (StatusCode::SERVICE_UNAVAILABLE, "the endpoints are not known yet").into_response();
    }
    let now = Instant::now();
    Json(GatewayLoad {
        instance: document.instance.as_ref().to_owned(),
        uptime: now.saturating_duration_since(document.began).as_secs_f64(),
        endpoints: directory.all().filter(|entry| is_scaled(entry)).map(|entry| of(entry, now)).collect(),
    })
    .into_response()
}

/// Endpoints that are attached to another share its line, which is told once; fixed numbers ask for no load.
fn is_scaled(entry: &Entry) -> bool {
    let adaptive = entry.endpoint.spec.service_settings.adaptive_allocations.as_ref();
    adaptive.is_some_and(AdaptiveAllocations::is_enabled)
}

fn of(entry: &Entry, now: Instant) -> EndpointLoad {
    EndpointLoad {
        namespace: entry.endpoint.namespace().unwrap_or_default(),
        name: entry.endpoint.name_any(),
        counters: entry.line.load(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_time_runs_only_while_nothing_waits_or_runs() {
        let load = Load::default();
        let start = Instant::now();
        assert_eq!(load.counters(0, start).idle, None);
        load.arrived(start);
        let later = start + Duration::from_mins(1);
        assert_eq!(load.counters(1, later).idle, Some(0.0), "it waits");
        load.began();
        assert_eq!(load.counters(0, later).idle, Some(0.0), "it runs");
        let times = Times { service: Duration::ZERO, queue: Duration::ZERO, latency: Duration::ZERO };
        load.answered(times, later);
        assert_eq!(load.counters(0, later + Duration::from_secs(7)).idle, Some(7.0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_took_longer_than_the_goal_is_late_however_it_ended() {
        let load = Load::default();
        let start = Instant::now();
        load.aims_at(Some(Duration::from_millis(100)));
        for milliseconds in [100, 101] {
            load.arrived(start);
            load.began();
            let latency = Duration::from_millis(milliseconds);
            load.answered(Times { service: latency, queue: Duration::ZERO, latency }, start + latency);
        }
        load.arrived(start);
        load.gave_up(start, false, GaveUp::Caller, start + Duration::from_secs(1));
        let counters = load.counters(0, start);
        assert_eq!((counters.arrivals, counters.completed, counters.failed, counters.late), (3, 2, 1, 2));
        assert_eq!(counters.in_flight, 0);
    }
}
