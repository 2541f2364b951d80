//! Rules about the number of allocations, and about what is remembered of it.

use std::num::NonZeroU32;

use jiff::Timestamp;
use lexiscale_core::{
    autoscaler::{Decision, Reason, decide, required},
    follower::Proposal,
    scaling,
    validated::{AllocationBounds, Allocations},
};
use proptest::prelude::*;

use crate::fixtures::at;

fn adaptive(minimum: u32, maximum: u32) -> Allocations {
    Allocations::Adaptive(AllocationBounds::new(minimum, maximum).unwrap())
}

fn fixed(count: u32) -> Allocations {
    Allocations::Fixed(NonZeroU32::new(count).unwrap())
}

fn remembered(replicas: u32, reason: &str, noted: Option<i64>) -> Decision {
    let reason = match reason {
        "Fixed" => Reason::Fixed,
        "Start" => Reason::Start,
        "WokenUp" => Reason::WokenUp,
        "Bounds" => Reason::Bounds,
        "Idle" => Reason::Load(lexiscale_core::scaling::Reason::Idle),
        other => Reason::Other(other.to_owned()),
    };
    let message = "as was said".to_owned();
    Decision { replicas, reason, message, time: at(500), wake_requested_at: noted.map(at), memory: None }
}

#[test]
fn a_fixed_number_is_that_number_whatever_was_before() {
    for memory in [None, Some(remembered(0, "Idle", None)), Some(remembered(9, "Load", None))] {
        let decision = decide(fixed(7), memory.as_ref(), Some(at(1)), None, at(1000));
        assert_eq!((decision.replicas, decision.reason.as_str()), (7, "Fixed"));
        assert_eq!(decision.message, "numAllocations is 7");
        assert_eq!(required(fixed(7), &decision), 7);
    }
}

/// Columns: bounds, number and reason remembered, wake-up noted, wake-up asked for, number and reason decided.
#[test]
fn what_is_remembered_counts_until_the_spec_changes_or_a_request_comes() {
    let table = [
        // Nothing is remembered.
        ((3, 10), None, None, None, (3, "Start")),
        ((0, 10), None, None, None, (1, "Start")),
        ((0, 10), None, None, Some(9), (1, "Start")),
        // Within the bounds nothing happens, asked or not.
        ((0, 10), Some((7, "Load")), None, None, (7, "Load")),
        ((0, 10), Some((7, "Load")), Some(9), Some(9), (7, "Load")),
        ((0, 10), Some((7, "Load")), None, Some(9), (7, "Load")),
        ((0, 10), Some((1, "WokenUp")), Some(9), Some(9), (1, "WokenUp")),
        // Other bounds.
        ((0, 5), Some((7, "Load")), None, None, (5, "Bounds")),
        ((8, 10), Some((7, "Load")), None, None, (8, "Bounds")),
        ((3, 10), Some((3, "Bounds")), None, None, (3, "Bounds")),
        // Asleep.
        ((0, 10), Some((0, "Idle")), None, None, (0, "Idle")),
        ((0, 10), Some((0, "Idle")), Some(9), Some(9), (0, "Idle")),
        ((0, 10), Some((0, "Idle")), Some(9), None, (0, "Idle")),
        ((2, 10), Some((0, "Idle")), None, None, (0, "Idle")),
        // Woken, by a clock that is ahead or behind.
        ((0, 10), Some((0, "Idle")), None, Some(9), (1, "WokenUp")),
        ((0, 10), Some((0, "Idle")), Some(9), Some(10), (1, "WokenUp")),
        ((0, 10), Some((0, "Idle")), Some(10), Some(9), (1, "WokenUp")),
        ((0, 10), Some((0, "Idle")), None, Some(9_000), (1, "WokenUp")),
        ((2, 10), Some((0, "Idle")), None, Some(9), (2, "WokenUp")),
        // It was fixed before.
        ((0, 10), Some((4, "Fixed")), None, None, (4, "Start")),
        ((0, 3), Some((4, "Fixed")), None, None, (3, "Bounds")),
    ];
    for (bounds, memory, noted, asked, expected) in table {
        let memory = memory.map(|(replicas, reason)| remembered(replicas, reason, noted));
        let decision = decide(adaptive(bounds.0, bounds.1), memory.as_ref(), asked.map(at), None, at(1000));
        let case = format!("{bounds:?} {memory:?} {asked:?}");
        assert_eq!((decision.replicas, decision.reason.as_str()), expected, "{case}");
        let changed = memory.is_none_or(|memory| (memory.replicas, memory.reason.as_str()) != expected);
        assert_eq!(decision.time, at(if changed { 1000 } else { 500 }), "{case}");
        assert_eq!(decision.wake_requested_at, asked.map(at), "{case}");
    }
}

/// Whoever raises the minimum and sees no allocation must be able to read why, for as long as it is so.
#[test]
fn a_raised_minimum_does_not_wake_and_the_message_says_so() {
    let asleep = remembered(0, "Idle", None);
    let raised = decide(adaptive(2, 10), Some(&asleep), None, None, at(1000));
    assert_eq!(raised.message, "as was said; minNumberOfAllocations 2 counts from the next request on");
    let again = decide(adaptive(3, 10), Some(&raised), None, None, at(2000));
    assert_eq!(again.message, "as was said; minNumberOfAllocations 3 counts from the next request on");
    assert_eq!(decide(adaptive(0, 10), Some(&again), None, None, at(3000)), asleep);
}

#[test]
fn one_that_sleeps_owes_no_allocation_and_one_that_grows_owes_its_minimum() {
    assert_eq!(required(adaptive(2, 10), &remembered(0, "Idle", None)), 0);
    assert_eq!(required(adaptive(0, 10), &remembered(7, "Load", None)), 1);
    assert_eq!(required(adaptive(2, 10), &remembered(7, "Load", None)), 2);
}

fn allocations() -> impl Strategy<Value = Allocations> {
    prop_oneof![
        (1..50_u32).prop_map(fixed),
        (0..40_u32, 0..40_u32).prop_map(|(minimum, more)| adaptive(minimum, (minimum + more).max(1))),
    ]
}

fn decisions() -> impl Strategy<Value = Decision> {
    let reason = prop_oneof![
        Just("Fixed"),
        Just("Start"),
        Just("WokenUp"),
        Just("Bounds"),
        Just("Idle"),
        Just("Load")
    ];
    (0..60_u32, reason, prop::option::of(0..4_i64))
        .prop_map(|(replicas, reason, noted)| remembered(replicas, reason, noted))
}

/// Some that fit what is remembered, and many that were overtaken or ask for the absurd.
fn proposals() -> impl Strategy<Value = Proposal> {
    let replicas = prop_oneof![3 => 0..60_u32, 1 => any::<u32>()];
    (0..60_u32, times(), replicas).prop_map(|(from, woken, replicas)| Proposal {
        from,
        woken,
        replicas,
        reason: if replicas == 0 { scaling::Reason::Idle } else { scaling::Reason::HighLoad },
        message: "by load".to_owned(),
        memory: None,
    })
}

/// Times from a small pool, so that they are often equal.
fn times() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::of((0..4_i64).prop_map(at))
}

proptest! {
    /// A restart, another leader, any number of passes: without a change from outside nothing changes, not even the time.
    #[test]
    fn deciding_again_changes_nothing(
        allocations in allocations(), memory in prop::option::of(decisions()), asked in times(), later in 1..1_000_000_i64
    ) {
        let first = decide(allocations, memory.as_ref(), asked, None, at(1000));
        prop_assert_eq!(&decide(allocations, Some(&first), asked, None, at(1000 + later)), &first);
        let stored = Decision::read(&first.stored()).unwrap();
        prop_assert_eq!(decide(allocations, Some(&stored), asked, None, at(1000 + later)), first);
    }

    /// The last word before the Deployment: no law, and no bug of one, gets past it.
    #[test]
    fn whatever_load_proposes_the_number_is_within_its_bounds(
        allocations in allocations(), memory in decisions(), asked in times(), mut proposal in proposals(), fits in any::<bool>()
    ) {
        if fits {
            (proposal.from, proposal.woken) = (memory.replicas, memory.wake_requested_at);
        }
        let decision = decide(allocations, Some(&memory), asked, Some(&proposal), at(1000));
        match allocations {
            Allocations::Fixed(count) => prop_assert_eq!(decision.replicas, count.get()),
            Allocations::Adaptive(bounds) if decision.replicas == 0 => {
                let is_asked = asked.is_some() && asked != memory.wake_requested_at;
                let sleeps_on = memory.replicas == 0;
                let is_proposed = proposal.replicas == 0 && bounds.minimum() == 0;
                prop_assert!(!is_asked && (sleeps_on || is_proposed), "{decision:?}");
            }
            Allocations::Adaptive(bounds) => {
                prop_assert!((bounds.minimum()..=bounds.maximum().get()).contains(&decision.replicas), "{decision:?}");
            }
        }
    }

    /// A number that was within its bounds stays unless a request wakes it; nothing ever goes to zero here.
    #[test]
    fn only_a_wake_up_or_the_spec_moves_a_number(allocations in allocations(), memory in decisions(), asked in times()) {
        let decision = decide(allocations, Some(&memory), asked, None, at(1000));
        prop_assert!(decision.replicas > 0 || memory.replicas == 0);
        if let Allocations::Adaptive(bounds) = allocations {
            let is_woken = memory.replicas == 0 && asked.is_some() && asked != memory.wake_requested_at;
            let is_within = (bounds.minimum()..=bounds.maximum().get()).contains(&memory.replicas);
            if is_woken {
                prop_assert_eq!(decision.replicas, bounds.minimum().max(1));
            } else if is_within || memory.replicas == 0 {
                prop_assert_eq!(decision.replicas, memory.replicas);
            } else {
                prop_assert!((bounds.minimum()..=bounds.maximum().get()).contains(&decision.replicas));
            }
        }
    }
}
