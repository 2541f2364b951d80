//! A backend whose runs wait until a test lets them go, so that what happens meanwhile needs no guessing of times.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use lexiscale_worker::backend::{Backend, BackendError, TokenBatch};
use lexiscale_worker::pooling::SparseRow;

/// Makes the backend panic when a text holds it.
pub(crate) const POISON: i64 = 42;

pub(crate) struct SlowBackend {
    started: mpsc::Sender<TokenBatch>,
    release: mpsc::Receiver<()>,
}

/// The test's end: sees each batch when it starts, and lets it go.
pub(crate) struct Gate {
    started: Mutex<mpsc::Receiver<TokenBatch>>,
    release: mpsc::Sender<()>,
}

pub(crate) fn slow_backend() -> (SlowBackend, Arc<Gate>) {
    let (started, batches) = mpsc::channel();
    let (release, released) = mpsc::channel();
    (SlowBackend { started, release: released }, Arc::new(Gate { started: Mutex::new(batches), release }))
}

impl Gate {
    /// Waits until a batch has started.
    pub(crate) fn next_batch(&self) -> TokenBatch {
        self.started.lock().unwrap().recv().unwrap()
    }

    pub(crate) fn has_batch(&self) -> bool {
        self.started.lock().unwrap().try_recv().is_ok()
    }

    pub(crate) fn release(&self, batches: usize) {
        for _ in 0..batches {
            self.release.send(()).unwrap();
        }
    }
}

impl Backend for SlowBackend {
    fn run(&mut self, batch: &TokenBatch) -> Result<Vec<SparseRow>, BackendError> {
        self.started.send(batch.clone()).unwrap();
        self.release.recv().unwrap();
        assert!(!batch.ids().contains(&POISON), "poisoned on purpose");
        Ok((0..batch.texts()).map(|_| SparseRow::from_dense(&[0.0, 1.0])).collect())
    }
}
