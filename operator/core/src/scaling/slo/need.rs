//! How many allocations are needed, from what is known. PURE.

use super::{
    Goal,
    demand::Rates,
    hold::HOLD,
    queueing::{Line, Service},
    trials::Trials,
};
use crate::scaling::{Checked, observation::as_number};

/// Share of its time for which an allocation that is held for bursts must be of use. It sets a price: with a service time of
/// 0.1 s, a late request costs as much as 3.3 s of an allocation.
const USE: f64 = 0.03;

/// Fewer than this part of that are not worth a start either.
const USE_DOWN: f64 = 0.7;

/// The part of the planned share with which fewer must do, and the standard errors of the rate.
const DOWN: f64 = 0.8;
const DOWN_ERRORS: f64 = 0.5;

/// Time without bursts that is assumed before the first look: one burst at once is not yet a rule.
const QUIET: f64 = 300.0;

/// Beyond this, the bursts within a wait are for the trials.
const MOST_BURSTS: f64 = 4.0;

/// Part of a start after which a backlog is looked at: of several starts, the first are over by then.
const REACH: f64 = 0.5;

/// How much more than the price says is started against a backlog, since it makes late whatever comes behind it.
const HASTE: f64 = 2.0;

/// Slightly more than the share that is late whatever is done, when growing and when shrinking: nothing is started for these.
const HOPELESS: (f64, f64) = (1.3, 1.15);

/// All that a need follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub service: Service,
    pub rates: Rates,
    /// Seconds that a request may wait.
    pub patience: f64,
    /// Seconds that a start takes.
    pub start: f64,
    /// Share of late requests to plan with.
    pub allowed: f64,
    pub maximum: u32,
    pub observed: Checked<'a>,
}

/// Numbers of allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// With fewer, too many requests would be late.
    pub up: u32,
    /// With these, more are of no use. At least `up`.
    pub down: u32,
    /// Of `up`, what the backlog needs.
    pub backlog: u32,
    /// Even with the maximum too many requests would be late, or wait for too long.
    pub short: bool,
}

impl Situation<'_> {
    pub(super) fn need(&self, goal: &Goal, trials: &Trials) -> Need {
        let Rates { sustained, ahead, error, dispersion, .. } = self.rates;
        // Within a wait, arrivals vary by the part of an interval that it is.
        let part = (self.patience / self.observed.interval).min(1.0);
        let bursts = (1.0 + (dispersion - 1.0) * part).min(MOST_BURSTS);
        let line = Line::new(self.service, bursts, goal.latency.as_secs_f64());
        let rate = ahead.max(sustained);
        let allowed = self.allowed.max(line.hopeless() * HOPELESS.0);
        let up = self.cheapest(&line, trials, rate, allowed, USE);
        let short = line.late(rate, self.maximum) > allowed;
        let allowed = (self.allowed * DOWN).max(line.hopeless() * HOPELESS.1);
        let down = self.cheapest(&line, trials, rate + DOWN_ERRORS * error, allowed, USE * USE_DOWN);
        let backlog = self.backlog();
        let up = up.max(backlog);
        Need { up, down: down.max(up), backlog, short: short || backlog > self.maximum }
    }

    /// Among the numbers that carry the present load and are not more than the goal needs: the one at which allocations and
    /// late requests of bursts together cost least.
    fn cheapest(&self, line: &Line, trials: &Trials, rate: f64, allowed: f64, price: f64) -> u32 {
        let requests = trials.requests().max(1.0);
        let seconds = trials.seconds().max(QUIET);
        let mut best = (f64::INFINITY, 1);
        for (number, late) in trials.late() {
            let planned = line.late(rate, number);
            if planned > allowed && number < self.maximum {
                continue;
            }
            let cost = price * f64::from(number) + late * self.service.mean / seconds;
            if cost < best.0 {
                best = (cost, number);
            }
            if planned + late / requests <= allowed {
                break;
            }
        }
        best.1
    }

    /// What waits beyond the time in which a start helps is worth more starts. `extra` allocations drain it in its work over
    /// `extra` seconds, in which all that comes is late; they are then there for the hold: the root is where both cost least.
    fn backlog(&self) -> u32 {
        let observed = self.observed;
        let reach = (self.start * REACH).max(observed.interval);
        let load = self.rates.sure * self.service.mean;
        let started = (reach / (2.0 * self.start)).min(1.0) / 2.0;
        let there = f64::from(observed.ready) + f64::from(observed.standby);
        let serving = there + f64::from(observed.starting) * started;
        let waiting = as_number(observed.queued) * self.service.mean;
        let left = waiting + (load - serving) * reach;
        if waiting <= 0.0 || left <= 0.0 {
            return 0;
        }
        let extra = HASTE * (load.max(0.0) * left / (USE * (HOLD + self.start))).sqrt();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive; the cast saturates"
        )]
        let needed = (load + extra).ceil() as u32;
        needed
    }
}
