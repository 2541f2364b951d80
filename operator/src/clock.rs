//! The only file that reads a clock. Everything else gets `now` as a parameter.

use std::time::Instant;

use jiff::Timestamp;

/// The time of day.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The begin of something whose time is measured.
pub fn stopwatch() -> Instant {
    Instant::now()
}
