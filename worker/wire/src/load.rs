//! What gateways and workers tell the controller of an endpoint's load. Counters only grow, so that a reader who misses an
//! answer loses nothing; a process that starts anew has another instance id.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Path of a gateway's [`GatewayLoad`], on its admin port, and of a worker's [`WorkerLoad`].
pub const LOAD_PATH: &str = "/load";

/// Request header by which a gateway says that it counts this request itself. Others are a worker's direct traffic.
pub const COUNTED_HEADER: &str = "x-lexiscale-counted";

/// What is counted of one endpoint's requests, or pieces of requests, since the process began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadCounters {
    #[serde(skip_serializing_if = "is_default")]
    pub arrivals: u64,
    /// Answered by an allocation.
    #[serde(skip_serializing_if = "is_default")]
    pub completed: u64,
    /// Refused, too late, given up, or failed by an allocation.
    #[serde(skip_serializing_if = "is_default")]
    pub failed: u64,
    /// Of both, those that missed the endpoint's latency goal: they took longer, or were lost for want of capacity.
    #[serde(skip_serializing_if = "is_default")]
    pub late: u64,
    /// Waiting now, those that wait for a first allocation included.
    #[serde(skip_serializing_if = "is_default")]
    pub queued: u64,
    /// At allocations now.
    #[serde(skip_serializing_if = "is_default")]
    pub in_flight: u64,
    /// Seconds of allocations' work for the completed ones, and their squares.
    #[serde(skip_serializing_if = "is_default")]
    pub service_time: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub service_time_squares: f64,
    /// Seconds that the completed ones waited.
    #[serde(skip_serializing_if = "is_default")]
    pub queue_time: f64,
    /// Seconds from arrival to answer of the completed ones.
    #[serde(skip_serializing_if = "is_default")]
    pub latency: f64,
    /// Seconds since the latest request came, was answered or was given up; absent if none ever came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<f64>,
}

/// Times of one request that an allocation has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub service: Duration,
    pub queue: Duration,
    pub latency: Duration,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// There was no room for it, it waited too long, or it was lost: more allocations would have helped.
    Capacity,
    /// Whoever asked left, or asked for what cannot be.
    Caller,
}

impl LoadCounters {
    /// Counts an answer.
    pub fn answered(&mut self, times: Times, goal: Option<Duration>) {
        let Times { service, queue, latency } = times;
        let seconds = service.as_secs_f64();
        self.completed += 1;
        self.service_time += seconds;
        self.service_time_squares += seconds * seconds;
        self.queue_time += queue.as_secs_f64();
        self.latency += latency.as_secs_f64();
        self.late += u64::from(goal.is_some_and(|goal| latency > goal));
    }

    /// Counts a request that nobody answers.
    pub fn gave_up(&mut self, after: Duration, goal: Option<Duration>, why: GaveUp) {
        self.failed += 1;
        self.late += u64::from(goal.is_some_and(|goal| why == GaveUp::Capacity || after > goal));
    }

    /// With the time since the latest request came or went, as nothing else proves that an endpoint rests.
    #[must_use]
    pub fn with_idle(self, since_latest: Option<Duration>) -> Self {
        let rests = self.queued == 0 && self.in_flight == 0;
        let idle = since_latest.map(|since| if rests { since.as_secs_f64() } else { 0.0 });
        Self { idle, ..self }
    }
}

/// What a gateway tells of all endpoints that may be scaled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayLoad {
    /// Another one after each start.
    pub instance: String,
    /// Seconds since the start.
    pub uptime: f64,
    pub endpoints: Vec<EndpointLoad>,
}

/// One endpoint, by its object. What came to endpoints that are attached to it is counted here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointLoad {
    pub namespace: String,
    pub name: String,
    #[serde(flatten)]
    pub counters: LoadCounters,
}

/// What a worker tells of the requests that no gateway counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerLoad {
    /// Another one after each start.
    pub instance: String,
    /// Seconds since the start.
    pub uptime: f64,
    #[serde(flatten)]
    pub counters: LoadCounters,
}

/// Most endpoints rest most of the time, and a document names a thousand of them.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_rests_costs_few_bytes() {
        let resting = EndpointLoad {
            namespace: "default".to_owned(),
            name: "articles".to_owned(),
            counters: LoadCounters::default(),
        };
        let json = serde_json::to_string(&resting).unwrap();
        assert_eq!(json, r#"{"namespace":"default","name":"articles"}"#);
        assert_eq!(serde_json::from_str::<EndpointLoad>(&json).unwrap(), resting);
    }

    /// A refusal is quick, and no answer in time. What a caller does wrong is nobody's lateness.
    #[test]
    fn want_of_capacity_is_late_however_soon_it_is_said() {
        let goal = Some(Duration::from_secs(1));
        for (why, after, goal, late) in [
            (GaveUp::Capacity, 0, goal, 1),
            (GaveUp::Capacity, 0, None, 0),
            (GaveUp::Caller, 0, goal, 0),
            (GaveUp::Caller, 2, goal, 1),
        ] {
            let mut counters = LoadCounters::default();
            counters.gave_up(Duration::from_secs(after), goal, why);
            assert_eq!((counters.failed, counters.late), (1, late), "{why:?} after {after} s");
        }
    }

    #[test]
    fn what_is_counted_comes_back_whole() {
        let mut counters =
            LoadCounters { arrivals: 3, queued: 1, idle: Some(0.25), ..LoadCounters::default() };
        let times = Times {
            service: Duration::from_millis(500),
            queue: Duration::from_millis(250),
            latency: Duration::from_millis(750),
        };
        counters.answered(times, Some(Duration::from_millis(749)));
        counters.gave_up(Duration::from_millis(749), Some(Duration::from_millis(749)), GaveUp::Caller);
        assert_eq!((counters.completed, counters.failed, counters.late), (1, 1, 1));
        assert_eq!((counters.service_time, counters.service_time_squares), (0.5, 0.25));
        let load = WorkerLoad { instance: "a".to_owned(), uptime: 1.5, counters };
        assert_eq!(serde_json::from_str::<WorkerLoad>(&serde_json::to_string(&load).unwrap()).unwrap(), load);
    }
}
