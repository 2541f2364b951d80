//! The rules of the law, each by its name, at an endpoint whose line is a fluid.

mod endpoint;
mod properties;

use std::time::Duration;

use self::endpoint::{Endpoint, policy};
use super::*;

/// Three bursts, two minutes apart, after a quiet minute; then almost two minutes.
fn after_three_bursts(start: f64) -> Endpoint {
    let mut endpoint = Endpoint::new(policy(0, 32), start);
    endpoint.run(60.0, 2);
    for _ in 0..3 {
        endpoint.run(3.0, 100);
        endpoint.run(117.0, 2);
    }
    endpoint
}

#[test]
fn a_second_burst_of_the_same_size_finds_its_allocations_ready() {
    let mut endpoint = Endpoint::new(policy(0, 32), 20.0);
    endpoint.run(60.0, 2);
    let before = endpoint.ready();
    endpoint.run(3.0, 100);
    let surprised = endpoint.waiting();
    assert!(surprised > 200.0, "the first burst surprises");
    endpoint.run(117.0, 2);
    assert!(endpoint.ready() > before + 4, "{} after {before}", endpoint.ready());
    endpoint.run(3.0, 100);
    assert!(endpoint.waiting() < surprised / 2.0, "{} wait after {surprised}", endpoint.waiting());
}

#[test]
fn a_burst_that_does_not_come_again_is_forgotten() {
    let mut endpoint = after_three_bursts(20.0);
    endpoint.run(4.0 * 3600.0, 2);
    assert!(endpoint.desired() <= 2, "{}", endpoint.desired());
}

#[test]
fn the_faster_starts_are_the_fewer_are_held_for_bursts() {
    let (slow, fast) = (after_three_bursts(20.0), after_three_bursts(0.2));
    // The hold after the latest burst is over for both.
    let settled = |mut endpoint: Endpoint| {
        endpoint.run(180.0, 2);
        endpoint.desired()
    };
    let (slow, fast) = (settled(slow), settled(fast));
    assert!(fast <= 3 && slow >= 2 * fast, "{fast} with fast starts, {slow} with slow ones");
}

#[test]
fn the_more_stand_by_the_fewer_are_held_for_bursts() {
    let held = |standby: u32| {
        let mut endpoint = Endpoint::new(policy(0, 32), 20.0);
        endpoint.stand_by(standby);
        endpoint.run(60.0, 2);
        for _ in 0..3 {
            endpoint.run(3.0, 100);
            endpoint.run(117.0, 2);
        }
        endpoint.run(180.0, 2);
        endpoint.desired()
    };
    let (alone, helped) = (held(0), held(8));
    assert!(helped <= 2 && alone >= 2 * helped, "{helped} beside 8 that stand by, {alone} without");
}

/// Else what is there for bursts would be busy all the time, and its CPU reserved as for an allocation.
#[test]
fn what_stands_by_takes_nothing_of_a_steady_load() {
    let mut endpoint = Endpoint::new(policy(0, 32), 20.0);
    endpoint.stand_by(8);
    endpoint.run(1800.0, 40);
    assert!((5..=7).contains(&endpoint.desired()), "{}", endpoint.desired());
}

#[test]
fn steady_load_gets_what_the_queueing_model_says_and_little_more() {
    let mut endpoint = Endpoint::new(policy(0, 32), 20.0);
    endpoint.run(1800.0, 40);
    // Load 4: with 4 the line grows without end, with 6 less than 1 % are late.
    assert!((5..=7).contains(&endpoint.desired()), "{}", endpoint.desired());
}

#[test]
fn steady_load_is_left_alone() {
    let mut endpoint = Endpoint::new(policy(0, 32), 20.0);
    endpoint.run(600.0, 40);
    let changes = endpoint.changes();
    endpoint.run(3600.0, 40);
    assert_eq!(endpoint.changes(), changes);
}

#[test]
fn more_is_there_at_once_and_less_only_after_the_hold() {
    let mut endpoint = Endpoint::new(policy(1, 32), 20.0);
    endpoint.run(120.0, 10);
    let few = endpoint.desired();
    endpoint.run(10.0, 80);
    let many = endpoint.desired();
    assert!(many > few + 4, "{many} after {few}");
    endpoint.run(60.0, 10);
    assert!(endpoint.desired() >= many, "less within the hold");
    assert_eq!(endpoint.latest().reason, Reason::Cooldown);
    endpoint.run(1800.0, 10);
    assert!(endpoint.desired() < many && endpoint.count_turns() <= 2, "{}", endpoint.desired());
}

#[test]
fn requests_that_were_late_make_the_plan_more_careful() {
    let number = |late: bool| {
        let mut endpoint = Endpoint::new(policy(0, 32), 20.0);
        endpoint.scale(5);
        endpoint.vary(0.5);
        endpoint.count_late(if late { 1.0 } else { 0.0 });
        endpoint.run(60.0, 40);
        endpoint.count_late(0.0);
        endpoint.run(600.0, 40);
        endpoint.desired()
    };
    assert!(number(true) > number(false));
}

#[test]
fn a_tighter_goal_and_a_wider_spread_need_more() {
    let number = |latency: u64, variation: f64| {
        let mut policy = policy(0, 32);
        policy.law = crate::scaling::Law::Slo(Goal { latency: Duration::from_millis(latency), share: 0.99 });
        let mut endpoint = Endpoint::new(policy, 20.0);
        endpoint.vary(variation);
        endpoint.run(900.0, 40);
        endpoint.desired()
    };
    assert!(number(300, 0.2) > number(1000, 0.2));
    assert!(number(500, 1.5) > number(500, 0.05));
}

#[test]
fn a_backlog_that_outlasts_a_start_is_drained_by_more_than_the_load_needs() {
    let backlog = |waiting: u64| {
        let mut endpoint = Endpoint::new(policy(0, 32), 20.0);
        endpoint.run(300.0, 25);
        endpoint.wait(waiting);
        endpoint.run(0.5, 25);
        endpoint.desired()
    };
    assert!(backlog(2_000) > backlog(0) + 1);
}

#[test]
fn zero_comes_only_after_the_whole_idle_time_and_one_request_begins_it_anew() {
    let mut endpoint = Endpoint::new(policy(0, 32), 1.0);
    endpoint.run(60.0, 20);
    endpoint.run(890.0, 0);
    assert_eq!(endpoint.desired(), 1);
    endpoint.run(0.5, 2);
    endpoint.run(890.0, 0);
    assert_eq!(endpoint.desired(), 1);
    endpoint.run(20.0, 0);
    assert_eq!((endpoint.desired(), endpoint.latest().reason), (0, Reason::Idle));
    endpoint.run(3600.0, 0);
    assert_eq!(endpoint.desired(), 0);
}

#[test]
fn with_a_minimum_nothing_sleeps() {
    let mut endpoint = Endpoint::new(policy(2, 32), 1.0);
    endpoint.run(7200.0, 0);
    assert_eq!(endpoint.desired(), 2);
}

#[test]
fn from_zero_it_wakes_to_one_and_then_quickly_to_what_is_needed() {
    let mut endpoint = Endpoint::new(policy(0, 32), 1.0);
    endpoint.run(60.0, 20);
    endpoint.run(1200.0, 0);
    assert_eq!(endpoint.desired(), 0);
    endpoint.run(0.5, 40);
    assert_eq!(endpoint.desired(), 1);
    endpoint.run(10.0, 40);
    assert!(endpoint.desired() >= 5, "{}", endpoint.desired());
}

#[test]
fn nothing_is_decided_before_a_request_was_measured() {
    let mut endpoint = Endpoint::new(policy(1, 32), 20.0);
    endpoint.run(0.5, 0);
    assert_eq!((endpoint.desired(), endpoint.latest().reason), (1, Reason::NoData));
}

#[test]
fn a_maximum_that_is_too_low_is_the_reason_to_stay_at_it() {
    let mut endpoint = Endpoint::new(policy(1, 4), 20.0);
    endpoint.run(300.0, 80);
    assert_eq!((endpoint.desired(), endpoint.latest().reason), (4, Reason::AtMaximum));
    let message = &endpoint.latest().message;
    assert!(message.starts_with("would be more, but the maximum is 4; needs "), "{message}");
    let mut endpoint = Endpoint::new(policy(1, 4), 20.0);
    endpoint.run(300.0, 10);
    assert_eq!(endpoint.latest().reason, Reason::Steady, "{}", endpoint.latest().message);
}

#[test]
fn a_number_outside_of_its_bounds_comes_back_at_once() {
    let mut endpoint = Endpoint::new(policy(2, 4), 20.0);
    endpoint.run(60.0, 20);
    endpoint.scale(9);
    endpoint.run(0.5, 20);
    assert_eq!((endpoint.desired(), endpoint.latest().reason), (4, Reason::Bounds));
}

#[test]
fn the_reason_has_its_numbers() {
    let mut endpoint = Endpoint::new(policy(1, 32), 20.0);
    endpoint.run(300.0, 40);
    let message = &endpoint.latest().message;
    for part in [
        "40.00 requests/s",
        "100.0 ms",
        "load 4.",
        "500 ms",
        "99.0000 %",
        "late ",
        "waiting",
        "start",
        "bounds 1 to 32",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    endpoint.run(60.0, 2);
    let message = &endpoint.latest().message;
    assert!(message.contains("in ") && message.contains(" s at the earliest"), "{message}");
}
