//! A slot of an allocation: the right to have it work on one piece. It ends when the worker has answered or the
//! piece is given up.

use std::sync::Arc;
use std::time::Duration;

use lexiscale_wire::Times;
use tokio::time::Instant;

use super::Line;
use crate::gateway::pod::Pod;
use crate::gateway::queue::Seat;

#[derive(Debug)]
pub(crate) struct Slot {
    line: Arc<Line>,
    pod: Arc<Pod>,
    seat: Seat,
    texts: usize,
    waited: Waited,
    served: Option<Instant>,
    comes_back: bool,
}

/// From when to when a piece waited for its slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited {
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Waited {
    pub(super) fn not(now: Instant) -> Self {
        Self { since: now, until: now }
    }
}

impl Slot {
    pub(super) fn new(line: Arc<Line>, pod: Arc<Pod>, seat: Seat, texts: usize, waited: Waited) -> Self {
        line.load.began();
        Self { line, pod, seat, texts, waited, served: None, comes_back: false }
    }

    pub(crate) fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Where the piece stands if it has to come back.
    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }

    /// The worker has answered, and says how many texts it has left.
    pub(crate) fn answered(mut self, load: Option<usize>, now: Instant) {
        let Waited { since, until } = self.waited;
        self.line.metrics.worked(now.saturating_duration_since(until));
        let times = Times {
            service: self.pod.worked_since(until, now),
            queue: until.saturating_duration_since(since),
            latency: now.saturating_duration_since(since),
        };
        self.line.load.answered(times, now);
        if let Some(load) = load {
            self.pod.reported(load, self.texts, now);
        }
        self.served = Some(now);
    }

    /// The worker failed this piece, and would fail others too.
    pub(crate) fn failed(mut self, pause: Duration, now: Instant) {
        self.comes_back = true;
        self.line.avoid(&self.pod, pause, now);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let now = self.served.unwrap_or_else(Instant::now);
        match (self.served, self.comes_back) {
            (Some(_), _) => {}
            (None, true) => self.line.load.came_back(now),
            (None, false) => self.line.load.gave_up(self.waited.since, true, now),
        }
        let mut state = self.line.lock();
        self.pod.end(self.texts);
        if self.served.is_some() {
            state.rate.served(self.texts, now.into_std());
        }
        if !state.queue.is_empty() {
            self.line.hand_out(&mut state, now);
            self.line.show(&state);
        }
    }
}
