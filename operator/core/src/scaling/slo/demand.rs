//! How many requests come each second: now, over a minute, and when a start would help. PURE.

use serde::{Deserialize, Serialize};

use super::{
    kept::{Kept, gain, left},
    trials::MEMORY,
};

/// Seconds over which the sustained rate is taken.
const SUSTAINED: f64 = 45.0;

/// Time over which the present rate is taken, in starts: what does not last a part of a start is not worth one.
const PRESENT: f64 = 0.1;

/// Longest time over which the present rate is taken.
const LONGEST: f64 = 30.0;

/// Seconds over which the dispersion of arrivals is taken, and from when it is believed.
const DISPERSION: (f64, f64) = (300.0, 30.0);

/// Beyond this dispersion, bursts are for their own memory.
const MOST_DISPERSED: f64 = 50.0;

/// Standard errors by which the present rate may be chance.
const CHANCE: f64 = 1.2;

/// Standard errors by which the sustained rate may be chance.
const RISE: f64 = 2.0;

/// Rises of so many squared allocations and seconds are taken to last until it is known whether they do.
const UNKNOWN_RISE: f64 = 100.0;

/// What the seconds before a rise make up for, as their mean lags.
const LAG: f64 = 2.0;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Demand {
    age: Kept,
    present: Kept,
    sustained: Kept,
    /// Arrivals of the interval before, their mean, and their variance by differences, which no trend disturbs.
    previous: Kept,
    mean: Kept,
    variance: Kept,
    /// Rises: what they were, what they were a start later, and a start ago.
    risen: Kept,
    lasted: Kept,
    before: Kept,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub present: f64,
    pub sustained: f64,
    /// The present rate less what may be chance, or what will not last.
    pub sure: f64,
    /// What is to be expected once a start is over.
    pub ahead: f64,
    /// Standard error of the sustained rate.
    pub error: f64,
    /// Variance of the arrivals in one interval in terms of their mean.
    pub dispersion: f64,
}

impl Demand {
    /// `start` is how long a start takes, `service` how long a request.
    pub(super) fn learn(&mut self, interval: f64, arrivals: f64, start: f64, service: f64) -> Rates {
        self.age.add(interval);
        let age = self.age.get();
        let memory = (start * PRESENT).clamp(interval, LONGEST.max(interval));
        let rate = arrivals / interval;
        self.present.approach(rate, gain(interval, memory, age));
        self.sustained.approach(rate, gain(interval, SUSTAINED, age));
        let dispersion = self.disperse(interval, arrivals);

        let (present, sustained) = (self.present.get(), self.sustained.get());
        let error = |rate: f64, memory: f64| (dispersion * rate / (2.0 * memory)).sqrt();
        let slow = error(sustained, SUSTAINED);
        let sure = present - CHANCE * error(present, memory);
        let rise = (sure - sustained - RISE * slow).max(0.0);
        // Two means of a straight line lag by their memories: its slope is their distance over those of both.
        let ahead = sure + rise * (memory + start) / (SUSTAINED - memory).max(memory);
        let lasting = self.last(interval, rise * service, start);
        let lasting = |rate: f64| sustained + (rate - sustained).max(0.0) * lasting;
        Rates {
            present,
            sustained,
            sure: sure.min(lasting(sure)),
            ahead: lasting(ahead),
            error: slow,
            dispersion,
        }
    }

    fn disperse(&mut self, interval: f64, arrivals: f64) -> f64 {
        let (memory, believed) = DISPERSION;
        let step = arrivals - self.previous.get();
        self.previous.set(arrivals);
        if self.age.get() > interval {
            let gain = gain(interval, memory, self.age.get());
            self.variance.approach(step * step / 2.0, gain);
            self.mean.approach(arrivals, gain);
        }
        if self.age.get() < believed {
            return 1.0;
        }
        (self.variance.get() / self.mean.get().max(0.1)).clamp(1.0, MOST_DISPERSED)
    }

    /// The part of a rise, in allocations, that was left a start later, as learnt from those before.
    fn last(&mut self, interval: f64, rise: f64, start: f64) -> f64 {
        let left_over = left(interval, MEMORY);
        self.risen.fade(left_over, rise * rise * interval);
        self.lasted.fade(left_over, rise * self.before.get() * interval);
        self.before.approach(rise, 1.0 - left(interval, start.max(interval)));
        ((LAG * self.lasted.get() + UNKNOWN_RISE) / (self.risen.get() + UNKNOWN_RISE)).min(1.0)
    }
}
