//! What holds whatever is observed.

use jiff::{SignedDuration, Timestamp};
use lexiscale_core::scaling::{Decision, Law, Memory, Observation, Policy, Reason, decide};
use proptest::prelude::*;

use crate::scaler::policy;

/// Usual, at the edges, absurd.
fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..100.0_f64,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, -0.0, 1e-300, 1e-9, 1e-3, 3e7, 1e300, f64::NAN, f64::INFINITY]),
    ]
}

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..2000_u64, 1 => any::<u64>(), 1 => Just(1_000_000_000_000)]
}

prop_compose! {
    fn observations()(
        interval in numbers(), desired in prop_oneof![9 => 0..50_u32, 1 => any::<u32>()], ready in 0..50_u32,
        starting in prop_oneof![3 => Just(0), 1 => 1..3_u32], youngest in prop::option::weighted(0.2, numbers()),
        completed in counts(), failed in counts(), queued in counts(),
        queue_growth in prop::option::weighted(0.2, counts()), service_time in prop::option::of(numbers()),
    ) -> Observation {
        Observation {
            interval, desired, ready, starting, youngest, completed, failed, queued, queue_growth, service_time,
            ..Observation::default()
        }
    }
}

prop_compose! {
    fn policies()(minimum in 0..20_u32, more in 0..20_u32, idle in 60..90_000_u64) -> Policy {
        policy(minimum, (minimum + more).max(1), std::time::Duration::from_secs(idle))
    }
}

/// One after the other; what is decided is always done.
struct Life {
    memory: Memory,
    now: Timestamp,
}

impl Life {
    fn new() -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        Self { memory: Memory::new(&Law::Elasticsearch), now }
    }

    fn step(&mut self, policy: &Policy, observation: &Observation) -> Decision {
        self.now += SignedDuration::from_secs(10);
        let (memory, decision) = decide(policy, self.memory.clone(), observation, self.now);
        self.memory = memory;
        decision
    }
}

fn is_usual(observation: &Observation) -> bool {
    let is_time = |seconds: Option<f64>| seconds.is_none_or(|seconds| (0.0..=3e7).contains(&seconds));
    let is_count = |count: u64| count <= 1_000_000_000_000;
    (1e-3..=3e7).contains(&observation.interval)
        && is_time(observation.service_time)
        && is_time(observation.youngest)
        && [observation.completed, observation.failed, observation.queued].into_iter().all(is_count)
        && is_count(observation.queue_growth.unwrap_or_default())
}

fn round_trip(memory: &Memory) -> (Memory, usize) {
    let text = serde_json::to_string(memory).unwrap();
    (serde_json::from_str(&text).unwrap(), text.len())
}

proptest! {
    #[test]
    fn the_number_is_within_its_bounds_or_stays(
        policy in policies(), observations in prop::collection::vec(observations(), 1..40)
    ) {
        let mut life = Life::new();
        for observation in observations {
            let decision = life.step(&policy, &observation);
            let (minimum, maximum) = (policy.bounds.minimum(), policy.bounds.maximum().get());
            let is_within = (minimum..=maximum).contains(&decision.replicas);
            prop_assert!(is_within || decision.replicas == observation.desired, "{decision:?}");
            let goes_to_zero = decision.replicas == 0 && observation.desired > 0;
            prop_assert!(!goes_to_zero || (minimum == 0 && decision.reason == Reason::Idle), "{decision:?}");
            prop_assert!(observation.desired > 0 || decision.replicas == 0, "only a request wakes");
        }
    }

    #[test]
    fn what_cannot_be_changes_neither_number_nor_memory(
        policy in policies(), observations in prop::collection::vec(observations(), 1..40)
    ) {
        let mut life = Life::new();
        for observation in observations {
            let before = life.memory.clone();
            let decision = life.step(&policy, &observation);
            if !is_usual(&observation) {
                prop_assert_eq!((decision.replicas, decision.reason), (observation.desired, Reason::NoData));
                prop_assert_eq!(&life.memory, &before);
            }
        }
    }

    #[test]
    fn another_leader_that_reads_the_memory_decides_the_same(
        policy in policies(), observations in prop::collection::vec(observations(), 1..40)
    ) {
        let (mut first, mut second) = (Life::new(), Life::new());
        for observation in observations {
            let (memory, length) = round_trip(&second.memory);
            prop_assert_eq!(&memory, &first.memory);
            prop_assert!(length < 4096, "{} bytes", length);
            second.memory = memory;
            prop_assert_eq!(first.step(&policy, &observation), second.step(&policy, &observation));
        }
    }

    #[test]
    fn a_memory_of_another_mode_starts_afresh(policy in policies(), observation in observations()) {
        let foreign: Memory = serde_json::from_str(r#"{"mode": "slo"}"#).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let fresh = decide(&policy, Memory::new(&Law::Elasticsearch), &observation, now);
        let (memory, decision) = decide(&policy, foreign.clone(), &observation, now);
        prop_assert_eq!(&decision, &fresh.1);
        prop_assert!(memory == fresh.0 || (memory == foreign && decision.reason == Reason::NoData));
    }
}
