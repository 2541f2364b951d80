//! The threads that run the model, and the queue in front of them. An [`Engine`] exists only after each of its lanes has
//! answered a first text, so whoever holds one can serve.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use lexiscale_wire::InputType;
use tokio::sync::mpsc;

use crate::backend::{Backend, BackendError, Lane, Width};
use crate::lanes::Lanes;
use crate::metrics::{DropReason, Metrics};
use crate::pooling::SparseRow;
use crate::queue::{Full, Job, Queue, Share};
use crate::tokenize::Tokens;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Lane(BackendError),
    #[error("the warm-up inference failed")]
    WarmUp(#[source] BackendError),
    #[error("the warm-up inference panicked")]
    WarmUpPanic,
    #[error("failed to start an inference thread")]
    Thread(#[source] std::io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the worker is shutting down")]
    Closed,
}

/// Why a text that was taken has no row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("the request's time was over before its turn")]
    Expired,
    #[error("the model failed: {0}")]
    Backend(String),
    #[error("the inference threads have ended")]
    Gone,
}

/// One request's texts, all of which wait in the queue together.
#[derive(Debug)]
pub struct Submission {
    pub texts: Vec<Tokens>,
    pub input_type: InputType,
    pub arrived: Instant,
    pub deadline: Option<Instant>,
}

struct Payload {
    index: usize,
    tokens: Tokens,
    reply: mpsc::Sender<(usize, Result<SparseRow, EngineError>)>,
    unanswered: Unanswered,
}

/// Counts a text from its arrival until it is answered or thrown away.
struct Unanswered(Arc<AtomicUsize>);

impl Unanswered {
    fn new(texts: &Arc<AtomicUsize>) -> Self {
        texts.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(texts))
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct State {
    queue: Queue<Payload>,
    lanes: Lanes,
    is_closed: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    metrics: Arc<Metrics>,
    tokens_together: usize,
    /// Texts that wait or run.
    texts: Arc<AtomicUsize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the queue as it was between two of its methods, which is a valid state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an engine is made.
#[derive(Clone, Copy, Debug)]
pub struct Dimensions {
    /// Texts that run side by side, and threads of a text that runs alone.
    pub threads: usize,
    /// Texts that may wait.
    pub capacity: usize,
}

pub struct Engine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The rows of a submission that are still to come. Dropping it tells the engine that nobody waits any more.
pub struct Pending {
    texts: usize,
    rows: mpsc::Receiver<(usize, Result<SparseRow, EngineError>)>,
}

impl Engine {
    /// Runs `warm_up` through each lane first, and waits for that.
    pub fn start(
        backend: &dyn Backend,
        dimensions: Dimensions,
        warm_up: &Tokens,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let Dimensions { threads, capacity } = dimensions;
        let lanes = warm_lanes(backend, threads.max(1), warm_up)?;
        let count = lanes.len();
        let state = State {
            queue: Queue::new(capacity),
            lanes: if backend.is_faster_wide() { Lanes::new(count) } else { Lanes::narrow(count) },
            is_closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            metrics,
            tokens_together: backend.tokens_together(),
            texts: Arc::default(),
        });
        // Dropped when a later thread cannot be started, which ends those before it.
        let engine = Self { shared, threads: Mutex::default() };
        for (number, mut lane) in lanes.into_iter().enumerate() {
            let shared = Arc::clone(&engine.shared);
            let thread = std::thread::Builder::new()
                .name(format!("lane-{number}"))
                .spawn(move || serve(&shared, lane.as_mut()))
                .map_err(StartError::Thread)?;
            engine.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(engine)
    }

    /// Whether so many texts would be taken now; lets a request be refused before it is tokenised.
    pub fn check_room(&self, texts: usize) -> Result<(), SubmitError> {
        let state = self.shared.lock();
        if state.is_closed {
            return Err(SubmitError::Closed);
        }
        Ok(state.queue.check_room(texts)?)
    }

    pub fn submit(&self, submission: Submission) -> Result<Pending, SubmitError> {
        let Submission { texts, input_type, arrived, deadline } = submission;
        let count = texts.len();
        let (reply, rows) = mpsc::channel(count.max(1));
        let jobs = texts
            .into_iter()
            .enumerate()
            .map(|(index, tokens)| Job {
                input_type,
                tokens: tokens.ids.len(),
                arrived,
                deadline,
                payload: Payload {
                    index,
                    tokens,
                    reply: reply.clone(),
                    unanswered: Unanswered::new(&self.shared.texts),
                },
            })
            .collect();
        let mut state = self.shared.lock();
        if state.is_closed {
            return Err(SubmitError::Closed);
        }
        state.queue.push(jobs)?;
        self.shared.metrics.queue_depth(state.queue.len());
        drop(state);
        match count {
            1 => self.shared.wake.notify_one(),
            _ => self.shared.wake.notify_all(),
        }
        Ok(Pending { texts: count, rows })
    }

    /// Texts that wait or run.
    pub fn load(&self) -> usize {
        self.shared.texts.load(Ordering::Relaxed)
    }

    /// Takes nothing new, finishes what waits, and returns when the threads have ended.
    pub fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.wake.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("an inference thread ended by a panic");
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pending {
    /// All rows in the order of the texts, or the first error.
    pub async fn rows(mut self) -> Result<Vec<SparseRow>, EngineError> {
        let mut rows: Vec<Option<SparseRow>> = vec![None; self.texts];
        for _ in 0..self.texts {
            let (index, row) = self.rows.recv().await.ok_or(EngineError::Gone)?;
            rows[index] = Some(row?);
        }
        rows.into_iter().collect::<Option<_>>().ok_or(EngineError::Gone)
    }
}

/// Makes the lanes side by side, as each may have a session to load, and lets each run a text.
fn warm_lanes(
    backend: &dyn Backend,
    count: usize,
    warm_up: &Tokens,
) -> Result<Vec<Box<dyn Lane>>, StartError> {
    let warm = || {
        let mut lane = backend.lane().map_err(StartError::Lane)?;
        lane.run(&[warm_up], Width::One).map_err(StartError::WarmUp)?;
        Ok(lane)
    };
    let mut lanes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(warm)).collect();
        let lanes = threads.into_iter().map(|thread| thread.join().map_err(|_| StartError::WarmUpPanic)?);
        lanes.collect::<Result<Vec<_>, _>>()
    })?;
    if let (Some(first), true) = (lanes.first_mut(), count > 1 && backend.is_faster_wide()) {
        first.run(&[warm_up], Width::All).map_err(StartError::WarmUp)?;
    }
    Ok(lanes)
}

fn serve(shared: &Shared, lane: &mut dyn Lane) {
    while let Some((jobs, width)) = next_jobs(shared) {
        run(shared, lane, jobs, width);
        let mut state = shared.lock();
        state.lanes.end();
        let is_wanted = !state.queue.is_empty() || state.is_closed;
        drop(state);
        if width == Width::All && is_wanted {
            // Whoever came meanwhile was not allowed to start.
            shared.wake.notify_all();
        }
    }
}

/// Waits for work. None when the engine is closed and nothing is left.
fn next_jobs(shared: &Shared) -> Option<(Vec<Job<Payload>>, Width)> {
    let mut state = shared.lock();
    loop {
        if state.lanes.may_start() {
            let share = Share { lanes: state.lanes.free(), tokens: shared.tokens_together };
            let next = state.queue.next(share, Instant::now(), |payload| payload.reply.is_closed());
            let waiting = state.queue.len();
            shared.metrics.queue_depth(waiting);
            shared.metrics.dropped(DropReason::Abandoned, next.abandoned);
            shared.metrics.dropped(DropReason::Expired, next.expired.len());
            for job in next.expired {
                answer(job.payload, Err(EngineError::Expired));
            }
            if !next.jobs.is_empty() {
                return Some((next.jobs, state.lanes.start(waiting > 0)));
            }
            if state.is_closed {
                return None;
            }
        }
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn run(shared: &Shared, lane: &mut dyn Lane, jobs: Vec<Job<Payload>>, width: Width) {
    let started = Instant::now();
    for job in &jobs {
        shared.metrics.queued(started.saturating_duration_since(job.arrived));
    }
    let texts: Vec<&Tokens> = jobs.iter().map(|job| &job.payload.tokens).collect();
    let outcome = rows(lane, &texts, width);
    shared.metrics.ran(texts.iter().map(|tokens| tokens.ids.len()), started.elapsed());
    match outcome {
        Ok(rows) => {
            for (job, row) in jobs.into_iter().zip(rows) {
                answer(job.payload, Ok(row));
            }
        }
        // Whoever failed fails again, and the others of its group are served.
        Err(_) if jobs.len() > 1 => {
            for job in jobs {
                run(shared, lane, vec![job], width);
            }
        }
        Err(failure) => {
            for job in jobs {
                let tokens = job.payload.tokens.ids.len();
                tracing::error!(failure, tokens, "a text failed");
                answer(job.payload, Err(EngineError::Backend(failure.clone())));
            }
        }
    }
}

/// A panic in the runtime's bindings must cost these texts only, not the process.
fn rows(lane: &mut dyn Lane, texts: &[&Tokens], width: Width) -> Result<Vec<SparseRow>, String> {
    match catch_unwind(AssertUnwindSafe(|| lane.run(texts, width))) {
        Ok(Ok(rows)) if rows.len() == texts.len() => Ok(rows),
        Ok(Ok(rows)) => Err(format!("{} rows for {} texts", rows.len(), texts.len())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    }
}

fn answer(payload: Payload, row: Result<SparseRow, EngineError>) {
    let Payload { index, tokens: _, reply, unanswered } = payload;
    // First, so that the answer does not find itself among the load that it tells.
    drop(unanswered);
    // The channel has room for each text's only answer; it fails when the caller has gone, which is no error.
    let _ = reply.try_send((index, row));
}
