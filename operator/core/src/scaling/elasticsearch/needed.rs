//! How many allocations a load needs. PURE.

const GROWS_ABOVE: f64 = 0.9;
const SHRINKS_BELOW: f64 = 0.85;

/// Lower and upper bound of the load, in allocations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub lower: f64,
    pub upper: f64,
}

/// The original takes steps of one: up for as long as the lower bound is above 0.9 of the number, then down for as long as
/// the upper bound is below 0.85 of one less. Where the steps end is found without taking them, as a load can be absurd.
pub(super) fn needed(load: Load, current: u32) -> u32 {
    let is_short = |number: u32| load.lower / f64::from(number) > GROWS_ABOVE;
    let is_enough = |number: u32| load.upper / f64::from(number) < SHRINKS_BELOW;
    let grown = smallest(current, u32::MAX, |number| !is_short(number));
    smallest(1, grown, is_enough)
}

/// The smallest number from `low` on of which `holds` is true, `high` at most. What holds must also hold of all that are larger.
fn smallest(mut low: u32, mut high: u32, holds: impl Fn(u32) -> bool) -> u32 {
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lower: f64, upper: f64, current: u32) -> u32 {
        needed(Load { lower, upper }, current)
    }

    #[test]
    fn grows_only_above_nine_tenths_of_the_number() {
        assert_eq!(of(0.9, 0.9, 1), 1);
        assert_eq!(of(0.900_000_1, 1.0, 1), 2);
        assert_eq!(of(2.7, 2.7, 1), 3);
        assert_eq!(of(2.700_000_1, 2.8, 1), 4);
    }

    #[test]
    fn shrinks_only_below_eighty_five_hundredths_of_one_less() {
        assert_eq!(of(0.5, 0.85, 2), 2);
        assert_eq!(of(0.5, 0.849_999_9, 2), 1);
        assert_eq!(of(0.0, 1.7, 9), 3);
        assert_eq!(of(0.0, 1.699_999_9, 9), 2);
    }

    #[test]
    fn takes_several_steps_at_once_and_stops_at_one() {
        assert_eq!(of(90.0, 95.0, 2), 100);
        assert_eq!(of(0.0, 0.0, 40), 1);
    }

    /// Growth comes first, so that a wide interval can be followed by steps back.
    #[test]
    fn keeps_the_number_while_the_interval_of_the_load_is_wide() {
        for current in 1..=20 {
            assert_eq!(of(0.1, 1000.0, current), current);
        }
    }

    #[test]
    fn ends_at_once_whatever_the_load_and_the_number() {
        assert_eq!(of(1e300, 1e300, 1), u32::MAX);
        assert_eq!(of(0.0, 0.0, u32::MAX), 1);
        assert_eq!(of(f64::NAN, f64::NAN, 7), 7);
        assert_eq!(of(0.0, f64::INFINITY, 7), 7);
    }
}
