//! One endpoint that is observed again and again, as the cases of the specification write it down.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lexiscale_core::{
    scaling::{Decision, Law, Memory, Observation, Policy, Reason, decide, elasticsearch},
    validated::AllocationBounds,
};

pub(crate) const MINUTE: f64 = 60.0;

pub(crate) fn policy(minimum: u32, maximum: u32, scale_to_zero_time: Duration) -> Policy {
    let bounds = AllocationBounds::new(minimum, maximum).unwrap();
    Policy { bounds, scale_to_zero_time, law: Law::Elasticsearch }
}

pub(crate) struct Scaler {
    pub policy: Policy,
    pub memory: Memory,
    pub now: Timestamp,
    /// What the next observation is like, but for its counts.
    pub observation: Observation,
    pub latest: Option<Decision>,
}

impl Scaler {
    /// No minimum, no maximum, one allocation that serves, every ten seconds, first looked at already.
    pub(crate) fn new() -> Self {
        let mut scaler = Self::unseen();
        scaler.first_look(0);
        scaler
    }

    pub(crate) fn unseen() -> Self {
        let observation = Observation { interval: 10.0, desired: 1, ready: 1, ..Observation::default() };
        Self {
            policy: policy(0, 32, elasticsearch::SCALE_TO_ZERO_TIME),
            memory: Memory::new(&Law::Elasticsearch),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            observation,
            latest: None,
        }
    }

    pub(crate) fn bounds(mut self, minimum: u32, maximum: u32) -> Self {
        self.set_bounds(minimum, maximum);
        self
    }

    pub(crate) fn set_bounds(&mut self, minimum: u32, maximum: u32) {
        self.policy.bounds = AllocationBounds::new(minimum, maximum).unwrap();
    }

    pub(crate) fn interval(mut self, seconds: f64) -> Self {
        self.observation.interval = seconds;
        self
    }

    pub(crate) fn interval_of(&mut self, seconds: f64) {
        self.observation.interval = seconds;
    }

    pub(crate) fn idle_limit(mut self, seconds: u64) -> Self {
        self.policy.scale_to_zero_time = Duration::from_secs(seconds);
        self
    }

    /// As many allocations, all of which serve.
    pub(crate) fn at(mut self, allocations: u32) -> Self {
        self.set(allocations);
        self
    }

    pub(crate) fn set(&mut self, allocations: u32) {
        self.observation.desired = allocations;
        self.observation.ready = allocations;
    }

    pub(crate) fn first_look(&mut self, queued: u64) {
        self.observation.queued = queued;
        self.decide();
        self.observation.queued = 0;
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub(crate) fn wake(&mut self) {
        self.memory = self.memory.clone().woken(self.now);
        self.set(1);
    }

    /// One interval: successes, requests that wait, failures, mean seconds. The number that is decided, if it is another.
    pub(crate) fn step(
        &mut self,
        completed: u64,
        queued: u64,
        failed: u64,
        time: Option<f64>,
    ) -> Option<u32> {
        self.now += SignedDuration::try_from_secs_f64(self.observation.interval).unwrap();
        self.observation =
            Observation { completed, queued, failed, service_time: time, ..self.observation.clone() };
        let decision = self.decide();
        (decision.replicas != self.observation.desired).then_some(decision.replicas)
    }

    /// The same, and what is decided is done at once.
    pub(crate) fn follow(&mut self, completed: u64, queued: u64, failed: u64, time: Option<f64>) -> u32 {
        if let Some(replicas) = self.step(completed, queued, failed, time) {
            self.set(replicas);
        }
        self.observation.desired
    }

    pub(crate) fn decide(&mut self) -> Decision {
        let (memory, decision) = decide(&self.policy, self.memory.clone(), &self.observation, self.now);
        self.memory = memory;
        self.latest = Some(decision.clone());
        decision
    }

    pub(crate) fn reason(&self) -> Reason {
        self.latest.as_ref().unwrap().reason
    }

    pub(crate) fn message(&self) -> &str {
        &self.latest.as_ref().unwrap().message
    }
}
