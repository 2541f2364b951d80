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
    pub counters: LoadCounters,
}

/// What every source said before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baselines(BTreeMap<String, (String, LoadCounters)>);

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
    /// Seconds since the latest of them began to serve.
    pub youngest: Option<f64>,
}

impl Baselines {
    /// Compares with the look before. A source that is new, or has begun anew, is only taken note of; one that is gone is
    /// forgotten.
    pub fn advance(&mut self, samples: impl IntoIterator<Item = Sample>) -> Happened {
        let mut sum = LoadCounters::default();
        let mut queue_growth: u64 = 0;
        let mut now = BTreeMap::new();
        for Sample { source, instance, counters } in samples {
            let before = self.0.get(&source).filter(|(known, _)| *known == instance);
            if let Some((_, before)) = before {
                add_growth(&mut sum, &counters, before);
                queue_growth = queue_growth.saturating_add(counters.queued.saturating_sub(before.queued));
            }
            sum.queued = sum.queued.saturating_add(counters.queued);
            sum.in_flight = sum.in_flight.saturating_add(counters.in_flight);
            now.insert(source, (instance, counters));
        }
        self.0 = now;
        Happened { sum, queue_growth }
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
        let Allocated { desired, ready, starting, youngest } = allocated;
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
mod tests {
    use super::*;

    fn sample(source: &str, instance: &str, counters: LoadCounters) -> Sample {
        Sample { source: source.to_owned(), instance: instance.to_owned(), counters }
    }

    fn counted(completed: u64, service_time: f64) -> LoadCounters {
        LoadCounters {
            arrivals: completed + 1,
            completed,
            service_time,
            queued: 1,
            ..LoadCounters::default()
        }
    }

    fn completed(happened: &Happened) -> (u64, f64) {
        (happened.sum.completed, happened.sum.service_time)
    }

    #[test]
    fn what_happened_is_the_sum_of_what_grew() {
        let mut baselines = Baselines::default();
        let first = [sample("a", "1", counted(10, 1.0)), sample("b", "1", counted(100, 10.0))];
        assert_eq!(
            completed(&baselines.advance(first)),
            (0, 0.0),
            "what was before the first look is no load"
        );
        let second = [sample("a", "1", counted(13, 1.5)), sample("b", "1", counted(104, 12.0))];
        let happened = baselines.advance(second);
        assert_eq!(completed(&happened), (7, 2.5));
        assert_eq!(happened.sum.queued, 2, "what waits is what waits now");
    }

    /// A gateway that restarts counts from zero. Taken for a difference, that would be a load of nothing, or of billions.
    #[test]
    fn a_source_that_begins_anew_is_a_new_baseline() {
        let mut baselines = Baselines::default();
        baselines.advance([sample("a", "1", counted(1000, 100.0))]);
        assert_eq!(completed(&baselines.advance([sample("a", "2", counted(5, 0.5))])), (0, 0.0));
        assert_eq!(completed(&baselines.advance([sample("a", "2", counted(8, 0.75))])), (3, 0.25));
    }

    #[test]
    fn a_counter_that_goes_back_counts_nothing() {
        let mut baselines = Baselines::default();
        baselines.advance([sample("a", "1", counted(1000, 100.0))]);
        assert_eq!(completed(&baselines.advance([sample("a", "1", counted(5, 0.5))])), (0, 0.0));
    }

    #[test]
    fn a_source_that_was_away_is_compared_with_nothing() {
        let mut baselines = Baselines::default();
        baselines.advance([sample("a", "1", counted(10, 1.0))]);
        baselines.advance([]);
        assert_eq!(completed(&baselines.advance([sample("a", "1", counted(1000, 100.0))])), (0, 0.0));
    }

    #[test]
    fn means_and_spread_are_of_the_interval() {
        let mut baselines = Baselines::default();
        let mut counters = LoadCounters::default();
        baselines.advance([sample("a", "1", counters.clone())]);
        for milliseconds in [100, 300] {
            let service = std::time::Duration::from_millis(milliseconds);
            let times = lexiscale_wire::Times { service, queue: service, latency: service * 2 };
            counters.answered(times, None);
        }
        let happened = baselines.advance([sample("a", "1", counters)]);
        let allocated = Allocated { desired: 2, ready: 2, ..Allocated::default() };
        let observed = happened.observation(10.0, allocated, false);
        let close = |value: Option<f64>, expected: f64| {
            assert!(
                value.is_some_and(|value| (value - expected).abs() < 1e-9),
                "{value:?} is not {expected}"
            );
        };
        close(observed.service_time, 0.2);
        close(observed.latency, 0.4);
        close(Some(observed.concurrency), 0.08);
        close(observed.utilization, 0.02);
        close(observed.service_time_variation, 0.25);
        assert_eq!(observed.late, None);
        assert!(observed.check().is_ok());
    }

    #[test]
    fn nothing_that_happened_has_no_mean() {
        let observed = Happened::default().observation(10.0, Allocated::default(), true);
        let means = [observed.service_time, observed.latency, observed.utilization];
        assert_eq!((means, observed.late), ([None; 3], Some(0)));
        assert!(observed.check().is_ok());
    }
}
