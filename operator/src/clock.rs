//! The only file that reads a clock. Everything else gets `now` as a parameter.

use jiff::Timestamp;

/// The time of day.
pub fn now() -> Timestamp {
    Timestamp::now()
}
