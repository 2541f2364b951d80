//! How many allocations load asks for, and why. PURE: no clock, no chance, nothing but the arguments.
//!
//! [`decide`] is fed one [`Observation`] after the other. What a law has to remember between them is its [`Memory`], which
//! can be stored and read back, so that whoever leads next goes on where this one stopped. The laws are in
//! [`elasticsearch`] and [`slo`].

pub mod elasticsearch;
mod filter;
mod observation;
pub mod slo;

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::observation::{Checked, Flaw, Observation};
use crate::validated::AllocationBounds;

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub bounds: AllocationBounds,
    /// Idle time after which an endpoint whose minimum is zero goes to zero.
    pub scale_to_zero_time: Duration,
    pub law: Law,
}

/// The rule by which the number follows the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// Elasticsearch's adaptive allocations.
    Elasticsearch,
    /// As few allocations as keep a latency goal.
    Slo(slo::Goal),
}

impl Law {
    /// Time between two observations.
    pub fn interval(&self) -> Duration {
        match self {
            Self::Elasticsearch => elasticsearch::INTERVAL,
            Self::Slo(_) => slo::INTERVAL,
        }
    }
}

/// What a law remembers from one observation to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "camelCase")]
pub enum Memory {
    Elasticsearch(elasticsearch::Memory),
    Slo(slo::Memory),
}

impl Memory {
    /// Knows nothing yet.
    pub fn new(law: &Law) -> Self {
        match law {
            Law::Elasticsearch => Self::Elasticsearch(elasticsearch::Memory::default()),
            Law::Slo(_) => Self::Slo(slo::Memory::default()),
        }
    }

    /// After a time that nobody has watched.
    #[must_use]
    pub fn resumed(self) -> Self {
        match self {
            Self::Elasticsearch(_) => self,
            Self::Slo(memory) => Self::Slo(memory.resumed()),
        }
    }

    /// After a request has woken the endpoint: a slow start is not idleness.
    #[must_use]
    pub fn woken(self, now: Timestamp) -> Self {
        match self {
            Self::Elasticsearch(memory) => Self::Elasticsearch(memory.woken(now)),
            Self::Slo(memory) => Self::Slo(memory.woken(now)),
        }
    }
}

/// A number of allocations with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub replicas: u32,
    pub reason: Reason,
    /// The reason in a sentence, with its numbers: rate, time, load, bounds, cooldown left.
    pub message: String,
}

/// Why this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Observations are too few, or one cannot be: the number stays.
    NoData,
    /// The number is the right one.
    Steady,
    /// Load asks for more.
    HighLoad,
    /// Load asks for fewer.
    LowLoad,
    /// Another number would do, but it is too early: something starts, or has just started.
    Cooldown,
    /// Load asks for more than the maximum, which is there.
    AtMaximum,
    /// Nothing came for the time after which an endpoint goes to zero.
    Idle,
    /// The number was outside of its bounds.
    Bounds,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// The next number, and what to remember. A memory of another law is dropped: the endpoint's mode was changed.
pub fn decide(
    policy: &Policy,
    memory: Memory,
    observation: &Observation,
    now: Timestamp,
) -> (Memory, Decision) {
    let checked = match observation.check() {
        Ok(checked) => checked,
        Err(flaw) => {
            let message = format!("keeps {}: {flaw}", observation.desired);
            return (memory, Decision { replicas: observation.desired, reason: Reason::NoData, message });
        }
    };
    match (&policy.law, memory) {
        (Law::Elasticsearch, Memory::Elasticsearch(memory)) => {
            let (memory, decision) = elasticsearch::decide(policy, memory, checked, now);
            (Memory::Elasticsearch(memory), decision)
        }
        (Law::Slo(goal), Memory::Slo(memory)) => {
            let (memory, decision) = slo::decide(policy, goal, memory, checked, now);
            (Memory::Slo(memory), decision)
        }
        (law @ Law::Elasticsearch, Memory::Slo(_)) | (law @ Law::Slo(_), Memory::Elasticsearch(_)) => {
            decide(policy, Memory::new(law), observation, now)
        }
    }
}
