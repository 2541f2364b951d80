//! When fewer allocations may follow more. PURE.

use serde::{Deserialize, Serialize};

use super::kept::Kept;

/// Seconds for which fewer must do before the first is taken away, and before the next ones are.
pub(super) const HOLD: f64 = 70.0;
const NEXT: f64 = 40.0;

/// The part of those above the need that is taken away at once: a burst is often followed by another.
const RELEASED: f64 = 0.7;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Hold {
    /// The most that was needed since fewer would do.
    needed: u32,
    seconds: Kept,
}

impl Hold {
    /// At least `up` are needed, and more than `down` are not.
    pub(super) fn next(&mut self, interval: f64, current: u32, up: u32, down: u32) -> u32 {
        let down = down.max(up);
        if down >= current {
            *self = Self::default();
            return current.max(up);
        }
        self.needed = self.needed.max(down).min(current);
        self.seconds.add(interval);
        if self.seconds.get() < HOLD {
            return current;
        }
        let spare = f64::from(current - self.needed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most what is spare")]
        let released = (spare * RELEASED).ceil() as u32;
        self.needed = down;
        self.seconds.set(HOLD - NEXT);
        current - released
    }

    /// Seconds until fewer are taken, while fewer would do.
    pub(super) fn left(&self) -> Option<f64> {
        (self.seconds.get() > 0.0).then(|| HOLD - self.seconds.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(hold: &mut Hold, seconds: u32, mut current: u32, down: u32) -> u32 {
        for _ in 0..seconds {
            current = hold.next(1.0, current, 1, down);
        }
        current
    }

    #[test]
    fn fewer_follow_only_once_fewer_would_do_for_the_whole_hold() {
        let mut hold = Hold::default();
        assert_eq!(after(&mut hold, 69, 10, 2), 10);
        assert_eq!(after(&mut hold, 1, 10, 10), 10, "a need within the hold begins it anew");
        assert_eq!(after(&mut hold, 69, 10, 2), 10);
        assert_eq!(after(&mut hold, 1, 10, 2), 4);
    }

    #[test]
    fn the_most_that_was_needed_during_the_hold_stays() {
        let mut hold = Hold::default();
        after(&mut hold, 30, 10, 2);
        after(&mut hold, 1, 10, 9);
        assert_eq!(after(&mut hold, 39, 10, 2), 9);
    }

    #[test]
    fn in_the_end_all_that_is_spare_has_gone() {
        assert_eq!(after(&mut Hold::default(), 400, 32, 3), 3);
    }

    #[test]
    fn more_are_there_at_once() {
        assert_eq!(Hold::default().next(1.0, 3, 9, 9), 9);
    }
}
