//! The line in front of an endpoint's allocations. A piece of work that asks gets a slot of an allocation, or waits
//! until it is handed one: when another piece is through, when a pod becomes ready, when one that was avoided may
//! be tried again. Each of these wakes exactly as many waiters as there are slots. Whoever stops waiting is out
//! of the line at once, and whoever lets go of a slot frees it.

mod slot;
mod waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lexiscale_wire::{GaveUp, LoadCounters};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::load::Load;
use super::metrics::{LineMetrics, Rejection};
use super::pod::{self, Pod, Role};
use super::queue::{Claim, Class, Full, Piece, Queue, Room, Seat};
use super::rate::{Rate, retry_after};

pub(crate) use self::slot::Slot;
use self::slot::Wait;
use self::waiting::Place;
pub(crate) use self::waiting::{Ended, Waiting};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Texts in line.
    pub(crate) queued_texts: usize,
    /// Requests that wait while there is no allocation.
    pub(crate) held: usize,
    /// Pieces that an allocation has at a time.
    pub(crate) slots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queued_texts: 10_000, held: 1024, slots: 2 }
    }
}

/// One endpoint's line. It lives as long as the object it was made for.
#[derive(Debug)]
pub(crate) struct Line {
    limits: Limits,
    metrics: LineMetrics,
    load: Load,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue<Sender>,
    pods: Vec<Arc<Pod>>,
    standing: Standing,
    rotation: usize,
    rate: Rate,
}

/// The pod's count is raised before it is sent.
type Grant = Result<Arc<Pod>, Refusal>;
type Sender = oneshot::Sender<Grant>;

/// What the endpoint's object says of waiting for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Standing {
    #[default]
    Open,
    /// Nothing will serve before somebody acts: without pods, waiting would only hide that.
    Stalled { reason: String, message: String },
    /// The object was deleted.
    Gone,
}

/// Why nobody will serve a piece.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    Gone,
    Stalled {
        reason: String,
        message: String,
    },
    /// So many texts stand in line.
    Full {
        limit: usize,
        retry_after: u64,
    },
    /// So many requests wait for a first allocation.
    TooManyHeld {
        limit: usize,
    },
}

impl Refusal {
    /// Whether more allocations would have helped.
    fn why(&self) -> GaveUp {
        match self {
            Self::Full { .. } | Self::TooManyHeld { .. } => GaveUp::Capacity,
            Self::Gone | Self::Stalled { .. } => GaveUp::Caller,
        }
    }
}

/// A piece of work that wants a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) class: Class,
    pub(crate) texts: usize,
    pub(crate) deadline: Instant,
    pub(crate) claim: Claim,
    /// Where the piece stood before, if an allocation failed it.
    pub(crate) before: Option<Before>,
}

/// Where a piece stood that has to come back, and since when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Before {
    pub(crate) seat: Seat,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) enum Turn {
    Now(Slot),
    Later(Waiting),
}

impl Line {
    pub(crate) fn new(limits: Limits, metrics: LineMetrics, now: Instant) -> Self {
        let state = State {
            queue: Queue::new(limits.queued_texts),
            pods: Vec::new(),
            standing: Standing::Open,
            rotation: 0,
            rate: Rate::new(now.into_std()),
        };
        Self { limits, metrics, load: Load::default(), state: Mutex::new(state) }
    }

    pub(crate) fn metrics(&self) -> &LineMetrics {
        &self.metrics
    }

    /// What the cluster looks like now.
    pub(crate) fn follow(&self, pods: &[Arc<Pod>], standing: Standing, now: Instant) {
        let mut state = self.lock();
        state.pods = pods.to_vec();
        state.standing = standing;
        self.hand_out(&mut state, now);
        state.send_away();
        self.show(&state);
    }

    /// What the controller is told.
    pub(crate) fn load(&self, now: Instant) -> LoadCounters {
        let queued = self.lock().queue.len();
        self.load.counters(queued, now)
    }

    pub(crate) fn aims_at(&self, goal: Option<Duration>) {
        self.load.aims_at(goal);
    }

    /// A slot if one is free, a place in line otherwise.
    pub(crate) fn ask(self: &Arc<Self>, wish: Wish, now: Instant) -> Result<Turn, Refusal> {
        // One that comes back has arrived before.
        let since = wish.before.map_or(now, |before| before.since);
        if wish.before.is_none() {
            self.load.arrived(now);
        }
        let turn = self.turn(wish, since, now);
        if let Err(refusal) = &turn {
            self.load.gave_up(since, false, refusal.why(), now);
        }
        turn
    }

    fn turn(self: &Arc<Self>, wish: Wish, since: Instant, now: Instant) -> Result<Turn, Refusal> {
        let Wish { class, texts, deadline, claim, before } = wish;
        let mut state = self.lock();
        if let Some(refusal) = state.refusal() {
            return Err(refusal);
        }
        let seat = before.map_or_else(|| state.queue.seat(class), |before| before.seat);
        if let Some((pod, room)) = state.free_slot(self.limits.slots, now)
            && (room == Room::Any || class == Class::Search)
            && state.queue.pass(class)
        {
            pod.begin(class, texts);
            drop(state);
            self.metrics.waited(Duration::ZERO);
            let wait = Wait { since, until: now };
            return Ok(Turn::Now(Slot::new(Arc::clone(self), pod, seat, texts, wait)));
        }
        let is_first = state.pods.is_empty();
        if is_first && claim != Claim::Kept && state.queue.len() >= self.limits.held {
            self.metrics.rejected(Rejection::Held);
            return Err(Refusal::TooManyHeld { limit: self.limits.held });
        }
        let (sender, receiver) = oneshot::channel();
        let piece = Piece { seat, texts, deadline: deadline.into_std(), payload: sender };
        if let Err(Full) = state.queue.enter(piece, claim) {
            return Err(self.full(&state, now));
        }
        // The line may hold only pieces that do not fit the free slot.
        self.hand_out(&mut state, now);
        self.show(&state);
        let place = Place { seat, texts, since, asked: now, is_first };
        Ok(Turn::Later(Waiting::new(Arc::clone(self), receiver, place)))
    }

    /// Leaves a pod alone for a moment, and hands out to it again after that.
    pub(crate) fn avoid(self: &Arc<Self>, pod: &Pod, pause: Duration, now: Instant) {
        pod.avoid(now, pause);
        let line = Arc::downgrade(self);
        tokio::spawn(async move {
            // The count is of whole milliseconds.
            let until = now + pause + Duration::from_millis(1);
            tokio::time::sleep_until(until).await;
            if let Some(line) = line.upgrade() {
                let mut state = line.lock();
                line.hand_out(&mut state, until);
                line.show(&state);
            }
        });
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state as it was between two calls of the queue, which is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self, state: &State, now: Instant) -> Refusal {
        self.metrics.rejected(Rejection::Queue);
        let rate = state.rate.texts_per_second(now.into_std());
        let retry_after = retry_after(state.queue.texts(), rate);
        Refusal::Full { limit: self.limits.queued_texts, retry_after }
    }

    /// As many pieces as there are slots for them.
    fn hand_out(&self, state: &mut State, now: Instant) {
        while !state.queue.is_empty() {
            let Some((pod, room)) = state.free_slot(self.limits.slots, now) else { return };
            let Some(piece) = state.queue.take(now.into_std(), room) else { return };
            let class = piece.seat.class();
            pod.begin(class, piece.texts);
            // Until its waiter runs, the piece is neither in line nor at an allocation, and yet no proof of rest.
            self.load.touched(now);
            // A waiter leaves the line under this lock before it is dropped, so there is one to take it.
            if let Err(Ok(pod)) = piece.payload.send(Ok(pod)) {
                pod.end(class, piece.texts);
            }
        }
    }

    fn show(&self, state: &State) {
        let held = if state.pods.is_empty() { state.queue.len() } else { 0 };
        self.metrics.in_line(state.queue.texts(), held);
    }
}

impl State {
    /// Tells everybody in line that nobody will come.
    fn send_away(&mut self) {
        let Some(refusal) = self.refusal() else { return };
        for piece in self.queue.drain() {
            // Who is gone needs no answer.
            let _ = piece.payload.send(Err(refusal.clone()));
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        match &self.standing {
            Standing::Gone => Some(Refusal::Gone),
            Standing::Stalled { reason, message } if self.pods.is_empty() => {
                Some(Refusal::Stalled { reason: reason.clone(), message: message.clone() })
            }
            Standing::Stalled { .. } | Standing::Open => None,
        }
    }

    /// A slot for anything, or else one beside documents, which only a search may have.
    fn free_slot(&mut self, slots: usize, now: Instant) -> Option<(Arc<Pod>, Room)> {
        self.rotation = self.rotation.wrapping_add(1);
        let first_standby = self.pods.partition_point(|pod| pod.role() == Role::Reserved);
        let (reserved, standbys) = self.pods.split_at(first_standby);
        // A standby is lent when all others are busy.
        let order = [
            (reserved, Room::Any),
            (standbys, Room::Any),
            (reserved, Room::SearchOnly),
            (standbys, Room::SearchOnly),
        ];
        order.into_iter().find_map(|(pods, room)| {
            let pod = pod::choose(pods, room, slots, self.rotation, now)?;
            Some((Arc::clone(pod), room))
        })
    }
}

#[cfg(test)]
#[path = "line/tests.rs"]
mod tests;
