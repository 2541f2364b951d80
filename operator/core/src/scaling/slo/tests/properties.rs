//! What holds whatever is observed.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::*;
use crate::{
    scaling::{Law, Memory as Stored, Observation, decide},
    validated::AllocationBounds,
};

prop_compose! {
    fn observations()(
        interval in 0.01f64..100.0,
        counts in (0u64..5_000, 0u64..5_000, 0u64..50, 0u64..10_000, 0u64..200),
        (ready, starting, standby) in (0u32..64, 0u32..64, prop_oneof![2 => Just(0), 1 => any::<u32>()]),
        times in (proptest::option::of(0.0f64..5.0), proptest::option::of(0.0f64..60.0)),
        spread in proptest::option::of(0.0f64..10.0),
        late in proptest::option::of(0u64..5_000),
    ) -> Observation {
        let (arrivals, completed, failed, queued, in_flight) = counts;
        let (service_time, queue_time) = times;
        Observation {
            interval, desired: 0, ready, starting, standby, arrivals, completed, failed, queued, in_flight, service_time, queue_time,
            late, service_time_variation: spread, ..Observation::default()
        }
    }
}

prop_compose! {
    fn policies()(
        minimum in 0u32..10,
        more in 0u32..2_000,
        latency in 1u64..5_000,
        share in 0.5f64..0.9999,
        idle in 60u64..100_000,
    ) -> Policy {
        Policy {
            bounds: AllocationBounds::new(minimum, (minimum + more).max(1)).unwrap(),
            scale_to_zero_time: Duration::from_secs(idle),
            law: Law::Slo(Goal { latency: Duration::from_millis(latency), share }),
        }
    }
}

fn through_json(memory: &Stored) -> Stored {
    let text = serde_json::to_string(memory).unwrap();
    assert!(text.len() < 4096, "{} bytes of memory: {text}", text.len());
    serde_json::from_str(&text).unwrap()
}

proptest! {
    #[test]
    fn bounds_hold_and_a_memory_that_was_stored_decides_the_same(
        policy in policies(),
        sequence in proptest::collection::vec(observations(), 1..60),
    ) {
        let now = Timestamp::UNIX_EPOCH;
        let mut memory = Stored::new(&policy.law);
        let mut desired = policy.bounds.minimum().max(1);
        for mut observation in sequence {
            observation.desired = desired;
            let stored = through_json(&memory);
            prop_assert_eq!(&stored, &memory);
            let (next, decision) = decide(&policy, memory, &observation, now);
            let (restored, same) = decide(&policy, stored, &observation, now);
            prop_assert_eq!(&decision, &same);
            prop_assert_eq!(&restored, &next);
            let bounds = policy.bounds.minimum()..=policy.bounds.maximum().get();
            prop_assert!(bounds.contains(&decision.replicas), "{} of {:?}", decision.replicas, bounds);
            prop_assert!(decision.replicas > 0 || decision.reason == Reason::Idle);
            (memory, desired) = (next, decision.replicas);
        }
    }

    #[test]
    fn nothing_is_decided_or_learnt_from_data_that_cannot_be(
        policy in policies(),
        good in observations(),
        flaw in 0usize..5,
        desired in 0u32..100,
    ) {
        let now = Timestamp::UNIX_EPOCH;
        let (memory, _) = decide(&policy, Stored::new(&policy.law), &good, now);
        let mut bad = Observation { desired, ..good };
        match flaw {
            0 => bad.interval = 0.0,
            1 => bad.service_time = Some(f64::NAN),
            2 => bad.queue_time = Some(-1.0),
            3 => bad.arrivals = u64::MAX,
            _ => bad.concurrency = f64::INFINITY,
        }
        let (after, decision) = decide(&policy, memory.clone(), &bad, now);
        prop_assert_eq!((decision.replicas, decision.reason), (desired, Reason::NoData));
        prop_assert_eq!(after, memory);
    }

    #[test]
    fn only_idleness_leads_to_zero(policy in policies(), sequence in proptest::collection::vec(observations(), 1..40)) {
        let mut memory = Stored::new(&policy.law);
        for observation in sequence {
            let busy = Observation { desired: 1, in_flight: 1, ..observation };
            let (next, decision) = decide(&policy, memory, &busy, Timestamp::UNIX_EPOCH);
            prop_assert!(decision.replicas > 0);
            memory = next;
        }
    }
}

#[test]
fn what_was_stored_by_hand_breaks_nothing() {
    let text = r#"{"mode":"slo","trials":{"maximum":32,"late":[1.0],"waiting":[-5e300],"since":[]},"idle":-3.5,"age":"x"}"#;
    let memory: Stored = serde_json::from_str(text).unwrap();
    let policy = super::policy(0, 32);
    let observation = Observation {
        interval: 0.5,
        desired: 3,
        ready: 3,
        arrivals: 9,
        completed: 9,
        service_time: Some(0.1),
        ..Observation::default()
    };
    let (_, decision) = decide(&policy, memory, &observation, Timestamp::UNIX_EPOCH);
    assert!((1..=32).contains(&decision.replicas));
}
