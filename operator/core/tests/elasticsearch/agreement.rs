//! Two implementations, written apart, decide the same about a hundred thousand lives of endpoints that nobody has thought of.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lexiscale_core::scaling::{Law, Memory, Observation, Reason, decide};

use crate::{
    chance::Chance,
    reference::{Cycle, Deployment},
    scaler::policy,
};

const LIVES: u64 = 100_000;

/// How often each thing happened, so that a comparison of nothing with nothing is noticed.
#[derive(Debug, Default)]
struct Seen {
    up: u32,
    down: u32,
    to_zero: u32,
    bounds: u32,
    cooldown: u32,
    not_ready: u32,
    wake_ups: u32,
    at_maximum: u32,
}

/// An endpoint, as both are shown it.
struct Life {
    chance: Chance,
    start: Timestamp,
    microseconds: i64,
    desired: u32,
    ready: u32,
    min: Option<u32>,
    max: Option<u32>,
    scale_to_zero_time: u64,
    /// Requests per second, and seconds of each.
    rate: f64,
    time: f64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let rate = if chance.happens(0.1) { 0.0 } else { 10_f64.powf(chance.between(-2.0, 2.5)) };
        let time = 10_f64.powf(chance.between(-3.0, 1.0));
        let desired = chance.one_of(&[0, 1, 1, 1, 2, 5, 40]);
        let scale_to_zero_time = chance.one_of(&[60, 900, 86_400]);
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let (ready, microseconds, min, max) = (desired, 0, None, None);
        let mut life =
            Self { chance, start, microseconds, desired, ready, min, max, scale_to_zero_time, rate, time };
        life.change_bounds();
        life
    }

    fn length(&mut self) -> u64 {
        if self.chance.happens(0.03) { self.chance.below(150) } else { 3 + self.chance.below(10) }
    }

    fn change_bounds(&mut self) {
        self.min = self.chance.one_of(&[None, None, Some(0), Some(1), Some(2), Some(7), Some(40)]);
        let least = self.min.unwrap_or(0).max(1);
        let more = self.chance.small(30);
        self.max = self.chance.happens(0.5).then_some(least + more);
    }

    fn now(&self) -> Timestamp {
        self.start + SignedDuration::from_micros(self.microseconds)
    }

    /// Load drifts, jumps, stops and comes again.
    fn drift(&mut self) {
        let chance = &mut self.chance;
        self.rate = match chance.below(20) {
            0 => 0.0,
            1 => 10_f64.powf(chance.between(-2.0, 3.0)),
            2..=8 => self.rate * chance.between(0.7, 1.4),
            _ => self.rate,
        };
        if chance.happens(0.1) {
            self.time *= chance.between(0.3, 3.0);
        }
        if chance.happens(0.03) {
            self.change_bounds();
        }
    }

    /// Mostly the usual time, sometimes far more: the cooldown and the idle time have to pass.
    fn interval(&mut self) -> f64 {
        let chance = &mut self.chance;
        let seconds = match chance.below(12) {
            0 => chance.between(0.002, 1.0),
            1 => chance.between(60.0, 1000.0),
            2 => 100.0,
            3 => 300.0,
            _ => chance.between(9.9, 10.3),
        };
        // What a clock can tell apart.
        let microseconds = (seconds * 1e6).round();
        self.microseconds += whole(microseconds).cast_signed();
        microseconds / 1e6
    }

    fn observe(&mut self) -> Observation {
        self.drift();
        let interval = self.interval();
        let chance = &mut self.chance;
        let requests = whole((self.rate * interval * chance.between(0.5, 1.5)).round());
        let completed = if chance.happens(0.1) { requests / 2 } else { requests };
        let queued = if chance.happens(0.3) { chance.below(1 + requests) } else { 0 };
        let failed = if chance.happens(0.05) { chance.below(5) } else { 0 };
        let is_measured = completed > 0 && !chance.happens(0.05);
        let service_time = is_measured.then(|| self.time * chance.between(0.8, 1.25));
        let queue_growth = chance.happens(0.2).then(|| chance.below(1 + queued));
        self.ready = match chance.below(10) {
            0 => 0,
            1 => chance.small(self.desired + 1),
            _ => self.desired,
        };
        let starting = u32::from(chance.happens(0.05));
        // Of no concern to this law.
        let standby = chance.small(3);
        let youngest = chance.happens(0.2).then(|| chance.one_of(&[0.0, 10.5, 299.75, 300.0, 5000.0]));
        Observation {
            interval,
            desired: self.desired,
            ready: self.ready,
            starting,
            standby,
            youngest,
            arrivals: requests,
            completed,
            failed,
            queued,
            queue_growth,
            service_time,
            ..Observation::default()
        }
    }

    fn cycle(&self, observation: &Observation) -> Cycle {
        Cycle {
            now: self.microseconds,
            dt: observation.interval,
            number_of_allocations: observation.desired,
            running: observation.ready,
            starting: observation.starting,
            seconds_since_latest_start: observation.youngest,
            successes: observation.completed,
            pending: observation.queued,
            pending_growth: observation.queue_growth,
            failures: observation.failed,
            mean_time: observation.service_time.unwrap_or(f64::NAN),
            min: self.min,
            max: self.max,
            scale_to_zero_time: self.scale_to_zero_time as f64,
        }
    }

    /// What the endpoint's validation makes of bounds that are not set.
    fn policy(&self) -> lexiscale_core::scaling::Policy {
        let minimum = self.min.unwrap_or(0);
        let maximum = self.max.unwrap_or(32.max(minimum));
        policy(minimum, maximum, Duration::from_secs(self.scale_to_zero_time))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, small, and not below zero"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

fn compare(number: u64, seen: &mut Seen) {
    let mut life = Life::new(number);
    let mut memory = Memory::new(&Law::Elasticsearch);
    let mut deployment = Deployment::default();
    for step in 0..life.length() {
        let observation = life.observe();
        let decision;
        (memory, decision) = decide(&life.policy(), memory, &observation, life.now());
        let expected = deployment.cycle(&life.cycle(&observation)).unwrap_or(observation.desired);
        assert_eq!(
            decision.replicas, expected,
            "life {number}, step {step}: {decision:?} of {observation:?}"
        );
        match decision.reason {
            Reason::Cooldown if observation.ready == 0 => seen.not_ready += 1,
            Reason::Cooldown => seen.cooldown += 1,
            Reason::Bounds => seen.bounds += 1,
            Reason::AtMaximum => seen.at_maximum += 1,
            Reason::NoData | Reason::Steady | Reason::HighLoad | Reason::LowLoad | Reason::Idle => {}
        }
        seen.up += u32::from(expected > life.desired);
        seen.down += u32::from(expected < life.desired);
        seen.to_zero += u32::from(expected == 0 && life.desired > 0);
        life.desired = match life.chance.below(30) {
            // Somebody else changes it.
            0 => life.chance.small(45),
            // The update fails.
            1 => life.desired,
            _ => expected,
        };
        if life.desired == 0 && life.chance.happens(0.4) {
            seen.wake_ups += 1;
            memory = memory.woken(life.now());
            deployment.wake_up(life.microseconds);
            life.desired = 1;
        }
    }
}

#[test]
fn a_second_implementation_decides_the_same_in_a_hundred_thousand_lives() {
    let mut seen = Seen::default();
    for number in 0..LIVES {
        compare(number, &mut seen);
    }
    let Seen { up, down, to_zero, bounds, cooldown, not_ready, wake_ups, at_maximum } = seen;
    eprintln!("{seen:?}");
    for count in [up, down, to_zero, bounds, cooldown, not_ready, wake_ups, at_maximum] {
        assert!(count > 1000, "what was compared was too tame: {seen:?}");
    }
}
