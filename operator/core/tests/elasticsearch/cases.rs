//! The worked cases of the specification, section 5.6. Those of the filter and of random load stand beside the code.

use std::num::NonZeroU32;

use jiff::Timestamp;
use lexiscale_core::{
    autoscaler::{self, Decision},
    scaling::Reason,
    validated::{AllocationBounds, Allocations},
};

use crate::scaler::Scaler;

const BUSY: Option<f64> = Some(0.05);

#[test]
fn goes_to_zero_in_the_901st_empty_second_and_not_in_the_900th() {
    let mut scaler = Scaler::new().interval(1.0).idle_limit(900);
    for _ in 0..3600 {
        assert_eq!(scaler.step(1, 0, 0, BUSY), None);
    }
    for _ in 0..900 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
    }
    assert_eq!(scaler.step(1, 0, 0, BUSY), None);
    for _ in 0..900 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
    }
    assert_eq!(scaler.step(0, 0, 0, None), Some(0));
    assert_eq!(scaler.message(), "no request for 901 s, more than scaleToZeroTime of 900 s");
    scaler.set(0);
    for _ in 0..900 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
    }
}

#[test]
fn one_request_a_second_of_50_ms_never_changes_one_allocation() {
    let mut scaler = Scaler::new().bounds(1, 32).interval(1.0);
    for _ in 0..3600 {
        assert_eq!(scaler.step(1, 0, 0, BUSY), None);
    }
}

#[test]
fn a_minimum_of_one_never_goes_to_zero() {
    let mut scaler = Scaler::new().bounds(1, 32).interval(1.0).idle_limit(60).at(3);
    while scaler.observation.desired > 1 {
        scaler.follow(0, 0, 0, None);
    }
    for _ in 0..3600 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
    }
}

#[test]
fn nothing_changes_while_no_allocation_is_ready() {
    let mut scaler = Scaler::unseen();
    scaler.observation.ready = 0;
    scaler.observation.starting = 1;
    assert_eq!(scaler.step(10_000, 0, 0, Some(0.01)), None);
    assert_eq!(scaler.reason(), Reason::NoData);
    assert_eq!(scaler.step(10_000, 0, 0, Some(0.01)), None);
    assert_eq!(scaler.reason(), Reason::Cooldown);
    assert!(scaler.message().contains("but no allocation is ready"), "{}", scaler.message());
    scaler.set(1);
    assert_eq!(scaler.step(10_000, 0, 0, Some(0.01)), Some(11));
}

fn at_zero() -> Decision {
    Decision {
        replicas: 0,
        reason: autoscaler::Reason::Other("Idle".to_owned()),
        message: "slept".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        wake_requested_at: None,
        memory: None,
    }
}

fn asked(allocations: Allocations, before: &Decision) -> u32 {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    autoscaler::decide(allocations, Some(before), Some(now), None, now).replicas
}

/// Ours wakes to a minimum that was raised meanwhile, as that says what its owner wants.
#[test]
fn a_request_wakes_what_may_be_at_zero_and_changes_nothing_else() {
    let adaptive = |minimum, maximum| Allocations::Adaptive(AllocationBounds::new(minimum, maximum).unwrap());
    let fixed = Allocations::Fixed(NonZeroU32::new(2).unwrap());
    assert_eq!(asked(adaptive(0, 2), &at_zero()), 1);
    for running in [1, 2] {
        let before = Decision { replicas: running, ..at_zero() };
        assert_eq!(asked(adaptive(0, 2), &before), running);
        assert_eq!(asked(adaptive(1, 2), &before), running);
        assert_eq!(asked(fixed, &before), 2);
    }
}

#[test]
fn two_wake_ups_of_one_sleep_are_one_change() {
    let adaptive = Allocations::Adaptive(AllocationBounds::new(0, 9).unwrap());
    let first = Timestamp::from_second(1_800_000_000).unwrap();
    let second = Timestamp::from_second(1_800_000_001).unwrap();
    let woken = autoscaler::decide(adaptive, Some(&at_zero()), Some(first), None, first);
    let again = autoscaler::decide(adaptive, Some(&woken), Some(second), None, second);
    assert_eq!((woken.replicas, again.replicas, again.time), (1, 1, woken.time));
}

#[test]
fn a_minimum_that_is_raised_at_zero_counts_only_after_a_request() {
    let mut scaler = Scaler::new().idle_limit(60).at(0);
    scaler.set_bounds(2, 32);
    for _ in 0..100 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
    }
    scaler.wake();
    assert_eq!(scaler.step(1, 0, 0, BUSY), Some(2));
}
