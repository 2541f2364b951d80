//! What whoever knows the original counts on, rule by rule: sections 5.1 to 5.5 of the specification.

use lexiscale_core::scaling::{Law, Observation, Reason, elasticsearch};

use crate::scaler::{MINUTE, Scaler};

/// Each request takes ten seconds, so that one in an interval is one allocation's work.
const LONG: Option<f64> = Some(10.0);

#[test]
fn decides_every_ten_seconds_and_sleeps_after_a_day() {
    assert_eq!(Law::Elasticsearch.interval().as_secs(), 10);
    assert_eq!(elasticsearch::SCALE_TO_ZERO_TIME.as_secs(), 24 * 3600);
    assert_eq!(elasticsearch::COOLDOWN.as_secs(), 300);
}

#[test]
fn the_first_look_decides_nothing_whatever_it_sees() {
    let mut scaler = Scaler::unseen();
    assert_eq!(scaler.step(1000, 1000, 1000, LONG), None);
    assert_eq!(scaler.reason(), Reason::NoData);
}

#[test]
fn answers_growth_of_what_waits_and_failures_are_equally_requests() {
    for (completed, queued, failed) in [(9, 0, 0), (0, 9, 0), (0, 0, 9), (3, 3, 3)] {
        let mut scaler = Scaler::new();
        scaler.step(completed, queued, failed, None);
        assert!(scaler.message().contains("0.90 requests/s"), "{}", scaler.message());
    }
}

#[test]
fn a_queue_that_stays_long_is_no_request() {
    let mut scaler = Scaler::unseen();
    scaler.first_look(500);
    for _ in 0..3 {
        scaler.step(0, 500, 0, None);
        assert!(scaler.message().contains("0.00 requests/s"), "{}", scaler.message());
    }
}

#[test]
fn a_queue_that_shrinks_takes_nothing_from_the_requests() {
    let mut scaler = Scaler::unseen();
    scaler.first_look(500);
    scaler.step(9, 100, 0, None);
    assert!(scaler.message().contains("0.90 requests/s"), "{}", scaler.message());
}

/// One gateway's queue grows by 4 while another's shrinks by 4.
#[test]
fn a_queue_that_grows_counts_though_another_one_shrinks() {
    let mut scaler = Scaler::unseen();
    scaler.first_look(100);
    scaler.observation.queue_growth = Some(4);
    scaler.step(5, 100, 0, None);
    assert!(scaler.message().contains("0.90 requests/s"), "{}", scaler.message());
}

#[test]
fn nothing_is_learned_at_zero() {
    let mut scaler = Scaler::new();
    for _ in 0..10 {
        scaler.step(2, 0, 0, Some(0.1));
    }
    scaler.set(0);
    let before = scaler.memory.clone();
    assert_eq!(scaler.step(0, 50, 3, LONG), None);
    assert_eq!((scaler.reason(), &scaler.memory), (Reason::Idle, &before));
}

#[test]
fn a_second_is_assumed_of_each_request_until_one_was_measured() {
    let mut scaler = Scaler::new();
    assert_eq!(scaler.step(200, 0, 0, None), Some(21), "load 18.6 to 21.4");
    assert!(scaler.message().contains("1 s assumed for each"), "{}", scaler.message());
}

#[test]
fn takes_several_steps_at_once() {
    let mut scaler = Scaler::new();
    assert!(scaler.follow(2000, 0, 0, Some(0.1)) > 15);
    scaler.interval_of(300.0);
    assert!(scaler.follow(0, 0, 0, None) < 5);
}

#[test]
fn stops_at_32_where_no_maximum_is_set() {
    let mut scaler = Scaler::new();
    assert_eq!(scaler.step(1_000_000, 0, 0, LONG), Some(32));
    scaler.set(32);
    assert_eq!(scaler.step(1_000_000, 0, 0, LONG), None);
    assert_eq!(scaler.reason(), Reason::AtMaximum);
    assert!(scaler.message().contains(", but the maximum is 32; needs "), "{}", scaler.message());
}

/// What the endpoint's validation makes of a minimum of 40 without a maximum.
#[test]
fn a_minimum_above_32_beats_the_absent_maximum() {
    let mut scaler = Scaler::new().bounds(40, 40);
    assert_eq!(scaler.step(1, 0, 0, LONG), Some(40));
    assert_eq!(scaler.reason(), Reason::Bounds);
}

#[test]
fn other_bounds_act_at_the_next_evaluation() {
    let mut scaler = Scaler::new().at(8);
    scaler.set_bounds(9, 12);
    assert_eq!(scaler.step(1, 0, 0, Some(0.1)), Some(9));
    assert_eq!(scaler.reason(), Reason::Bounds);
    let mut scaler = Scaler::new().at(8);
    scaler.step(80, 0, 0, Some(1.0));
    scaler.set_bounds(0, 5);
    assert_eq!(scaler.step(80, 0, 0, Some(1.0)), Some(5));
    assert_eq!(scaler.reason(), Reason::Bounds);
}

#[test]
fn any_kind_of_request_ends_idleness() {
    for (completed, queued, failed) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
        let mut scaler = Scaler::new().idle_limit(60);
        for _ in 0..6 {
            assert_eq!(scaler.step(0, 0, 0, None), None);
        }
        assert_eq!(scaler.step(completed, queued, failed, None), None);
        for _ in 0..6 {
            assert_eq!(scaler.step(0, queued, 0, None), None);
        }
        assert_eq!(scaler.step(0, queued, 0, None), Some(0));
    }
}

#[test]
fn idleness_is_measured_in_time_and_not_in_evaluations() {
    let mut scaler = Scaler::new().idle_limit(60).interval(45.0);
    assert_eq!(scaler.step(0, 0, 0, None), None);
    assert_eq!(scaler.step(0, 0, 0, None), Some(0));
}

#[test]
fn nothing_is_taken_away_for_five_minutes_after_a_scale_up() {
    let mut scaler = Scaler::new();
    let grown = scaler.follow(20, 0, 0, LONG);
    assert!(grown > 10, "{grown}");
    scaler.interval_of(29.0);
    for _ in 0..10 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
    }
    assert_eq!(scaler.reason(), Reason::Cooldown);
    assert!(scaler.message().contains("but 10 s of cooldown are left"), "{}", scaler.message());
    scaler.interval_of(10.0);
    assert!(scaler.step(0, 0, 0, None).is_some(), "exactly five minutes are over");
    assert_eq!(scaler.reason(), Reason::LowLoad);
}

#[test]
fn the_cooldown_also_holds_what_would_go_to_zero() {
    let mut scaler = Scaler::new().idle_limit(60);
    scaler.follow(20, 0, 0, LONG);
    scaler.interval_of(100.0);
    assert_eq!(scaler.step(0, 0, 0, None), None);
    assert_eq!(scaler.reason(), Reason::Cooldown);
    assert!(scaler.message().contains("would be 0"), "{}", scaler.message());
}

#[test]
fn the_cooldown_holds_no_growth_and_each_growth_starts_it_again() {
    let mut scaler = Scaler::new();
    let first = scaler.follow(5, 0, 0, LONG);
    scaler.pass(280);
    let second = scaler.follow(50, 0, 0, LONG);
    assert!(second > first, "{first} {second}");
    scaler.interval_of(299.0);
    assert_eq!(scaler.step(0, 0, 0, None), None);
    assert_eq!(scaler.reason(), Reason::Cooldown);
    assert!(scaler.message().contains("but 1 s of cooldown"), "{}", scaler.message());
}

#[test]
fn a_scale_up_that_was_held_starts_no_cooldown() {
    let mut scaler = Scaler::new();
    scaler.observation.ready = 0;
    assert_eq!(scaler.step(50, 0, 0, LONG), None);
    assert_eq!(scaler.reason(), Reason::Cooldown);
    assert!(scaler.message().contains("but no allocation is ready"), "{}", scaler.message());
    scaler.set(40);
    scaler.interval_of(60.0);
    assert!(scaler.follow(0, 0, 0, None) < 40);
    assert_eq!(scaler.reason(), Reason::LowLoad);
}

#[test]
fn nothing_is_taken_away_while_an_allocation_starts() {
    let mut scaler = Scaler::new().at(5);
    scaler.observation.starting = 1;
    for _ in 0..50 {
        assert_eq!(scaler.step(1, 0, 0, Some(0.1)), None);
        assert_eq!(scaler.reason(), Reason::Cooldown);
    }
    scaler.observation.starting = 0;
    assert_eq!(scaler.step(1, 0, 0, Some(0.1)), Some(1));
}

/// A new leader that remembers nothing must not shrink what its predecessor has just started.
#[test]
fn nothing_is_taken_away_for_five_minutes_after_a_start_by_whomever() {
    let mut scaler = Scaler::new().at(5);
    for age in [0.0, MINUTE, 5.0 * MINUTE - 0.5] {
        scaler.observation.youngest = Some(age);
        assert_eq!(scaler.step(1, 0, 0, Some(0.1)), None);
        assert_eq!(scaler.reason(), Reason::Cooldown);
    }
    scaler.observation.youngest = Some(5.0 * MINUTE);
    assert_eq!(scaler.step(1, 0, 0, Some(0.1)), Some(1));
}

#[test]
fn a_change_that_was_not_carried_out_is_asked_for_again() {
    let mut scaler = Scaler::new();
    let first = scaler.step(20, 0, 0, LONG);
    assert!(first.is_some());
    assert_eq!(scaler.step(20, 0, 0, LONG).is_some(), first.is_some());
}

#[test]
fn a_wake_up_is_no_idleness_and_starts_the_cooldown() {
    let mut scaler = Scaler::new().idle_limit(60);
    for _ in 0..6 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
    }
    assert_eq!(scaler.follow(0, 0, 0, None), 0);
    scaler.pass(3600);
    scaler.wake();
    for _ in 0..6 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
        assert_eq!(scaler.reason(), Reason::Steady);
    }
    for _ in 6..29 {
        assert_eq!(scaler.step(0, 0, 0, None), None);
        assert_eq!(scaler.reason(), Reason::Cooldown);
    }
    assert_eq!(scaler.step(0, 0, 0, None), Some(0));
}

#[test]
fn what_was_woken_to_one_grows_with_the_next_evaluations() {
    let mut scaler = Scaler::new().at(0);
    scaler.wake();
    assert!(scaler.step(50, 0, 0, LONG) > Some(30));
}

#[test]
fn the_message_names_rate_time_load_and_bounds() {
    let mut scaler = Scaler::new().bounds(1, 7);
    for _ in 0..100 {
        scaler.step(20, 0, 0, Some(0.25));
    }
    let expected = "needs 1: 2.00 requests/s, 250.0 ms each, load 0.43 to 0.57, bounds 1 to 7";
    assert_eq!(scaler.message(), expected);
}

/// A number that cannot be is no reason to do anything, nor to forget anything.
#[test]
fn nothing_is_decided_on_and_learned_from_what_cannot_be() {
    let flaws: [fn(&mut Observation); 6] = [
        |observation| observation.interval = 0.0,
        |observation| observation.interval = -10.0,
        |observation| observation.interval = f64::NAN,
        |observation| observation.completed = u64::MAX,
        |observation| observation.queue_growth = Some(u64::MAX),
        |observation| observation.youngest = Some(-1.0),
    ];
    for flaw in flaws {
        let mut scaler = Scaler::new().at(3);
        scaler.step(30, 0, 0, Some(1.0));
        let before = scaler.memory.clone();
        let good = scaler.observation.clone();
        flaw(&mut scaler.observation);
        scaler.decide();
        assert_eq!((scaler.reason(), &scaler.memory), (Reason::NoData, &before), "{}", scaler.message());
        scaler.observation = good;
    }
    let mut scaler = Scaler::new().at(3);
    for time in [f64::NAN, f64::INFINITY, -0.1, 1e18] {
        assert_eq!(scaler.step(1, 0, 0, Some(time)), None);
        assert_eq!(scaler.reason(), Reason::NoData);
    }
}
