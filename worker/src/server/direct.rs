//! Counts the requests that no gateway counts, so that direct traffic scales an endpoint too and keeps it from zero.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use lexiscale_wire::{COUNTED_HEADER, GaveUp, LoadCounters, Times, WorkerLoad};

use super::handlers::Shared;
use super::work_clock::{WorkClock, WorkedFor};

/// The worker's direct traffic.
pub struct Direct {
    instance: String,
    began: Instant,
    counted: Mutex<Counted>,
    pub(super) clock: WorkClock,
}

#[derive(Default)]
struct Counted {
    counters: LoadCounters,
    latest: Option<Instant>,
}

impl Default for Direct {
    fn default() -> Self {
        // The standard library's seed for hash maps is as unique as is needed here.
        let instance = format!("{:016x}", RandomState::new().hash_one(0));
        Self { instance, began: Instant::now(), counted: Mutex::default(), clock: WorkClock::default() }
    }
}

impl Direct {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, now: Instant) -> WorkerLoad {
        let counted = self.lock();
        let latest = counted.latest.map(|latest| now.saturating_duration_since(latest));
        let counters = counted.counters.clone().with_idle(latest);
        WorkerLoad {
            instance: self.instance.clone(),
            uptime: now.saturating_duration_since(self.began).as_secs_f64(),
            counters,
        }
    }
}

/// A direct request that has come. Dropped without an answer, it counts as given up.
struct Arrived {
    direct: Arc<Direct>,
    since: Instant,
    /// What the model worked on it, once it is answered.
    service: Option<Duration>,
}

impl Arrived {
    fn new(direct: &Arc<Direct>) -> Self {
        let since = Instant::now();
        let mut counted = direct.lock();
        counted.counters.arrivals += 1;
        counted.counters.in_flight += 1;
        counted.latest = Some(since);
        drop(counted);
        Self { direct: Arc::clone(direct), since, service: None }
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        let now = Instant::now();
        let latency = now.saturating_duration_since(self.since);
        let mut counted = self.direct.lock();
        counted.counters.in_flight -= 1;
        counted.latest = Some(now);
        match self.service {
            Some(service) => {
                let queue = latency.saturating_sub(service);
                counted.counters.answered(Times { service, queue, latency }, None);
            }
            None => counted.counters.gave_up(latency, None, GaveUp::Caller),
        }
    }
}

pub(super) async fn count(State(state): Shared, request: Request, next: Next) -> Response {
    if request.headers().contains_key(COUNTED_HEADER) {
        return next.run(request).await;
    }
    let mut arrived = Arrived::new(&state.direct);
    let response = next.run(request).await;
    if response.status() == StatusCode::OK {
        arrived.service = response.extensions().get().map(|WorkedFor(service)| *service);
    }
    response
}

pub(super) async fn serve(State(state): Shared) -> Json<WorkerLoad> {
    Json(state.direct.load(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_or_given_up_and_counts_once() {
        let direct = Arc::new(Direct::default());
        assert_eq!(direct.load(Instant::now()).counters, LoadCounters::default());
        let mut first = Arrived::new(&direct);
        let second = Arrived::new(&direct);
        let load = direct.load(Instant::now());
        assert_eq!((load.counters.in_flight, load.counters.idle), (2, Some(0.0)));
        first.service = Some(Duration::ZERO);
        drop(first);
        drop(second);
        let counters = direct.load(Instant::now()).counters;
        let counts = (counters.arrivals, counters.completed, counters.failed, counters.in_flight);
        assert_eq!(counts, (2, 1, 1, 0));
    }
}
