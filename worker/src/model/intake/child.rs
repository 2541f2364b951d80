//! The child's side: binds itself, reads, answers.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Answer, Task};
use crate::backend::onnx::OnnxRuntime;
use crate::model::assemble::{AssembleError, assemble, write_manifest};
use crate::model::fetch::FetchError;
use crate::model::golden::{self, GoldenError};
use crate::telemetry::chain;

const MAX_TASK_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("failed to read what is to be done")]
    Task(#[source] io::Error),
    #[error("failed to bound this process")]
    Limits(#[source] io::Error),
    #[error("failed to write the answer to {path}")]
    Answer {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Does what standard input says. An error is one of ours; what is wrong with the model is an answer.
pub fn run() -> Result<(), ChildError> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_TASK_BYTES).read_to_end(&mut bytes).map_err(ChildError::Task)?;
    let task: Task = serde_json::from_slice(&bytes).map_err(|error| ChildError::Task(error.into()))?;
    task.limits.apply().map_err(ChildError::Limits)?;
    let (path, staging) = (task.answer.clone(), task.staging.clone());
    let answer = match work(task) {
        Ok(comparing) => {
            Answer::Done { comparing_ms: u64::try_from(comparing.as_millis()).unwrap_or(u64::MAX) }
        }
        Err(error) => {
            // On a full volume there would be no room for the answer.
            let _ = fs_err::remove_dir_all(&staging);
            Answer::Refused { reason: error.reason(), message: chain(&error) }
        }
    };
    let json = serde_json::to_vec(&answer).map_err(|error| ChildError::Task(error.into()))?;
    fs_err::write(&path, json).map_err(|source| ChildError::Answer { path, source })
}

/// How long the golden set took.
fn work(task: Task) -> Result<Duration, FetchError> {
    let Task { folder, selection, origin, staging, runtime, limits: _, answer: _ } = task;
    let mut manifest = assemble(&folder, &selection, origin, &staging)?;
    let started = Instant::now();
    if let Some(library) = runtime {
        let root = folder.join(&selection.root);
        let runtime = OnnxRuntime::load(&library).map_err(GoldenError::from).map_err(AssembleError::from)?;
        manifest.golden = golden::judge(&staging, &root, &runtime).map_err(AssembleError::from)?;
        write_manifest(&staging, &manifest)?;
    }
    Ok(started.elapsed())
}
