//! The thread that owns the model, and the queue in front of it. An [`Engine`] exists only after its backend has
//! answered a first batch, so whoever holds one can serve.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use lexiscale_wire::InputType;
use tokio::sync::mpsc;

use crate::backend::{Backend, BackendError, TokenBatch};
use crate::metrics::{DropReason, Metrics};
use crate::pooling::SparseRow;
use crate::queue::{Full, Job, Limits, Queue, padded_length};
use crate::tokenize::Tokens;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the warm-up inference failed")]
    WarmUp(#[source] BackendError),
    #[error("the warm-up inference answered {rows} rows for one text")]
    WarmUpRows { rows: usize },
    #[error("failed to start the inference thread")]
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
    #[error("the inference thread has ended")]
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
    is_closed: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    metrics: Arc<Metrics>,
    /// Texts that wait or run.
    texts: Arc<AtomicUsize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the queue as it was between two of its methods, which is a valid state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Engine {
    shared: Arc<Shared>,
    window: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The rows of a submission that are still to come. Dropping it tells the engine that nobody waits any more.
pub struct Pending {
    texts: usize,
    rows: mpsc::Receiver<(usize, Result<SparseRow, EngineError>)>,
}

impl Engine {
    /// Runs `warm_up` through the backend first, on the calling thread. The model has `window` positions.
    pub fn start(
        mut backend: Box<dyn Backend>,
        window: usize,
        warm_up: &Tokens,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let batch = TokenBatch::new([warm_up], padded_length(warm_up.ids.len(), window));
        let rows = backend.run(&batch).map_err(StartError::WarmUp)?;
        if rows.len() != 1 {
            return Err(StartError::WarmUpRows { rows: rows.len() });
        }
        let state = State { queue: Queue::new(limits), is_closed: false };
        let texts = Arc::default();
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new(), metrics, texts });
        let thread = std::thread::Builder::new()
            .name("inference".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || serve(&shared, backend.as_mut())
            })
            .map_err(StartError::Thread)?;
        Ok(Self { shared, window, thread: Mutex::new(Some(thread)) })
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
                length: padded_length(tokens.ids.len(), self.window),
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
        self.shared.wake.notify_one();
        Ok(Pending { texts: count, rows })
    }

    /// Texts that wait or run.
    pub fn load(&self) -> usize {
        self.shared.texts.load(Ordering::Relaxed)
    }

    /// Takes nothing new, finishes what waits, and returns when the thread has ended.
    pub fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the inference thread ended by a panic");
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

fn serve(shared: &Shared, backend: &mut dyn Backend) {
    while let Some(batch) = next_batch(shared) {
        run(shared, backend, batch);
    }
}

/// Waits for work. None when the engine is closed and nothing is left.
fn next_batch(shared: &Shared) -> Option<Vec<Job<Payload>>> {
    let mut state = shared.lock();
    loop {
        let next = state.queue.next(Instant::now(), |payload| payload.reply.is_closed());
        shared.metrics.queue_depth(state.queue.len());
        shared.metrics.dropped(DropReason::Abandoned, next.abandoned);
        shared.metrics.dropped(DropReason::Expired, next.expired.len());
        for job in next.expired {
            answer(job.payload, Err(EngineError::Expired));
        }
        if !next.batch.is_empty() {
            return Some(next.batch);
        }
        if state.is_closed {
            return None;
        }
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn run(shared: &Shared, backend: &mut dyn Backend, jobs: Vec<Job<Payload>>) {
    let started = Instant::now();
    for job in &jobs {
        shared.metrics.queued(started.saturating_duration_since(job.arrived));
    }
    let length = jobs.first().map_or(0, |job| job.length);
    let batch = TokenBatch::new(jobs.iter().map(|job| &job.payload.tokens), length);
    // A panic in the runtime's bindings must cost these requests only, not the process.
    let outcome = catch_unwind(AssertUnwindSafe(|| backend.run(&batch)));
    shared.metrics.ran(&batch, started.elapsed());
    let failure = match outcome {
        Ok(Ok(rows)) if rows.len() == jobs.len() => {
            for (job, row) in jobs.into_iter().zip(rows) {
                answer(job.payload, Ok(row));
            }
            return;
        }
        Ok(Ok(rows)) => format!("{} rows for {} texts", rows.len(), jobs.len()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    tracing::error!(failure, texts = jobs.len(), length, "a batch failed");
    for job in jobs {
        answer(job.payload, Err(EngineError::Backend(failure.clone())));
    }
}

fn answer(payload: Payload, row: Result<SparseRow, EngineError>) {
    let Payload { index, tokens: _, reply, unanswered } = payload;
    // First, so that the answer does not find itself among the load that it tells.
    drop(unanswered);
    // The channel has room for each text's only answer; it fails when the caller has gone, which is no error.
    let _ = reply.try_send((index, row));
}
