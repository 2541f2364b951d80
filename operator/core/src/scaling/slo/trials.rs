//! The memory of bursts: what each number of allocations would have missed, had it been held. PURE.
//!
//! For each number a line of work is followed as a fluid. A burst leaves late requests at the numbers that are too small for
//! it, and they fade; so size, share and recurrence of bursts come together in one curve. A number that is overloaded for
//! longer than a start takes counts as rescued: what can be started in time need not be held. What standby allocations take is
//! late at no number, so with them less is held.

use serde::{Deserialize, Serialize};

use super::kept::{Kept, left};

/// Seconds after which a burst counts for a third.
pub(super) const MEMORY: f64 = 1800.0;

/// Most numbers that are tried.
const MOST: u32 = 48;

/// Beyond so many allocations none are tried.
const LARGEST: u32 = 10_000;

/// Numbers up to this are tried one by one where not all can be.
const FINE: u32 = 16;

/// Seconds after the end of an overload for which the rescuers stay.
const RESCUED: f64 = 5.0;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Trials {
    /// Most allocations, from which the numbers follow.
    maximum: u32,
    /// Requests that came, faded.
    requests: Kept,
    /// Seconds that were seen, faded.
    seconds: Kept,
    /// By number: late requests, faded.
    late: Vec<Kept>,
    /// By number: work that waits, in allocation-seconds.
    waiting: Vec<Kept>,
    /// By number: seconds since when work waits; below zero, for how long rescuers stay.
    since: Vec<Kept>,
}

/// What came in one interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub seconds: f64,
    pub requests: f64,
    /// Allocation-seconds.
    pub work: f64,
    /// Seconds that a request may wait.
    pub patience: f64,
    /// Allocations that help at once whatever number is held: standbys.
    pub standby: f64,
    /// Seconds until more allocations would have helped.
    pub rescue: f64,
}

impl Trials {
    pub(super) fn learn(&mut self, maximum: u32, arrived: &Arrived) {
        let maximum = maximum.min(LARGEST);
        self.fit(maximum);
        let left = left(arrived.seconds, MEMORY);
        self.requests.fade(left, arrived.requests);
        self.seconds.fade(left, arrived.seconds);
        let numbers = numbers(maximum);
        let lines = self.waiting.iter_mut().zip(&mut self.since).zip(&mut self.late);
        for (number, ((waiting, since), late)) in numbers.zip(lines) {
            let missed = try_out(f64::from(number) + arrived.standby, waiting, since, arrived);
            late.fade(left, missed);
        }
    }

    /// A changed maximum tries other numbers.
    fn fit(&mut self, maximum: u32) {
        let count = numbers(maximum).count();
        let fits = [&self.late, &self.waiting, &self.since].iter().all(|line| line.len() == count);
        if self.maximum != maximum || !fits {
            let none = || vec![Kept::default(); count];
            *self = Self { maximum, late: none(), waiting: none(), since: none(), ..Self::default() };
        }
    }

    pub(super) fn requests(&self) -> f64 {
        self.requests.get()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds.get()
    }

    /// Each number with the requests that it would have been late with.
    pub(super) fn late(&self) -> impl Iterator<Item = (u32, f64)> {
        numbers(self.maximum).zip(self.late.iter().map(|late| late.get()))
    }
}

/// One interval at one number; the requests that are late.
fn try_out(number: f64, waiting: &mut Kept, since: &mut Kept, arrived: &Arrived) -> f64 {
    let Arrived { seconds, requests, work, patience, standby: _, rescue } = *arrived;
    let surplus = work - number * seconds;
    if since.get() < 0.0 {
        since.set(if surplus > 0.0 { -RESCUED } else { (since.get() + seconds).min(0.0) });
        return 0.0;
    }
    let before = waiting.get();
    let after = before + surplus;
    waiting.set(after.max(0.0));
    if after <= 0.0 {
        since.set(0.0);
    } else if since.get() + seconds > rescue {
        since.set(-RESCUED);
        waiting.set(0.0);
    } else {
        since.add(seconds);
    }
    requests * share_above(before / number, after / number, patience)
}

/// Of a value that goes evenly from one to another, the share of the way above a third.
fn share_above(from: f64, to: f64, limit: f64) -> f64 {
    let (low, high) = (from.min(to), from.max(to));
    if high <= limit {
        0.0
    } else if low >= limit {
        1.0
    } else {
        (high - limit) / (high - low)
    }
}

/// The numbers that are tried: all, or one by one and then in growing steps up to the maximum.
fn numbers(maximum: u32) -> impl Iterator<Item = u32> {
    (1..=maximum.min(MOST)).map(move |index| {
        if maximum <= MOST || index <= FINE {
            return index;
        }
        let part = f64::from(index - FINE) / f64::from(MOST - FINE);
        let number = f64::from(FINE) * (f64::from(maximum) / f64::from(FINE)).powf(part);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 16 and 10,000")]
        let number = number.round() as u32;
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(requests: f64) -> Arrived {
        Arrived { seconds: 1.0, requests, work: requests * 0.1, patience: 0.35, standby: 0.0, rescue: 20.0 }
    }

    fn late_at(trials: &Trials, wanted: u32) -> f64 {
        trials.late().find(|(number, _)| *number == wanted).unwrap().1
    }

    #[test]
    fn a_burst_is_late_at_numbers_that_are_too_small_for_it_and_nowhere_else() {
        let mut trials = Trials::default();
        trials.learn(32, &interval(100.0));
        assert!(late_at(&trials, 2) > 80.0);
        assert!(late_at(&trials, 5) > 50.0);
        assert!(late_at(&trials, 10) < 1e-6 && late_at(&trials, 32) < 1e-6);
    }

    #[test]
    fn what_standbys_take_is_late_at_no_number() {
        let mut trials = Trials::default();
        trials.learn(32, &Arrived { standby: 6.0, ..interval(100.0) });
        assert!(late_at(&trials, 4) < 1e-6 && late_at(&trials, 1) > 10.0);
    }

    #[test]
    fn an_old_burst_fades() {
        let mut trials = Trials::default();
        trials.learn(32, &interval(100.0));
        let fresh = late_at(&trials, 4);
        assert!(fresh > 50.0);
        for _ in 0..7200 {
            trials.learn(32, &interval(0.0));
        }
        assert!(late_at(&trials, 4) < fresh / 50.0);
    }

    #[test]
    fn what_lasts_longer_than_a_start_counts_only_until_more_could_be_there() {
        let late_for = |rescue: f64| {
            let mut trials = Trials::default();
            for _ in 0..60 {
                trials.learn(32, &Arrived { rescue, ..interval(50.0) });
            }
            late_at(&trials, 2)
        };
        assert!(late_for(1.0) < late_for(10.0) / 3.0);
        assert!(late_for(10.0) < late_for(40.0) / 2.0);
    }

    #[test]
    fn numbers_reach_the_maximum_in_steps_that_never_fall() {
        for maximum in [1, 7, 48, 49, 100, 1_000, 10_000] {
            let numbers: Vec<u32> = numbers(maximum).collect();
            assert_eq!((numbers[0], *numbers.last().unwrap()), (1, maximum));
            assert!(numbers.len() <= 48 && numbers.is_sorted());
        }
    }
}
