//! An endpoint whose requests flow evenly, with allocations that start in a fixed time.

use std::time::Duration;

use jiff::Timestamp;

use super::super::*;
use crate::{
    scaling::{Law, Memory as Stored, Observation, decide},
    validated::AllocationBounds,
};

/// Seconds of one request.
const SERVICE: f64 = 0.1;

/// 99 % within half a second, and asleep after a quarter of an hour.
pub(super) fn policy(minimum: u32, maximum: u32) -> Policy {
    Policy {
        bounds: AllocationBounds::new(minimum, maximum).unwrap(),
        scale_to_zero_time: Duration::from_mins(15),
        law: Law::Slo(Goal { latency: Duration::from_millis(500), share: 0.99 }),
    }
}

pub(super) struct Endpoint {
    policy: Policy,
    memory: Option<Stored>,
    /// Seconds that an allocation starts.
    start: f64,
    desired: u32,
    ready: u32,
    /// Seconds that are left to those that start.
    starting: Vec<f64>,
    /// Lent beside those that are ready.
    standby: u32,
    waiting: f64,
    late: Option<f64>,
    variation: Option<f64>,
    latest: Option<Decision>,
    /// Changes: up is true.
    changes: Vec<bool>,
}

impl Endpoint {
    pub(super) fn new(policy: Policy, start: f64) -> Self {
        let memory = Some(Stored::new(&policy.law));
        let least = policy.bounds.minimum().max(1);
        Self {
            policy,
            memory,
            start,
            desired: least,
            ready: least,
            starting: Vec::new(),
            standby: 0,
            waiting: 0.0,
            late: None,
            variation: None,
            latest: None,
            changes: Vec::new(),
        }
    }

    pub(super) fn desired(&self) -> u32 {
        self.desired
    }

    pub(super) fn ready(&self) -> u32 {
        self.ready
    }

    pub(super) fn waiting(&self) -> f64 {
        self.waiting
    }

    pub(super) fn latest(&self) -> &Decision {
        self.latest.as_ref().unwrap()
    }

    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// How often up followed down or down up.
    pub(super) fn count_turns(&self) -> usize {
        self.changes.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// From now on the share of late requests is counted.
    pub(super) fn count_late(&mut self, share: f64) {
        self.late = Some(share);
    }

    pub(super) fn vary(&mut self, variation: f64) {
        self.variation = Some(variation);
    }

    pub(super) fn stand_by(&mut self, count: u32) {
        self.standby = count;
    }

    pub(super) fn wait(&mut self, requests: u64) {
        self.waiting += as_number(requests);
    }

    /// By hand, and at once.
    pub(super) fn scale(&mut self, count: u32) {
        (self.desired, self.ready) = (count, count);
    }

    /// Seconds under so many requests a second.
    pub(super) fn run(&mut self, seconds: f64, rate: u32) {
        let interval = INTERVAL.as_secs_f64();
        let mut left = seconds;
        while left > 0.0 {
            self.pass(interval, f64::from(rate) * interval);
            left -= interval;
        }
    }

    fn pass(&mut self, interval: f64, arrivals: f64) {
        self.starting.iter_mut().for_each(|left| *left -= interval);
        let before = self.starting.len();
        self.starting.retain(|left| *left > 0.0);
        self.ready += u32::try_from(before - self.starting.len()).unwrap();
        let serving = f64::from(self.ready + self.standby);
        let room = serving * interval / SERVICE;
        let served = (self.waiting + arrivals).min(room).floor();
        self.waiting += arrivals - served;
        let wait = if serving > 0.0 { self.waiting * SERVICE / serving } else { 0.0 };
        let some = served > 0.0;
        let observation = Observation {
            interval,
            desired: self.desired,
            ready: self.ready,
            starting: u32::try_from(self.starting.len()).unwrap(),
            standby: self.standby,
            arrivals: whole(arrivals),
            completed: whole(served),
            queued: whole(self.waiting),
            service_time: some.then_some(SERVICE),
            queue_time: some.then_some(wait),
            late: self.late.map(|share| whole(served * share)),
            service_time_variation: self.variation.filter(|_| some),
            ..Observation::default()
        };
        let memory = self.memory.take().unwrap();
        let (memory, decision) = decide(&self.policy, memory, &observation, Timestamp::UNIX_EPOCH);
        self.memory = Some(memory);
        self.follow(decision.replicas);
        self.latest = Some(decision);
    }

    fn follow(&mut self, count: u32) {
        if count != self.desired {
            self.changes.push(count > self.desired);
        }
        self.desired = count;
        let wanted = usize::try_from(count.saturating_sub(self.ready)).unwrap();
        self.starting.resize(wanted, self.start);
        self.ready = self.ready.min(count);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn whole(number: f64) -> u64 {
    number as u64
}
