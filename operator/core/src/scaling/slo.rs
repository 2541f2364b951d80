//! As few allocations as keep a latency goal. PURE.
//!
//! The number is the cheapest one at which a queueing model of the present load (`queueing`) and the memory of bursts
//! (`trials`) together leave no more late requests than are allowed. How many that are follows how many were late (`budget`);
//! what is spare against bursts follows how long a start takes (`starts`). Growing is immediate, shrinking waits (`hold`).
//! Decision 015 has the reasons.

mod budget;
mod demand;
mod hold;
mod kept;
mod need;
mod queueing;
mod starts;
#[cfg(test)]
mod tests;
mod trials;
mod work;

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::{
    budget::Budget,
    demand::{Demand, Rates},
    hold::Hold,
    kept::Kept,
    need::{Need, Situation},
    starts::Starts,
    trials::{Arrived, Trials},
    work::Work,
};
use super::{Checked, Decision, Policy, Reason, observation::as_number};

/// Time between two decisions. A burst that meets standby allocations is late for as long as nobody looks.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// The latency that a share of the requests is to keep, waiting included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    pub latency: Duration,
    /// Share of the requests, above 0 and below 1.
    pub share: f64,
}

/// What is known of an endpoint's load and of its bursts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    work: Work,
    demand: Demand,
    starts: Starts,
    budget: Budget,
    trials: Trials,
    hold: Hold,
    /// Seconds since the latest request.
    idle: Kept,
}

impl Memory {
    /// What began to serve meanwhile has not started within one interval.
    pub(super) fn resumed(self) -> Self {
        Self { starts: self.starts.resumed(), ..self }
    }

    pub(super) fn woken(self, _now: Timestamp) -> Self {
        Self { idle: Kept::default(), ..self }
    }
}

/// Time is told by the observations' intervals, so that no gap between two leaders looks like load or idleness.
pub(super) fn decide(
    policy: &Policy,
    goal: &Goal,
    mut memory: Memory,
    observed: Checked<'_>,
    _now: Timestamp,
) -> (Memory, Decision) {
    let (minimum, maximum) = (policy.bounds.minimum(), policy.bounds.maximum().get());
    let current = observed.desired;
    let figures = memory.learn(goal, maximum, observed);
    if minimum == 0
        && let Some(decision) = memory.sleep(policy, observed)
    {
        memory.hold = Hold::default();
        return (memory, decision);
    }
    let Some(figures) = figures else {
        let replicas = current.clamp(minimum.max(1), maximum);
        let reason = if replicas == current { Reason::NoData } else { Reason::Bounds };
        let message = format!("keeps {replicas}: no request was measured yet, bounds {minimum} to {maximum}");
        return (memory, Decision { replicas, reason, message });
    };
    let Need { up, down, short, .. } = figures.need;
    let wanted = memory.hold.next(observed.interval, current, up, down);
    let replicas = wanted.clamp(minimum.max(1), maximum);
    let reason = match replicas {
        _ if !(minimum..=maximum).contains(&current) => Reason::Bounds,
        _ if replicas > current => Reason::HighLoad,
        _ if replicas < current => Reason::LowLoad,
        _ if short && current == maximum => Reason::AtMaximum,
        _ if down < current && down >= minimum && current > minimum.max(1) => Reason::Cooldown,
        _ => Reason::Steady,
    };
    let held = memory.hold.left().filter(|_| reason == Reason::Cooldown);
    let limited = reason == Reason::AtMaximum;
    let message = Told { figures: &figures, policy, goal, held, limited }.to_string();
    (memory, Decision { replicas, reason, message })
}

/// The numbers of one decision.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// Seconds of one request.
    mean: f64,
    rates: Rates,
    /// Seconds that a start takes.
    start: f64,
    /// Share of the requests that were late.
    late: f64,
    /// Share of late requests that is planned with.
    allowed: f64,
    waiting: u64,
    need: Need,
}

impl Memory {
    fn learn(&mut self, goal: &Goal, maximum: u32, observed: Checked<'_>) -> Option<Figures> {
        let interval = observed.interval;
        let arrivals = as_number(observed.arrivals);
        let busy = [observed.arrivals, observed.completed, observed.queued, observed.in_flight];
        self.idle.fade(1.0, interval);
        if busy.iter().any(|count| *count > 0) {
            self.idle = Kept::default();
        }
        self.work.learn(observed);
        self.starts.learn(interval, observed.ready, observed.starting);
        let start = self.starts.expected();
        let service = self.work.service();
        let rates = self.demand.learn(interval, arrivals, start, service.map_or(0.0, |service| service.mean));
        let service = service?;

        let latency = goal.latency.as_secs_f64();
        let patience = service.patience(latency);
        let finished = as_number(observed.completed + observed.failed);
        self.budget.spend(interval, finished, late(observed, patience));
        let rescue = start + interval / 2.0;
        let work = arrivals * service.mean;
        let standby = f64::from(observed.standby);
        self.trials.learn(
            maximum,
            &Arrived { seconds: interval, requests: arrivals, work, patience, standby, rescue },
        );

        let tolerated = 1.0 - goal.share;
        let allowed = tolerated * self.budget.margin(tolerated);
        let situation = Situation { service, rates, patience, start, allowed, maximum, observed };
        Some(Figures {
            mean: service.mean,
            rates,
            start,
            late: self.budget.late(),
            allowed,
            waiting: observed.queued,
            need: situation.need(goal, &self.trials),
        })
    }

    /// To zero, and at zero.
    fn sleep(&self, policy: &Policy, observed: Checked<'_>) -> Option<Decision> {
        let (idle, limit) = (self.idle.get(), policy.scale_to_zero_time.as_secs_f64());
        if observed.desired == 0 {
            let (replicas, reason, message) = match observed.queued {
                0 => (0, Reason::Idle, "sleeps until its next request".to_owned()),
                waiting => (1, Reason::HighLoad, format!("wakes: {waiting} requests wait")),
            };
            return Some(Decision { replicas, reason, message });
        }
        (idle > limit).then(|| {
            let message = format!("no request for {idle:.0} s, more than scaleToZeroTime of {limit:.0} s");
            Decision { replicas: 0, reason: Reason::Idle, message }
        })
    }
}

/// Requests that missed the goal. Where they are not counted, by the mean wait, taken as exponential.
fn late(observed: Checked<'_>, patience: f64) -> f64 {
    if let Some(late) = observed.late {
        return as_number(late);
    }
    let failed = as_number(observed.failed);
    let wait = observed.queue_time.unwrap_or_default();
    let share = if wait > 0.0 { (-patience / wait).exp() } else { 0.0 };
    as_number(observed.completed) * share + failed
}

/// A decision in words.
struct Told<'a> {
    figures: &'a Figures,
    policy: &'a Policy,
    goal: &'a Goal,
    /// Seconds until fewer are taken.
    held: Option<f64>,
    /// Whether more would be taken if there might be more.
    limited: bool,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figures, policy, goal, held, limited } = self;
        let Figures { mean, rates, start, late, allowed, waiting, need } = figures;
        let Need { up, down, backlog, short: _ } = need;
        let Rates { present, sustained, ahead, .. } = rates;
        let expected = ahead.max(*sustained);
        if *limited {
            write!(formatter, "would be more, but the maximum is {}; ", policy.bounds.maximum())?;
        }
        write!(formatter, "needs {up}")?;
        if let Some(seconds) = held {
            write!(formatter, ", takes those above {down} away in {seconds:.0} s at the earliest")?;
        }
        write!(
            formatter,
            ": {present:.2} requests/s, {sustained:.2} sustained and {expected:.2} expected, {:.1} ms each, load {:.2}, \
             goal {:.0} ms for {:.4} %, late {:.2} %, plans with {:.2} %, {waiting} waiting need {backlog}, a start takes \
             {start:.1} s, bounds {} to {}",
            mean * 1000.0,
            expected * mean,
            goal.latency.as_secs_f64() * 1000.0,
            goal.share * 100.0,
            late * 100.0,
            allowed * 100.0,
            policy.bounds.minimum(),
            policy.bounds.maximum(),
        )
    }
}
