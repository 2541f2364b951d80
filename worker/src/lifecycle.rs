//! Where the process is in its life. Readiness follows from it and from nothing else.

use std::sync::Arc;
use std::time::Duration;

use lexiscale_wire::{WorkerError, WorkerErrorKind};
use tokio::sync::watch;

use crate::embedder::Embedder;

#[derive(Clone)]
enum Stage {
    Loading,
    Ready(Arc<Embedder>),
    /// Told to stop: not ready any more, but what still arrives is answered until the process ends.
    Draining(Option<Arc<Embedder>>),
}

/// Shared by the server's handlers and by whoever loads the model.
#[derive(Clone)]
pub struct Lifecycle {
    stage: watch::Sender<Stage>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Loading) }
    }
}

impl Lifecycle {
    /// The model has answered its warm-up. Comes too late when the process was told to stop meanwhile.
    pub fn ready(&self, embedder: Arc<Embedder>) {
        self.stage.send_modify(|stage| match stage {
            Stage::Loading => *stage = Stage::Ready(embedder),
            Stage::Draining(slot) => *slot = Some(embedder),
            Stage::Ready(_) => {}
        });
    }

    pub fn drain(&self) {
        self.stage.send_modify(|stage| {
            *stage = match std::mem::replace(stage, Stage::Loading) {
                Stage::Loading => Stage::Draining(None),
                Stage::Ready(embedder) => Stage::Draining(Some(embedder)),
                Stage::Draining(slot) => Stage::Draining(slot),
            };
        });
    }

    /// Why not, when it is not.
    pub fn readiness(&self) -> Result<(), WorkerError> {
        let reason = match &*self.stage.borrow() {
            Stage::Ready(_) => return Ok(()),
            Stage::Loading => "the model is being loaded",
            Stage::Draining(_) => "the worker is shutting down",
        };
        Err(WorkerError::new(WorkerErrorKind::NotReady, reason))
    }

    /// As [`Self::readiness`], but while the model is being loaded it is waited for, at most for `patience`: who asks now is told
    /// the moment it is there, and does not have to come again.
    pub async fn readiness_within(&self, patience: Duration) -> Result<(), WorkerError> {
        let mut stage = self.stage.subscribe();
        let loaded = stage.wait_for(|stage| !matches!(stage, Stage::Loading));
        // Neither the end of the patience nor that of the sender changes what is the case.
        drop(tokio::time::timeout(patience, loaded).await);
        self.readiness()
    }

    pub fn embedder(&self) -> Result<Arc<Embedder>, WorkerError> {
        match &*self.stage.borrow() {
            Stage::Ready(embedder) | Stage::Draining(Some(embedder)) => Ok(Arc::clone(embedder)),
            Stage::Loading | Stage::Draining(None) => {
                Err(WorkerError::new(WorkerErrorKind::NotReady, "the model is not loaded"))
            }
        }
    }
}
