//! Elasticsearch's adaptive allocations, decision for decision. PURE.
//!
//! Specification of the original: section 5. The load is the request rate times the inference time, each
//! followed by a filter; the number grows while the lower bound of the load is above 0.9 of it, and shrinks while the upper
//! bound is below 0.85 of one less.

mod held;
mod needed;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::needed::{Load, needed};
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

/// Seconds of inference that are assumed of a request as long as none was measured.
const UNKNOWN_TIME: f64 = 1.0;

/// Nothing is inferred in less than a nanosecond: such a time was not measured, and its square would be no variance.
const SHORTEST_TIME: f64 = 1e-9;

/// What is known of an endpoint's load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Requests per second.
    rate: Option<Estimate>,
    /// Seconds of inference per request.
    time: Option<Estimate>,
    /// Whether the latest evaluation asked for another number, which may change the time.
    changed: bool,
    /// Seconds since the latest request.
    idle: f64,
    /// Requests that waited at the previous evaluation.
    queued: Option<u64>,
    /// A wake-up counts as one.
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

pub(super) fn decide(
    policy: &Policy,
    mut memory: Memory,
    observed: Checked<'_>,
    now: Timestamp,
) -> (Memory, Decision) {
    let current = observed.desired;
    // There is nothing to measure at zero, and what was measured before stays: the original looks at allocations.
    if current == 0 {
        return (memory, keep(0, Reason::Idle, "sleeps until its next request".to_owned()));
    }
    let Some(before) = memory.queued.replace(observed.queued) else {
        let message = "has seen the endpoint for the first time".to_owned();
        return (memory, keep(current, Reason::NoData, message));
    };
    let grown = observed.queue_growth.unwrap_or(observed.queued.saturating_sub(before));
    let requests = observed.completed + grown + observed.failed;
    memory.learn(Measured { seconds: observed.interval, requests, inference_time: observed.service_time });
    let proposed = memory.propose(policy, current);
    // The filter is told of what was proposed, carried out or not, as in the original.
    memory.changed = proposed.replicas != current;
    let decision = held::unless_held(proposed, observed, memory.last_scale_up, now);
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
        if let Some(time) = inference_time.filter(|time| requests > 0 && *time >= SHORTEST_TIME) {
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
        let limit = policy.scale_to_zero_time.as_secs_f64();
        if minimum == 0 && self.idle > limit {
            let message =
                format!("no request for {:.0} s, more than scaleToZeroTime of {limit:.0} s", self.idle);
            return Decision { replicas: 0, reason: Reason::Idle, message };
        }
        let needed = needed(load, current);
        let replicas = needed.clamp(minimum, maximum);
        let numbers = self.numbers(load, policy);
        let reason = match replicas {
            _ if replicas == current && needed > maximum => Reason::AtMaximum,
            _ if replicas == current => Reason::Steady,
            _ if replicas != needed && (current < minimum || current > maximum) => Reason::Bounds,
            _ if replicas > current => Reason::HighLoad,
            _ => Reason::LowLoad,
        };
        let message = match reason {
            Reason::AtMaximum => {
                format!("would be {needed}, but the maximum is {maximum}; needs {needed}: {numbers}")
            }
            Reason::NoData
            | Reason::Steady
            | Reason::HighLoad
            | Reason::LowLoad
            | Reason::Cooldown
            | Reason::Idle
            | Reason::Bounds => format!("needs {needed}: {numbers}"),
        };
        Decision { replicas, reason, message }
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

fn keep(replicas: u32, reason: Reason, message: String) -> Decision {
    Decision { replicas, reason, message }
}
