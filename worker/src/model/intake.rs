//! Reading a stranger's files: in a process of its own, with bounds on memory and time and without the token, so that a file
//! which crashes its reader, fills the memory or never ends costs this model and nothing else.

mod child;
mod limits;

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lexiscale_wire::{ByteSize, FetchReason};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::model::assemble::{Origin, assemble};
use crate::model::fetch::FetchError;
use crate::model::manifest::Manifest;
use crate::model::select::Selection;
use crate::model::verify::read_manifest;

pub use child::{ChildError, run as run_child};
pub use limits::Limits;

/// The subcommand of our own program that does the reading.
pub const COMMAND: &str = "intake";

/// Exit code of a child that failed before it touched a file.
pub const OWN_FAILURE: u8 = 5;

/// How often the child is looked after.
const GLANCE: Duration = Duration::from_millis(20);
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Where files are read.
#[derive(Clone, Debug)]
pub enum Intake {
    /// Right here, for files that are trusted. Nothing is run.
    Here,
    /// In a child of this program, with these bounds or what the model's size calls for. With a runtime, the model is run on the golden
    /// set before it is published.
    Child { program: PathBuf, runtime: Option<PathBuf>, limits: Option<Limits> },
}

/// What the child is told on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    folder: PathBuf,
    selection: Selection,
    origin: Origin,
    staging: PathBuf,
    runtime: Option<PathBuf>,
    limits: Limits,
    /// Where it leaves its answer.
    answer: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// The staging folder holds a model.
    Done {
        /// Of the time that it took, what the golden set took.
        comparing_ms: u64,
    },
    Refused {
        reason: FetchReason,
        message: String,
    },
}

/// What is to be made of which files.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    pub folder: &'a Path,
    pub selection: &'a Selection,
    pub origin: &'a Origin,
    pub staging: &'a Path,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Intaken {
    pub manifest: Manifest,
    /// How long the golden set took, by the word of whoever read the files.
    pub comparing: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("{message}")]
    Refused { reason: FetchReason, message: String },
    #[error(
        "the model's files ended the process that read them ({how}): they need more than {} of memory or {} s, or \
         were made to crash their readers", ByteSize(limits.memory_bytes), limits.seconds
    )]
    Died { how: String, limits: Limits },
    #[error("reading the model's files took more than {} s", limits.seconds)]
    Endless { limits: Limits },
    #[error("told to stop")]
    Interrupted,
    #[error("failed to read the model's files in a process of their own")]
    Process(#[source] io::Error),
    #[error("the process that reads the model's files could not do so; its log says why")]
    Silent,
}

impl IntakeError {
    pub fn reason(&self) -> FetchReason {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::Died { .. } | Self::Endless { .. } => FetchReason::UnsafeModel,
            Self::Interrupted => FetchReason::Interrupted,
            Self::Process(_) | Self::Silent => FetchReason::Internal,
        }
    }
}

impl Intake {
    /// Leaves a folder to publish in `staging`.
    pub fn run(&self, job: Job<'_>, cancel: &CancellationToken) -> Result<Intaken, FetchError> {
        let Job { folder, selection, origin, staging } = job;
        match self {
            Self::Here => {
                let manifest = assemble(folder, selection, origin.clone(), staging)?;
                Ok(Intaken { manifest, comparing: Duration::ZERO })
            }
            Self::Child { program, runtime, limits } => {
                let task = Task {
                    folder: folder.to_owned(),
                    selection: selection.clone(),
                    origin: origin.clone(),
                    staging: staging.to_owned(),
                    runtime: runtime.clone(),
                    limits: limits.unwrap_or_else(|| Limits::for_model(bytes(folder, selection))),
                    answer: folder.join("intake.json"),
                };
                let comparing = in_child(program, &task, cancel)?;
                let manifest = read_manifest(staging).map_err(|_| IntakeError::Silent)?;
                Ok(Intaken { manifest, comparing })
            }
        }
    }
}

fn bytes(folder: &Path, selection: &Selection) -> u64 {
    let size = |name: &str| fs_err::symlink_metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
    selection.names().map(size).fold(0, u64::saturating_add)
}

/// How long the golden set took.
fn in_child(program: &Path, task: &Task, cancel: &CancellationToken) -> Result<Duration, IntakeError> {
    // An answer of an earlier run is not one of this.
    match fs_err::remove_file(&task.answer) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(IntakeError::Process(error)),
        _ => {}
    }
    let mut child = start(program, task).map_err(IntakeError::Process)?;
    let ended = wait(&mut child, task.limits, cancel);
    if ended.is_err() {
        // Neither can fail for a child that has not been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = ended?;
    match answer(&task.answer) {
        Some(Answer::Done { comparing_ms }) if status.success() => Ok(Duration::from_millis(comparing_ms)),
        Some(Answer::Refused { reason, message }) => Err(IntakeError::Refused { reason, message }),
        _ if status.code() == Some(i32::from(OWN_FAILURE)) => Err(IntakeError::Silent),
        _ => Err(IntakeError::Died { how: how(status), limits: task.limits }),
    }
}

fn start(program: &Path, task: &Task) -> io::Result<Child> {
    let mut child = Command::new(program)
        .arg(COMMAND)
        // Tokens and addresses are in the environment.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .spawn()?;
    let task = serde_json::to_vec(task)?;
    let written = match child.stdin.take() {
        Some(mut input) => input.write_all(&task),
        None => Ok(()),
    };
    if written.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    written.map(|()| child)
}

fn wait(child: &mut Child, limits: Limits, cancel: &CancellationToken) -> Result<ExitStatus, IntakeError> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(IntakeError::Process)? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            return Err(IntakeError::Interrupted);
        }
        if started.elapsed() > Duration::from_secs(limits.seconds) {
            return Err(IntakeError::Endless { limits });
        }
        std::thread::sleep(GLANCE);
    }
}

fn answer(path: &Path) -> Option<Answer> {
    let bytes = fs_err::metadata(path).ok()?.len();
    if bytes > MAX_ANSWER_BYTES {
        return None;
    }
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}

fn how(status: ExitStatus) -> String {
    match status.signal() {
        Some(6) => "aborted".to_owned(),
        Some(9) => "killed".to_owned(),
        Some(11) => "segmentation fault".to_owned(),
        Some(24) => "out of CPU time".to_owned(),
        Some(other) => format!("signal {other}"),
        None => format!("{status}"),
    }
}
