use jiff::SignedDuration;
use lexiscale_wire::{LoadCounters, Times};

use super::*;
use crate::validated::AllocationBounds;

const INTERVAL: Duration = Duration::from_secs(10);
const IDLE: &str = r#"{"mode":"elasticsearch","idle":1000.0,"queued":0}"#;

/// One endpoint with one gateway, in a world where looks are ten seconds apart.
struct Life {
    policy: Policy,
    decision: Decision,
    follower: Follower,
    counters: LoadCounters,
    now: Timestamp,
    missing: Option<String>,
    doubtful: Option<String>,
    idleness: Result<(), String>,
}

fn life(minimum: u32, replicas: u32, memory: Option<&str>) -> Life {
    let policy = Policy {
        bounds: AllocationBounds::new(minimum, 10).unwrap(),
        scale_to_zero_time: Duration::from_mins(1),
        law: Law::Elasticsearch,
    };
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let decision = Decision {
        replicas,
        reason: Reason::Start,
        message: "m".to_owned(),
        time: now,
        wake_requested_at: None,
        memory: memory.map(str::to_owned),
    };
    let follower = Follower::resume(&policy, &decision);
    let (missing, doubtful, idleness) = (None, None, Ok(()));
    Life { policy, decision, follower, counters: LoadCounters::default(), now, missing, doubtful, idleness }
}

impl Life {
    /// Ten seconds with so many requests of 100 ms; the pass stores what is proposed.
    fn look(&mut self, requests: u64) {
        self.look_after(INTERVAL, requests);
    }

    fn look_after(&mut self, interval: Duration, requests: u64) {
        self.now += SignedDuration::try_from(interval).unwrap();
        for _ in 0..requests {
            let service = Duration::from_millis(100);
            self.counters.answered(Times { service, queue: Duration::ZERO, latency: service }, None);
        }
        let sample = Sample {
            source: "g".to_owned(),
            instance: "1".to_owned(),
            uptime: 0.0,
            counters: self.counters.clone(),
        };
        let replicas = self.decision.replicas;
        let seen = Seen {
            policy: &self.policy,
            decision: &self.decision,
            allocated: Allocated { desired: replicas, ready: replicas, ..Allocated::default() },
            sources: Sources {
                samples: vec![sample],
                missing: self.missing.clone(),
                doubtful: self.doubtful.clone(),
            },
            idleness: self.idleness.clone(),
        };
        let (_, proposal) = self.follower.follow(&seen, interval, self.now);
        if let Some(Proposal { replicas, reason, message, memory, .. }) = proposal {
            let before = self.decision.clone();
            self.decision = Decision { replicas, reason: reason.into(), message, memory, ..before };
        }
    }

    fn is(&self) -> (u32, &str) {
        (self.decision.replicas, self.decision.reason.as_str())
    }
}

#[test]
fn load_raises_the_number_and_the_memory_goes_with_it() {
    let mut life = life(1, 1, None);
    for _ in 0..5 {
        life.look(400);
    }
    assert!(life.decision.replicas >= 4, "{:?}", life.decision);
    let memory: Memory = serde_json::from_str(life.decision.memory.as_deref().unwrap()).unwrap();
    assert_ne!(memory, Memory::new(&Law::Elasticsearch));
}

/// An operator that starts anew knows nothing of the load, and an idle look at it is no reason to shrink.
#[test]
fn nothing_is_taken_away_before_enough_was_seen() {
    let mut life = life(1, 8, None);
    for look in 0..UNBROKEN {
        life.look(0);
        assert_eq!(life.decision.replicas, 8, "after look {look}");
    }
    life.look(0);
    assert!(life.decision.replicas < 8, "{:?}", life.decision);
}

#[test]
fn nothing_is_decided_while_a_gateway_is_silent_and_the_count_begins_anew_after_it() {
    let mut life = life(1, 8, None);
    for _ in 0..UNBROKEN {
        life.look(0);
    }
    life.missing = Some("gateway a does not answer".to_owned());
    for _ in 0..10 {
        life.look(10_000);
    }
    assert_eq!(life.is(), (8, "NoData"));
    assert!(life.decision.message.contains("gateway a"), "{}", life.decision.message);
    life.missing = None;
    for _ in 0..UNBROKEN {
        life.look(0);
        assert_eq!(life.decision.replicas, 8);
    }
    life.look(0);
    assert!(life.decision.replicas < 8, "{:?}", life.decision);
}

#[test]
fn a_worker_that_is_silent_keeps_what_there_is_and_lets_it_grow() {
    let mut life = life(1, 4, None);
    life.doubtful = Some("worker w does not answer".to_owned());
    for _ in 0..20 {
        life.look(0);
    }
    assert_eq!(life.is(), (4, "NoData"));
    assert!(life.decision.message.contains("worker w"), "{}", life.decision.message);
    for _ in 0..20 {
        life.look(800);
    }
    assert!(life.decision.replicas >= 8, "{:?}", life.decision);
}

#[test]
fn zero_needs_proof_and_the_objection_of_the_day_is_told() {
    let mut life = life(0, 1, Some(IDLE));
    for objection in ["gateway a had a request 3 s ago", "worker w does not answer"] {
        life.idleness = Err(objection.to_owned());
        for _ in 0..20 {
            life.look(0);
        }
        assert_eq!(life.is(), (1, "NoData"));
        assert!(life.decision.message.contains(objection), "{}", life.decision.message);
    }
    life.idleness = Ok(());
    for _ in 0..20 {
        life.look(0);
        assert_eq!(life.is(), (0, "Idle"));
    }
}

/// A write each ten seconds for each endpoint would be the load that a cluster of them has.
#[test]
fn steady_load_proposes_nothing() {
    let mut life = life(1, 1, None);
    for _ in 0..60 {
        life.look(400);
    }
    let before = life.decision.clone();
    for _ in 0..100 {
        life.look(400);
    }
    assert_eq!(life.decision, before);
}

/// Whoever looks why an overloaded endpoint does not grow finds it there, once, and its end too.
#[test]
fn a_maximum_that_stands_in_the_way_is_told_and_its_end_as_well() {
    let mut life = life(1, 10, None);
    for _ in 0..20 {
        life.look(2000);
    }
    assert_eq!(life.is(), (10, "AtMaximum"));
    assert!(life.decision.message.contains("the maximum is 10"), "{}", life.decision.message);
    let told = life.decision.clone();
    for _ in 0..20 {
        life.look(2100);
    }
    assert_eq!(life.decision, told, "other numbers are no news");
    for _ in 0..200 {
        life.look(860);
        if life.is() != (10, "AtMaximum") {
            break;
        }
    }
    assert_ne!(life.is().1, "AtMaximum");
}

#[test]
fn a_wake_up_starts_the_idle_time_anew() {
    let mut life = life(0, 1, Some(IDLE));
    life.look(0);
    life.decision.wake_requested_at = Some(life.now);
    life.decision.reason = Reason::WokenUp;
    for _ in 0..UNBROKEN {
        life.look(0);
        assert_eq!(life.decision.replicas, 1);
    }
}

#[test]
fn a_memory_that_cannot_be_read_is_none() {
    for broken in ["{", r#"{"mode":"unheard of"}"#] {
        assert_eq!(life(1, 3, Some(broken)).follower.memory, Memory::new(&Law::Elasticsearch));
    }
}

/// Requests that come by chance, at a rate near where a law changes its mind.
struct Chance(u64);

impl Chance {
    /// From 0 to 1 (`SplitMix64`).
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }

    /// As many as come on an average of `mean` (Knuth).
    fn poisson(&mut self, mean: f64) -> u64 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.share(), 0);
        while product > limit {
            product *= self.share();
            count += 1;
        }
        count
    }
}

/// Load that is steady to whoever looks at it for long is not steady from one half second to the next.
#[test]
fn an_hour_of_random_requests_is_few_writes() {
    // The last ones are near what the maximum can carry.
    for (rate, maximum) in [(5.0, 10), (12.5, 10), (17.0, 10), (26.0, 10), (18.0, 3), (22.0, 3), (28.0, 4)] {
        let mut life = life(1, 1, None);
        life.policy.bounds = AllocationBounds::new(1, maximum).unwrap();
        let goal = scaling::slo::Goal { latency: Duration::from_millis(500), share: 0.99 };
        life.policy.law = Law::Slo(goal);
        life.follower = Follower::resume(&life.policy, &life.decision);
        let (mut chance, mut writes) = (Chance(7), 0);
        let interval = scaling::slo::INTERVAL;
        for look in 0..2 * 7200 {
            let before = life.decision.clone();
            life.look_after(interval, chance.poisson(rate * interval.as_secs_f64()));
            // The first hour teaches the law what bursts there are.
            writes += u32::from(look >= 7200 && life.decision != before);
        }
        assert!(
            writes <= 12,
            "{writes} writes at {rate} requests/s of {maximum}, the latest {:?}",
            life.decision
        );
    }
}
