//! A slot of an allocation: the right to have it work on one piece. It ends when the worker has answered or the
//! piece is given up.

use std::sync::Arc;
use std::time::Duration;

use lexiscale_wire::{GaveUp, Times};
use tokio::time::Instant;

use super::{Before, Line};
use crate::gateway::metrics::Worked;
use crate::gateway::pod::Pod;
use crate::gateway::queue::Seat;

#[derive(Debug)]
pub(crate) struct Slot {
    line: Arc<Line>,
    pod: Arc<Pod>,
    seat: Seat,
    texts: usize,
    wait: Wait,
    served: Option<Instant>,
    outcome: Worked,
    /// If it ends without an answer.
    why: GaveUp,
}

/// From when to when a piece waited for its slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Slot {
    pub(super) fn new(line: Arc<Line>, pod: Arc<Pod>, seat: Seat, texts: usize, wait: Wait) -> Self {
        line.load.began();
        Self { line, pod, seat, texts, wait, served: None, outcome: Worked::Ended, why: GaveUp::Caller }
    }

    pub(crate) fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Where the piece stands if it has to come back.
    pub(crate) fn before(&self) -> Before {
        Before { seat: self.seat, since: self.wait.since }
    }

    /// The worker has answered, and says how many texts it has left and how long it worked.
    pub(crate) fn answered(mut self, load: Option<usize>, worked: Option<Duration>, now: Instant) {
        let Wait { since, until } = self.wait;
        self.line.metrics.worked(now.saturating_duration_since(until));
        let times = Times {
            service: worked.unwrap_or_else(|| now.saturating_duration_since(until)),
            queue: until.saturating_duration_since(since),
            latency: now.saturating_duration_since(since),
        };
        self.line.load.answered(times, now);
        if let Some(load) = load {
            self.pod.reported(load, self.texts, now);
        }
        self.served = Some(now);
        self.outcome = Worked::Answered;
    }

    /// The worker was lost with this piece, which is given to no other.
    pub(crate) fn lost(mut self, pause: Duration, now: Instant) {
        self.why = GaveUp::Capacity;
        self.line.avoid(&self.pod, pause, now);
    }

    /// The worker failed this piece, and would fail others too.
    pub(crate) fn failed(mut self, pause: Duration, now: Instant) {
        self.outcome = Worked::Failed;
        self.line.avoid(&self.pod, pause, now);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let now = self.served.unwrap_or_else(Instant::now);
        match self.outcome {
            Worked::Answered => {}
            Worked::Failed => self.line.load.came_back(now),
            Worked::Ended => self.line.load.gave_up(self.wait.since, true, self.why, now),
        }
        let mut state = self.line.lock();
        self.pod.end(self.seat.class(), self.texts);
        if self.outcome != Worked::Answered {
            self.line.metrics.worked_in_vain(now.saturating_duration_since(self.wait.until), self.outcome);
        }
        if self.served.is_some() {
            state.rate.served(self.texts, now.into_std());
        }
        if !state.queue.is_empty() {
            self.line.hand_out(&mut state, now);
            self.line.show(&state);
        }
    }
}
