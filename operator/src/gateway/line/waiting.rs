//! A piece in line. Dropping it takes it out, wherever it is.

use std::sync::Arc;

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
    seat: Seat,
    texts: usize,
    since: Instant,
    is_first: bool,
    is_settled: bool,
}

/// How waiting ended without a slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Refused(Refusal),
    /// The deadline passed.
    Late,
}

impl Waiting {
    pub(super) fn new(
        line: Arc<Line>,
        receiver: oneshot::Receiver<Grant>,
        seat: Seat,
        texts: usize,
        since: Instant,
        is_first: bool,
    ) -> Self {
        Self { line, receiver, seat, texts, since, is_first, is_settled: false }
    }

    /// Whether there was no allocation at all when the waiting began.
    pub(crate) fn is_for_first_allocation(&self) -> bool {
        self.is_first
    }

    pub(crate) async fn slot(mut self, deadline: Instant) -> Result<Slot, Ended> {
        let ended = self.served(deadline).await;
        match &ended {
            Ok(_) => {}
            Err(Ended::Refused(_)) => self.count_in_vain(Waited::Refused),
            Err(Ended::Late) => self.count_in_vain(Waited::Late),
        }
        ended
    }

    fn count_in_vain(&self, outcome: Waited) {
        let waited = Instant::now().saturating_duration_since(self.since);
        self.line.metrics.waited_in_vain(waited, outcome);
    }

    async fn served(&mut self, deadline: Instant) -> Result<Slot, Ended> {
        match timeout_at(deadline, &mut self.receiver).await {
            Ok(Ok(Ok(pod))) => {
                self.is_settled = true;
                let now = Instant::now();
                let wait = Wait { since: self.since, until: now };
                self.line.metrics.waited(now.saturating_duration_since(self.since));
                Ok(Slot::new(Arc::clone(&self.line), pod, self.seat, self.texts, wait))
            }
            Ok(Ok(Err(refusal))) => {
                self.is_settled = true;
                self.gave_up();
                Err(Ended::Refused(refusal))
            }
            // The queue threw it away as late, which it knows a moment before our own timer does.
            Ok(Err(_)) => {
                self.leave();
                Err(Ended::Late)
            }
            Err(_) => Err(match self.leave() {
                Left::Outside => Ended::Refused(self.line.full(&self.line.lock(), Instant::now())),
                Left::Line | Left::Nowhere => Ended::Late,
            }),
        }
    }

    /// A grant is sent under the line's lock: what is in line no more has one, and it must be given back.
    fn leave(&mut self) -> Left {
        self.is_settled = true;
        let mut state = self.line.lock();
        let left = state.queue.leave(self.seat);
        if left == Left::Nowhere
            && let Ok(Ok(pod)) = self.receiver.try_recv()
        {
            pod.end(self.seat.class(), self.texts);
            self.line.hand_out(&mut state, Instant::now());
        }
        self.line.show(&state);
        drop(state);
        self.gave_up();
        left
    }

    fn gave_up(&self) {
        self.line.load.gave_up(self.since, false, Instant::now());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_settled {
            self.count_in_vain(Waited::Cancelled);
            self.leave();
        }
    }
}
