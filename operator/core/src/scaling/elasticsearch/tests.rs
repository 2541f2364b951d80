//! What only the load's bounds show; the rest is in `tests/elasticsearch`.

use super::*;

/// Numbers that look random and are the same everywhere (`SplitMix64`).
struct Chance(u64);

impl Chance {
    /// Above 0, at most 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        as_number(((bits ^ (bits >> 31)) >> 11) + 1) / as_number(1 << 53)
    }

    fn normal(&mut self) -> f64 {
        let turn = std::f64::consts::TAU * self.share();
        (-2.0 * self.share().ln()).sqrt() * turn.cos()
    }
}

/// A hundred seconds of a hundred requests a second, of 3.4 s each: the load is 340.
fn estimated_load(chance: &mut Chance) -> (f64, f64) {
    let mut memory = Memory::default();
    let (mut lower, mut upper) = (0.0, 0.0);
    let mut next_arrival = -chance.share().ln() / 100.0;
    for second in 1..=100_u32 {
        let mut times = Vec::new();
        while next_arrival < f64::from(second) {
            times.push((0.1 + 1.5 * chance.normal()).exp());
            next_arrival -= chance.share().ln() / 100.0;
        }
        let requests = times.len() as u64;
        let mean = times.iter().sum::<f64>() / as_number(requests);
        memory.learn(Measured { seconds: 1.0, requests, inference_time: Some(mean) });
        let load = memory.load().unwrap();
        lower += load.lower / 100.0;
        upper += load.upper / 100.0;
    }
    (lower, upper)
}

/// One standard deviation to each side is all that the bounds promise, hence not always.
#[test]
fn the_load_of_chance_arrivals_and_times_is_within_its_bounds() {
    let mut within = 0;
    for seed in 0..100 {
        let (lower, upper) = estimated_load(&mut Chance(seed));
        within += u32::from(lower < 340.0 && 340.0 < upper);
        assert!(upper - lower < 0.2 * f64::midpoint(lower, upper), "{lower} to {upper}");
    }
    assert!(within > 80, "of 100 times {within}");
}

fn learned(intervals: &[Measured]) -> Memory {
    let mut memory = Memory::default();
    for interval in intervals {
        memory.learn(*interval);
    }
    memory
}

fn measured(seconds: f64, requests: u64, inference_time: Option<f64>) -> Measured {
    Measured { seconds, requests, inference_time }
}

#[test]
fn a_rate_is_counted_over_the_measured_interval_and_varies_by_one_request_at_least() {
    let rate = learned(&[measured(20.0, 50, None)]).rate.unwrap();
    assert_eq!((rate.value, rate.variance), (2.5, 50.0 / 400.0));
    let rate = learned(&[measured(20.0, 0, None)]).rate.unwrap();
    assert_eq!((rate.value, rate.variance), (0.0, 1.0 / 400.0));
}

/// The second value is followed quickly: its process noise is its square.
#[test]
fn the_variance_of_a_rate_is_that_of_the_rate_before() {
    let memory = learned(&[measured(10.0, 100, None), measured(10.0, 160, None)]);
    // Rate 10 with a variance of 1, then 16: noise 256, gain 257 of 258.
    let rate = memory.rate.unwrap();
    assert!((rate.value - (10.0 + 6.0 * 257.0 / 258.0)).abs() < 1e-12, "{rate:?}");
    assert!((rate.variance - 257.0 / 258.0).abs() < 1e-12, "{rate:?}");
}

#[test]
fn the_variance_of_a_time_is_its_square_by_all_requests() {
    let time = learned(&[measured(10.0, 8, Some(0.5))]).time.unwrap();
    assert_eq!((time.value, time.variance), (0.5, 0.25 / 8.0));
}

/// 100 ms for an hour, then 900 ms.
fn with_a_longer_time(number_changed: bool, between: &[Measured]) -> f64 {
    let mut memory = learned(&[measured(10.0, 1000, Some(0.1)); 360]);
    memory.changed = number_changed;
    for interval in between {
        memory.learn(*interval);
    }
    memory.learn(measured(10.0, 1000, Some(0.9)));
    memory.time.unwrap().value
}

#[test]
fn a_jump_of_the_time_is_followed_slowly_unless_the_number_was_changed() {
    let slow = with_a_longer_time(false, &[]);
    assert!(slow < 0.2, "{slow}");
    let quick = with_a_longer_time(true, &[]);
    assert!(quick > 0.89, "{quick}");
}

#[test]
fn an_interval_without_a_time_forgets_that_the_number_was_changed() {
    for between in [measured(10.0, 0, None), measured(10.0, 3, None)] {
        let slow = with_a_longer_time(true, &[between]);
        assert!(slow < 0.2, "{slow}");
    }
}

#[test]
fn a_jump_of_the_rate_is_found_and_followed_at_once() {
    let mut memory = learned(&[measured(10.0, 100, None); 360]);
    memory.learn(measured(10.0, 120, None));
    let slow = memory.rate.unwrap().value;
    assert!(slow < 10.5, "two standard deviations are noise: {slow}");
    memory.learn(measured(10.0, 1000, None));
    let quick = memory.rate.unwrap().value;
    assert!(quick > 99.0, "{quick}");
    memory.learn(measured(10.0, 500, None));
    let quick = memory.rate.unwrap().value;
    assert!(quick < 51.0, "so is the one after a jump: {quick}");
}

#[expect(clippy::float_cmp, reason = "it is exact")]
#[test]
fn a_lower_bound_below_nothing_is_nothing() {
    let memory = learned(&[measured(10.0, 0, None), measured(10.0, 1, Some(0.1))]);
    let load = memory.load().unwrap();
    assert_eq!(load.lower, 0.0);
    assert!(load.upper > 0.0);
}

#[test]
fn a_service_that_measures_no_time_leaves_the_estimate_of_the_time_alone() {
    for inference_time in [None, Some(0.0), Some(1e-300)] {
        let memory = learned(&[measured(10.0, 5, inference_time); 3]);
        assert_eq!(memory.time, None);
        let load = memory.load().unwrap();
        assert!(load.lower < 0.5 && 0.5 < load.upper, "with 1 s assumed of each: {load:?}");
    }
}
