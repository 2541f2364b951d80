//! One file onto the volume: from where an earlier try ended, checked, and only then under its own name.
//!
//! `NAME.part` holds what has come so far and `NAME.part.tag` the tag of the content that it is a part of; both outlive
//! the process, so a pod that was killed goes on where it stopped.

mod part;

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use http::StatusCode;
use lexiscale_wire::Phase;
use tokio_util::sync::CancellationToken;

use crate::model::progress::Tracker;
use crate::model::remote::{Content, Hash, Remote, RemoteError, RemoteFile, Resume};
use crate::model::retry::{Attempts, RetryPolicy, chance};
use part::{Paths, check};

/// Wrong content is fetched once more from its beginning, for it may have been damaged on the way.
const WRONG_CONTENTS: u32 = 2;

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("the transfer of {file} broke off again and again")]
    Broken {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} comes at less than {floor} bytes a second, again and again")]
    TooSlow { file: String, floor: u64 },
    #[error("the download has not ended within {} seconds", limit.as_secs())]
    TooLong { limit: Duration },
    #[error("{file} is not what its source says it is: {reason}")]
    Wrong { file: String, reason: String },
    #[error("failed to write {file}")]
    Write {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("told to stop")]
    Interrupted,
}

/// What a file should be. Without a hash it is taken as it comes, and what came is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub file: RemoteFile,
    pub size: u64,
    pub hashes: Vec<Hash>,
}

impl Wanted {
    fn name(&self) -> &str {
        &self.file.name
    }
}

/// How slow a transfer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second, over each window.
    pub floor: u64,
    pub window: Duration,
    /// For all files together.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        // The Job's own deadline is at six hours; this one leaves a report.
        Self { floor: 1024, window: Duration::from_secs(30), longest: Duration::from_mins(330) }
    }
}

pub struct Downloader<'a> {
    pub remote: &'a dyn Remote,
    pub revision: &'a str,
    pub folder: &'a Path,
    pub retry: RetryPolicy,
    pub pace: Pace,
    pub started: Instant,
    pub tracker: &'a Tracker,
    pub cancel: &'a CancellationToken,
}

/// One try's end.
enum Try {
    Complete,
    /// The connection ended before the content did.
    CutOff(io::Error),
    TooSlow,
}

impl Downloader<'_> {
    /// Ends with the file under its own name in the folder, and says its sha256.
    pub fn fetch(&self, wanted: &Wanted) -> Result<String, DownloadError> {
        let paths = Paths::new(self.folder, wanted.name());
        let write = |source| DownloadError::Write { file: wanted.name().to_owned(), source };
        if paths.whole.exists() {
            if let Ok(sha256) = check(&paths.whole, wanted).map_err(write)? {
                self.tracker.kept(wanted.size);
                self.tracker.file_done();
                return Ok(sha256);
            }
            fs_err::remove_file(&paths.whole).map_err(write)?;
        }
        if let Some(parent) = paths.whole.parent() {
            fs_err::create_dir_all(parent).map_err(write)?;
        }
        let kept = paths.kept();
        self.tracker.kept(kept.min(wanted.size));
        if kept > 0 {
            tracing::info!(file = wanted.name(), bytes = kept, "going on with an earlier download");
        }
        for wrong in 1..=WRONG_CONTENTS {
            let reason = match self.complete(wanted, &paths) {
                Ok(sha256) => {
                    paths.finish().map_err(write)?;
                    self.tracker.file_done();
                    return Ok(sha256);
                }
                Err(DownloadError::Wrong { file: _, reason }) => reason,
                Err(error) => return Err(error),
            };
            tracing::warn!(file = wanted.name(), reason, wrong, "downloaded content is wrong");
            self.restart(wanted, &paths)?;
            if wrong == WRONG_CONTENTS {
                return Err(DownloadError::Wrong { file: wanted.name().to_owned(), reason });
            }
            self.tracker.retry();
        }
        Err(DownloadError::Interrupted)
    }

    /// Transfers what is missing and checks the whole.
    fn complete(&self, wanted: &Wanted, paths: &Paths) -> Result<String, DownloadError> {
        self.tracker.phase(Phase::Downloading, Instant::now());
        self.transfer(wanted, paths)?;
        self.tracker.phase(Phase::Verifying, Instant::now());
        let file = || wanted.name().to_owned();
        check(&paths.part, wanted)
            .map_err(|source| DownloadError::Write { file: file(), source })?
            .map_err(|reason| DownloadError::Wrong { file: file(), reason })
    }

    /// Tries until the part is complete.
    fn transfer(&self, wanted: &Wanted, paths: &Paths) -> Result<(), DownloadError> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            let before = paths.kept();
            let outcome = self.try_once(wanted, paths);
            let mut made_progress = paths.kept() > before;
            let (error, at_least) = match outcome {
                Ok(Try::Complete) => return Ok(()),
                Ok(Try::CutOff(source)) => {
                    (DownloadError::Broken { file: wanted.name().to_owned(), source }, None)
                }
                Ok(Try::TooSlow) => {
                    // What crawls has always come a little further; that must not make it try for ever.
                    made_progress = false;
                    let (file, floor) = (wanted.name().to_owned(), self.pace.floor);
                    (DownloadError::TooSlow { file, floor }, None)
                }
                Err(DownloadError::Remote(error)) if error.is_transient() => {
                    let wait = error.retry_after();
                    (DownloadError::Remote(error), wait)
                }
                Err(error) => return Err(error),
            };
            let Some(delay) = attempts.failed(made_progress, chance()) else {
                return Err(error);
            };
            let delay = delay.max(at_least.unwrap_or_default());
            let reason = crate::telemetry::chain(&error);
            tracing::warn!(file = wanted.name(), reason, ?delay, "transfer failed, trying again");
            self.tracker.retry();
            pause(delay, self.cancel)?;
        }
    }

    fn check_time(&self) -> Result<(), DownloadError> {
        if self.cancel.is_cancelled() {
            return Err(DownloadError::Interrupted);
        }
        if self.started.elapsed() > self.pace.longest {
            return Err(DownloadError::TooLong { limit: self.pace.longest });
        }
        Ok(())
    }

    fn try_once(&self, wanted: &Wanted, paths: &Paths) -> Result<Try, DownloadError> {
        self.check_time()?;
        let kept = paths.kept();
        if kept > wanted.size {
            self.restart(wanted, paths)?;
        } else if kept == wanted.size && kept > 0 {
            return Ok(Try::Complete);
        }
        // Two halves that nothing proves to be of one whole are not put together.
        if wanted.hashes.is_empty() && paths.tag().is_none() {
            self.restart(wanted, paths)?;
        }
        let kept = paths.kept();
        let resume = (kept > 0).then(|| Resume { offset: kept, tag: paths.tag() });
        let content = self.remote.content(self.revision, &wanted.file, resume.as_ref())?;
        let wrong = |reason: String| DownloadError::Wrong { file: wanted.name().to_owned(), reason };
        if content.encoded {
            return Err(wrong("it comes compressed, although asked for as it is".to_owned()));
        }
        if let Some(found) = content.size.filter(|found| *found != wanted.size) {
            return Err(wrong(format!("it has {found} bytes instead of {}", wanted.size)));
        }
        let listed = wanted.file.tag.as_ref().filter(|_| wanted.hashes.is_empty());
        if listed.is_some() && content.tag.is_some() && listed != content.tag.as_ref() {
            return Err(wrong("it was replaced after it was listed".to_owned()));
        }
        let same_tag = content.tag == paths.tag();
        let proven = !wanted.hashes.is_empty() && (content.tag.is_none() || paths.tag().is_none());
        let is_continued = content.status == StatusCode::PARTIAL_CONTENT
            && content.range.is_some_and(|(start, _)| start == kept)
            && (same_tag || proven);
        if resume.is_some() && !is_continued {
            tracing::info!(
                file = wanted.name(),
                "the content has changed or cannot be resumed: starting again"
            );
            self.restart(wanted, paths)?;
            if content.status != StatusCode::OK {
                let source = io::Error::other("the source did not go on from the asked offset");
                return Ok(Try::CutOff(source));
            }
        }
        self.receive(wanted, paths, content)
    }

    fn restart(&self, wanted: &Wanted, paths: &Paths) -> Result<(), DownloadError> {
        self.tracker.lost(paths.kept().min(wanted.size));
        paths.remove().map_err(|source| DownloadError::Write { file: wanted.name().to_owned(), source })
    }

    fn receive(&self, wanted: &Wanted, paths: &Paths, content: Content) -> Result<Try, DownloadError> {
        let write = |source| DownloadError::Write { file: wanted.name().to_owned(), source };
        let Content { tag, mut body, encoded: _, hash: _, status: _, range: _, size: _ } = content;
        let mut file = paths.append(tag.as_deref()).map_err(write)?;
        let mut done = file.seek(SeekFrom::End(0)).map_err(write)?;
        let mut buffer = vec![0; 128 * 1024];
        let mut window = (Instant::now(), 0);
        while done < wanted.size {
            self.check_time()?;
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(Try::CutOff(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count as u64,
                Err(error) => return Ok(Try::CutOff(error)),
            };
            if count > wanted.size - done {
                let reason = format!("it has more than {} bytes", wanted.size);
                return Err(DownloadError::Wrong { file: wanted.name().to_owned(), reason });
            }
            file.write_all(&buffer[..usize::try_from(count).unwrap_or(buffer.len())]).map_err(write)?;
            done += count;
            let now = Instant::now();
            self.tracker.received(count, now);
            let (since, came) = window;
            let elapsed = now.duration_since(since);
            if elapsed < self.pace.window {
                window.1 = came + count;
            } else if ((came + count) as f64) < self.pace.floor as f64 * elapsed.as_secs_f64() {
                return Ok(Try::TooSlow);
            } else {
                window = (now, 0);
            }
        }
        file.sync_all().map_err(write)?;
        Ok(Try::Complete)
    }
}

/// Sleeps, unless told to stop.
pub fn pause(delay: Duration, cancel: &CancellationToken) -> Result<(), DownloadError> {
    let until = Instant::now() + delay;
    while Instant::now() < until {
        if cancel.is_cancelled() {
            return Err(DownloadError::Interrupted);
        }
        std::thread::sleep(delay.min(Duration::from_millis(50)));
    }
    Ok(())
}
