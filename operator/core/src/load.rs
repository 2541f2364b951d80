//! From what gateways and workers count to what happened at an endpoint: differences of each source, clamped, and their sum.
//! PURE.

mod idleness;

use std::collections::BTreeMap;

use lexiscale_wire::LoadCounters;

pub use self::idleness::{Silence, Witness, idleness};
use crate::scaling::Observation;

/// What one source says now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The source, whatever process it is in: a pod's uid.
    pub source: String,
    /// The process. Another one counts from zero again.
    pub instance: String,
    /// Seconds since the process began.
    pub uptime: f64,
    pub counters: LoadCounters,
}

/// What every source said before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baselines(BTreeMap<String, Source>);

#[derive(Clone, Debug, PartialEq)]
struct Source {
    instance: String,
    uptime: f64,
    counters: LoadCounters,
    growth: Growth,
}

/// What has grown and was not observed yet, and how long that took. A source that is asked rarely tells of many intervals at once:
/// taken for what happened in the last one, that would be a burst.
#[derive(Clone, Debug, Default, PartialEq)]
struct Growth {
    counters: LoadCounters,
    seconds: f64,
}

/// Seconds of growth that a source can owe at most: whoever was silent for a minute is compared with nothing. A clock that has jumped
/// would spread what happened over years, and its load would be nothing.
const MOST_OWED: f64 = 600.0;

/// Answers are not as regular as intervals: this much longer is the same.
const SAME_INTERVAL: f64 = 1.5;

/// What happened between two looks, over all sources that were there at both, and what is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Happened {
    sum: LoadCounters,
    /// By how much lines have grown, of the sources where they have.
    queue_growth: u64,
}

/// How many allocations there are at this time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allocated {
    pub desired: u32,
    pub ready: u32,
    pub starting: u32,
    /// Ready, and lent when all others are busy.
    pub standby: u32,
    /// Seconds since the latest of them began to serve.
    pub youngest: Option<f64>,
}

impl Baselines {
    /// Compares with the look before, `interval` seconds ago. A source that is new, or has begun anew, is only taken note of; one
    /// that is gone is forgotten.
    pub fn advance(&mut self, samples: impl IntoIterator<Item = Sample>, interval: f64) -> Happened {
        let mut sum = LoadCounters::default();
        let mut queue_growth: u64 = 0;
        let mut now = BTreeMap::new();
        for Sample { source, instance, uptime, counters } in samples {
            let mut growth = Growth::default();
            if let Some(before) = self.0.remove(&source).filter(|before| before.instance == instance) {
                queue_growth =
                    queue_growth.saturating_add(counters.queued.saturating_sub(before.counters.queued));
                growth = before.growth;
                add_growth(&mut growth.counters, &counters, &before.counters);
                growth.seconds += (uptime - before.uptime).max(0.0);
                if growth.seconds <= MOST_OWED.max(2.0 * interval) {
                    growth.take(interval, &mut sum);
                } else {
                    growth = Growth::default();
                }
            }
            sum.queued = sum.queued.saturating_add(counters.queued);
            sum.in_flight = sum.in_flight.saturating_add(counters.in_flight);
            now.insert(source, Source { instance, uptime, counters, growth });
        }
        self.0 = now;
        Happened { sum, queue_growth }
    }
}

impl Growth {
    /// Moves what is an interval's share into the sum; all, where no more than an interval has passed.
    fn take(&mut self, interval: f64, sum: &mut LoadCounters) {
        if self.seconds <= interval * SAME_INTERVAL {
            add_growth(sum, &self.counters, &LoadCounters::default());
            *self = Self::default();
            return;
        }
        let part = (interval / self.seconds).clamp(0.0, 1.0);
        let kept = share_of(&self.counters, 1.0 - part);
        add_growth(sum, &self.counters, &kept);
        self.counters = kept;
        self.seconds -= interval;
    }
}

/// Requests stay whole.
fn share_of(counters: &LoadCounters, share: f64) -> LoadCounters {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of what fits")]
    let count = |count: u64| (number(count) * share) as u64;
    LoadCounters {
        arrivals: count(counters.arrivals),
        completed: count(counters.completed),
        failed: count(counters.failed),
        late: count(counters.late),
        service_time: counters.service_time * share,
        service_time_squares: counters.service_time_squares * share,
        queue_time: counters.queue_time * share,
        latency: counters.latency * share,
        ..LoadCounters::default()
    }
}

fn add_growth(sum: &mut LoadCounters, now: &LoadCounters, before: &LoadCounters) {
    let LoadCounters {
        arrivals,
        completed,
        failed,
        late,
        queued: _,
        in_flight: _,
        service_time,
        service_time_squares,
        queue_time,
        latency,
        idle: _,
    } = now;
    let count = |sum: &mut u64, now: u64, before: u64| *sum = sum.saturating_add(now.saturating_sub(before));
    // A counter that went back is a mistake, and no load.
    let time = |sum: &mut f64, now: f64, before: f64| *sum += (now - before).max(0.0);
    count(&mut sum.arrivals, *arrivals, before.arrivals);
    count(&mut sum.completed, *completed, before.completed);
    count(&mut sum.failed, *failed, before.failed);
    count(&mut sum.late, *late, before.late);
    time(&mut sum.service_time, *service_time, before.service_time);
    time(&mut sum.service_time_squares, *service_time_squares, before.service_time_squares);
    time(&mut sum.queue_time, *queue_time, before.queue_time);
    time(&mut sum.latency, *latency, before.latency);
}

impl Happened {
    /// In a law's terms. `interval` is in seconds, measured.
    pub fn observation(&self, interval: f64, allocated: Allocated, has_goal: bool) -> Observation {
        let Self { sum, queue_growth } = self;
        let Allocated { desired, ready, starting, standby, youngest } = allocated;
        let completed = number(sum.completed);
        let mean = |total: f64| (sum.completed > 0).then(|| total / completed);
        let service_time = mean(sum.service_time);
        let variation = service_time.filter(|mean| sum.completed > 1 && *mean > 0.0).map(|mean| {
            let squares = sum.service_time_squares / completed;
            (squares / (mean * mean) - 1.0).max(0.0)
        });
        Observation {
            interval,
            desired,
            ready,
            starting,
            standby,
            youngest,
            arrivals: sum.arrivals,
            completed: sum.completed,
            failed: sum.failed,
            queued: sum.queued,
            queue_growth: Some(*queue_growth),
            in_flight: sum.in_flight,
            service_time,
            queue_time: mean(sum.queue_time),
            latency: mean(sum.latency),
            // Little's law: the time that requests spent here, over the time that passed.
            concurrency: if interval > 0.0 { sum.latency / interval } else { 0.0 },
            utilization: (ready > 0 && interval > 0.0)
                .then(|| sum.service_time / (interval * f64::from(ready))),
            late: has_goal.then_some(sum.late),
            service_time_variation: variation,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
