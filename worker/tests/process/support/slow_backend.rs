//! A backend whose runs wait until a test lets them go, so that what happens meanwhile needs no guessing of times.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use lexiscale_worker::backend::{Backend, BackendError, Lane, Width};
use lexiscale_worker::pooling::SparseRow;
use lexiscale_worker::tokenize::Tokens;

/// Makes the backend panic when a text holds it.
pub(crate) const POISON: u32 = 42;

#[derive(Clone)]
pub(crate) struct SlowBackend {
    started: mpsc::Sender<(Tokens, Width)>,
    release: Arc<Mutex<mpsc::Receiver<()>>>,
}

/// The test's end: sees each text when it starts, and lets it go.
pub(crate) struct Gate {
    started: Mutex<mpsc::Receiver<(Tokens, Width)>>,
    release: mpsc::Sender<()>,
}

pub(crate) fn slow_backend() -> (SlowBackend, Arc<Gate>) {
    let (started, texts) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let backend = SlowBackend { started, release: Arc::new(Mutex::new(released)) };
    (backend, Arc::new(Gate { started: Mutex::new(texts), release }))
}

impl Gate {
    /// Waits until a text has started.
    pub(crate) fn next(&self) -> (Tokens, Width) {
        self.started.lock().unwrap().recv().unwrap()
    }

    pub(crate) fn has_next(&self) -> bool {
        self.started.lock().unwrap().try_recv().is_ok()
    }

    pub(crate) fn release(&self, texts: usize) {
        for _ in 0..texts {
            self.release.send(()).unwrap();
        }
    }
}

impl Backend for SlowBackend {
    fn lane(&self) -> Result<Box<dyn Lane>, BackendError> {
        Ok(Box::new(self.clone()))
    }
}

impl Lane for SlowBackend {
    fn run(&mut self, texts: &[&Tokens], width: Width) -> Result<Vec<SparseRow>, BackendError> {
        let row = |tokens: &&Tokens| {
            self.started.send(((*tokens).clone(), width)).unwrap();
            self.release.lock().unwrap().recv().unwrap();
            assert!(!tokens.ids.contains(&POISON), "poisoned on purpose");
            SparseRow::from_dense(&[0.0, 1.0])
        };
        Ok(texts.iter().map(row).collect())
    }
}
