//! Numbers that are remembered. PURE.

use serde::{Deserialize, Serialize};

/// A number in single precision: short as JSON, and the same once it was read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "f32", into = "f32")]
pub(super) struct Kept(f32);

/// JSON knows no infinity; nothing that is measured comes near.
const LARGEST: f64 = 1e30;

impl Kept {
    pub(super) fn get(self) -> f64 {
        f64::from(self.0)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "digits are what is to be lost, and the range was bounded"
    )]
    pub(super) fn set(&mut self, value: f64) {
        self.0 = value.clamp(-LARGEST, LARGEST) as f32;
    }

    pub(super) fn add(&mut self, value: f64) {
        self.set(self.get() + value);
    }

    /// Moves a part of the way to a value.
    pub(super) fn approach(&mut self, value: f64, part: f64) {
        self.add((value - self.get()) * part);
    }

    /// What is left of it, and more.
    pub(super) fn fade(&mut self, left: f64, more: f64) {
        self.set(self.get() * left + more);
    }
}

/// What was stored by hand may be anything.
impl From<f32> for Kept {
    fn from(value: f32) -> Self {
        let mut kept = Self(0.0);
        kept.set(if value.is_nan() { 0.0 } else { f64::from(value) });
        kept
    }
}

impl From<Kept> for f32 {
    fn from(kept: Kept) -> Self {
        kept.0
    }
}

/// The part that is left of a memory after some seconds.
pub(super) fn left(seconds: f64, memory: f64) -> f64 {
    (-seconds / memory).exp()
}

/// How far a moving mean moves for its latest value. While it is younger than its memory, it is a plain mean.
pub(super) fn gain(seconds: f64, memory: f64, age: f64) -> f64 {
    (1.0 - left(seconds, memory)).max(seconds / age).min(1.0)
}
