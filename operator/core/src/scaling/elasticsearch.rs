//! Elasticsearch's adaptive allocations, decision for decision. PURE.
//!
//! Specification of the original: section 5. The load is the request rate times the inference time, each
//! followed by a filter; the number grows while the lower bound of the load is above 0.9 of it, and shrinks while the upper
//! bound is below 0.85 of one less.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Checked, Decision, Policy, Reason,
    filter::{Estimate, Jumps},
    observation::as_number,
};

/// Time between two decisions.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Time after a scale-up during which nothing is taken away.
pub const COOLDOWN: Duration = Duration::from_mins(5);

/// Idle time after which an endpoint goes to zero, unless its owner says otherwise: current releases' default.
pub const SCALE_TO_ZERO_TIME: Duration = Duration::from_hours(24);

const SMOOTHING: f64 = 100.0;
const GROWS_ABOVE: f64 = 0.9;
const SHRINKS_BELOW: f64 = 0.85;

/// Seconds of inference that are assumed of a request as long as none was measured.
const UNKNOWN_TIME: f64 = 1.0;

/// What is known of an endpoint's load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Requests per second.
    rate: Option<Estimate>,
    /// Seconds of inference per request.
    time: Option<Estimate>,
    /// Whether the latest decision changed the number, which may change the time.
    changed: bool,
    /// Seconds since the latest request.
    idle: f64,
    /// Requests that waited at the previous observation.
    queued: Option<u64>,
    last_scale_up: Option<Timestamp>,
}

impl Memory {
    pub(super) fn woken(self, now: Timestamp) -> Self {
        Self { idle: 0.0, last_scale_up: Some(now), ..self }
    }
}

/// One interval in the law's own terms.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    seconds: f64,
    /// Answers, growth of what waits, and failures.
    requests: u64,
    inference_time: Option<f64>,
}

/// Lower and upper bound of the load, in allocations.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Load {
    lower: f64,
    upper: f64,
}

pub(super) fn decide(
    policy: &Policy,
    mut memory: Memory,
    observed: Checked<'_>,
    now: Timestamp,
) -> (Memory, Decision) {
    let current = observed.desired;
    // The first look has nothing to compare with.
    let Some(before) = memory.queued.replace(observed.queued) else {
        return (
            memory,
            keep(current, Reason::NoData, "has seen the endpoint for the first time".to_owned()),
        );
    };
    if current == 0 {
        return (memory, keep(0, Reason::Idle, "sleeps until its next request".to_owned()));
    }
    let requests = observed.completed + observed.queued.saturating_sub(before) + observed.failed;
    let measured = Measured { seconds: observed.interval, requests, inference_time: observed.service_time };
    memory.learn(measured);
    let proposed = memory.propose(policy, current);
    // The filter is told of what was proposed, carried out or not, as in the original.
    memory.changed = proposed.replicas != current;
    let decision = apply(proposed, current, observed, memory.last_scale_up, now);
    if decision.replicas > current {
        memory.last_scale_up = Some(now);
    }
    (memory, decision)
}

impl Memory {
    fn learn(&mut self, measured: Measured) {
        let Measured { seconds, requests, inference_time } = measured;
        let count = as_number(requests);
        self.idle = if requests > 0 { 0.0 } else { self.idle + seconds };
        let rate = count / seconds;
        let expected = self.rate.map_or(rate, |estimate| estimate.value);
        let variance = (expected * seconds).max(1.0) / (seconds * seconds);
        self.rate = Some(follow(self.rate, rate, variance, Jumps::Detected, false));
        if let Some(time) = inference_time.filter(|_| requests > 0) {
            let expected = self.time.map_or(time, |estimate| estimate.value);
            let variance = expected * expected / count;
            self.time = Some(follow(self.time, time, variance, Jumps::Told, self.changed));
        }
        self.changed = false;
    }

    fn load(&self) -> Option<Load> {
        let rate = self.rate?;
        let (lower, upper) =
            self.time.map_or((UNKNOWN_TIME, UNKNOWN_TIME), |time| (time.lower(), time.upper()));
        Some(Load { lower: rate.lower().max(0.0) * lower.max(0.0), upper: rate.upper() * upper })
    }

    fn propose(&self, policy: &Policy, current: u32) -> Decision {
        let Some(load) = self.load() else {
            return keep(current, Reason::NoData, "knows no request rate yet".to_owned());
        };
        let (minimum, maximum) = (policy.bounds.minimum(), policy.bounds.maximum().get());
        let needed = needed(load, current);
        let replicas = needed.min(maximum).max(minimum);
        let numbers = self.numbers(load, policy);
        let limit = policy.scale_to_zero_time.as_secs_f64();
        if minimum == 0 && self.idle > limit {
            let message =
                format!("no request for {:.0} s, more than scaleToZeroTime of {limit:.0} s", self.idle);
            return Decision { replicas: 0, reason: Reason::Idle, message };
        }
        let reason = match replicas {
            _ if replicas == current => Reason::Steady,
            _ if replicas != needed && (current < minimum || current > maximum) => Reason::Bounds,
            _ if replicas > current => Reason::HighLoad,
            _ => Reason::LowLoad,
        };
        Decision { replicas, reason, message: format!("needs {needed}: {numbers}") }
    }

    fn numbers(&self, load: Load, policy: &Policy) -> String {
        let rate = self.rate.map_or(0.0, |rate| rate.value);
        let time = self.time.map_or_else(
            || format!("{UNKNOWN_TIME} s assumed for each"),
            |time| format!("{:.1} ms each", time.value * 1000.0),
        );
        let Load { lower, upper } = load;
        let (minimum, maximum) = (policy.bounds.minimum(), policy.bounds.maximum());
        format!("{rate:.2} requests/s, {time}, load {lower:.2} to {upper:.2}, bounds {minimum} to {maximum}")
    }
}

fn follow(before: Option<Estimate>, measured: f64, variance: f64, jumps: Jumps, told: bool) -> Estimate {
    before.map_or_else(
        || Estimate::first(measured, variance),
        |estimate| estimate.then(measured, variance, SMOOTHING, jumps, told),
    )
}

/// In steps of one, as in the original, but bounded by what any number can need: a load of billions is one step.
fn needed(load: Load, current: u32) -> u32 {
    let mut replicas = current;
    while load.lower / f64::from(replicas) > GROWS_ABOVE && replicas < MOST {
        replicas += 1;
    }
    while replicas > 1 && load.upper / f64::from(replicas - 1) < SHRINKS_BELOW {
        replicas -= 1;
    }
    replicas
}

/// Far above every maximum that a cluster can run.
const MOST: u32 = 10_000;

/// Whether the proposal may be carried out now.
fn apply(
    proposed: Decision,
    current: u32,
    observed: Checked<'_>,
    last_scale_up: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    if proposed.replicas == current {
        return proposed;
    }
    let Decision { replicas, message, .. } = &proposed;
    if observed.ready == 0 {
        return keep(
            current,
            Reason::Cooldown,
            format!("would be {replicas}, but no allocation is ready; {message}"),
        );
    }
    if *replicas > current {
        return proposed;
    }
    if observed.starting > 0 {
        let starting = observed.starting;
        return keep(
            current,
            Reason::Cooldown,
            format!("would be {replicas}, but {starting} are starting; {message}"),
        );
    }
    let left = last_scale_up.map(|time| cooldown_left(time, now)).unwrap_or_default();
    if left.is_positive() {
        let seconds = left.as_secs_f64();
        let held = format!("would be {replicas}, but {seconds:.0} s of cooldown are left; {message}");
        return keep(current, Reason::Cooldown, held);
    }
    proposed
}

fn cooldown_left(last_scale_up: Timestamp, now: Timestamp) -> SignedDuration {
    SignedDuration::try_from(COOLDOWN).unwrap_or_default() - now.duration_since(last_scale_up)
}

fn keep(replicas: u32, reason: Reason, message: String) -> Decision {
    Decision { replicas, reason, message }
}
