//! A piece in line. Dropping it takes it out, wherever it is.

use std::sync::Arc;

use lexiscale_wire::GaveUp;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::slot::Wait;
use super::{Grant, Line, Refusal, Slot};
use crate::gateway::metrics::Waited;
use crate::gateway::queue::{Left, Seat};

#[derive(Debug)]
pub(crate) struct Waiting {
    line: Arc<Line>,
    receiver: oneshot::Receiver<Grant>,
    place: Place,
    is_settled: bool,
}

/// What stands in line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) seat: Seat,
    pub(super) texts: usize,
    /// When it came, and when it was asked for a slot: later, if an allocation has failed it.
    pub(super) since: Instant,
    pub(super) asked: Instant,
    /// There is no allocation at all.
    pub(super) is_first: bool,
}

/// How waiting ended without a slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Refused(Refusal),
    /// The deadline passed.
    Late,
}

impl Waiting {
    pub(super) fn new(line: Arc<Line>, receiver: oneshot::Receiver<Grant>, place: Place) -> Self {
        Self { line, receiver, place, is_settled: false }
    }

    /// Whether there was no allocation at all when the waiting began.
    pub(crate) fn is_for_first_allocation(&self) -> bool {
        self.place.is_first
    }

    pub(crate) async fn slot(&mut self, deadline: Instant) -> Result<Slot, Ended> {
        let ended = self.served(deadline).await;
        match &ended {
            Ok(_) => {}
            Err(Ended::Refused(_)) => self.count_in_vain(Waited::Refused),
            Err(Ended::Late) => self.count_in_vain(Waited::Late),
        }
        ended
    }

    fn count_in_vain(&self, outcome: Waited) {
        let waited = Instant::now().saturating_duration_since(self.place.asked);
        self.line.metrics.waited_in_vain(waited, outcome);
    }

    async fn served(&mut self, deadline: Instant) -> Result<Slot, Ended> {
        match timeout_at(deadline, &mut self.receiver).await {
            Ok(Ok(Ok(pod))) => {
                self.is_settled = true;
                let now = Instant::now();
                let Place { seat, texts, since, asked, is_first: _ } = self.place;
                self.line.metrics.waited(now.saturating_duration_since(asked));
                let wait = Wait { since, until: now };
                Ok(Slot::new(Arc::clone(&self.line), pod, seat, texts, wait))
            }
            Ok(Ok(Err(refusal))) => {
                self.is_settled = true;
                self.gave_up(refusal.why());
                Err(Ended::Refused(refusal))
            }
            // The queue threw it away as late, which it knows a moment before our own timer does.
            Ok(Err(_)) => {
                self.leave(GaveUp::Capacity);
                Err(Ended::Late)
            }
            Err(_) => Err(match self.leave(GaveUp::Capacity) {
                Left::Outside => Ended::Refused(self.line.full(&self.line.lock(), Instant::now())),
                Left::Line | Left::Nowhere => Ended::Late,
            }),
        }
    }

    /// A grant is sent under the line's lock: what is in line no more has one, and it must be given back.
    fn leave(&mut self, why: GaveUp) -> Left {
        self.is_settled = true;
        let mut state = self.line.lock();
        let left = state.queue.leave(self.place.seat);
        if left == Left::Nowhere
            && let Ok(Ok(pod)) = self.receiver.try_recv()
        {
            pod.end(self.place.seat.class(), self.place.texts);
            self.line.hand_out(&mut state, Instant::now());
        }
        self.line.show(&state);
        drop(state);
        self.gave_up(why);
        left
    }

    fn gave_up(&self, why: GaveUp) {
        self.line.load.gave_up(self.place.since, false, why, Instant::now());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_settled {
            self.count_in_vain(Waited::Cancelled);
            self.leave(GaveUp::Caller);
        }
    }
}
