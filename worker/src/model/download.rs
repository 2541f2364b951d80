//! One file onto the volume: from where an earlier try ended, checked, and only then under its own name.
//!
//! `NAME.part` holds what has come so far and `NAME.part.tag` the tag of the content that it is a part of; both outlive
//! the process, so a pod that was killed goes on where it stopped.

mod part;

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use http::StatusCode;
use lexiscale_wire::Phase;
use tokio_util::sync::CancellationToken;

use crate::model::hub::{Content, Hash, Hub, HubError, Resume};
use crate::model::progress::Tracker;
use crate::model::retry::{Attempts, RetryPolicy, chance};
use crate::model::source::Source;
use part::{Paths, check};

/// Wrong content is fetched once more from its beginning, for it may have been damaged on the way.
const WRONG_CONTENTS: u32 = 2;

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error("the transfer of {file} from the hub broke off again and again")]
    Broken {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} from the hub is not what the hub says it is: {reason}")]
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

/// What a file should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub size: u64,
    pub hash: Hash,
}

pub struct Downloader<'a> {
    pub hub: &'a Hub,
    pub source: &'a Source,
    pub commit: &'a str,
    pub folder: &'a Path,
    pub retry: RetryPolicy,
    pub tracker: &'a Tracker,
    pub cancel: &'a CancellationToken,
}

/// One try's end.
enum Try {
    Complete,
    /// The connection ended before the content did.
    CutOff(io::Error),
}

impl Downloader<'_> {
    /// Ends with the file under its own name in the folder.
    pub fn fetch(&self, wanted: &Wanted) -> Result<(), DownloadError> {
        let paths = Paths::new(self.folder, &wanted.name);
        let write = |source| DownloadError::Write { file: wanted.name.clone(), source };
        if paths.whole.exists() {
            if check(&paths.whole, wanted).map_err(write)?.is_ok() {
                self.tracker.kept(wanted.size);
                self.tracker.file_done();
                return Ok(());
            }
            fs_err::remove_file(&paths.whole).map_err(write)?;
        }
        if let Some(parent) = paths.whole.parent() {
            fs_err::create_dir_all(parent).map_err(write)?;
        }
        let kept = paths.kept();
        self.tracker.kept(kept.min(wanted.size));
        if kept > 0 {
            tracing::info!(file = wanted.name, bytes = kept, "going on with an earlier download");
        }
        for wrong in 1..=WRONG_CONTENTS {
            let reason = match self.complete(wanted, &paths) {
                Ok(()) => {
                    paths.finish().map_err(write)?;
                    self.tracker.file_done();
                    return Ok(());
                }
                Err(DownloadError::Wrong { file: _, reason }) => reason,
                Err(error) => return Err(error),
            };
            tracing::warn!(file = wanted.name, reason, wrong, "downloaded content is wrong");
            self.restart(wanted, &paths)?;
            if wrong == WRONG_CONTENTS {
                return Err(DownloadError::Wrong { file: wanted.name.clone(), reason });
            }
            self.tracker.retry();
        }
        Err(DownloadError::Interrupted)
    }

    /// Transfers what is missing and checks the whole.
    fn complete(&self, wanted: &Wanted, paths: &Paths) -> Result<(), DownloadError> {
        self.tracker.phase(Phase::Downloading);
        self.transfer(wanted, paths)?;
        self.tracker.phase(Phase::Verifying);
        let file = || wanted.name.clone();
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
            let made_progress = paths.kept() > before;
            let (error, at_least) = match outcome {
                Ok(Try::Complete) => return Ok(()),
                Ok(Try::CutOff(source)) => {
                    (DownloadError::Broken { file: wanted.name.clone(), source }, None)
                }
                Err(DownloadError::Hub(error)) if error.is_transient() => {
                    let wait = error.retry_after();
                    (DownloadError::Hub(error), wait)
                }
                Err(error) => return Err(error),
            };
            let Some(delay) = attempts.failed(made_progress, chance()) else {
                return Err(error);
            };
            let delay = delay.max(at_least.unwrap_or_default());
            let reason = crate::telemetry::chain(&error);
            tracing::warn!(file = wanted.name, reason, ?delay, "transfer failed, trying again");
            self.tracker.retry();
            pause(delay, self.cancel)?;
        }
    }

    fn try_once(&self, wanted: &Wanted, paths: &Paths) -> Result<Try, DownloadError> {
        let kept = paths.kept();
        if kept > wanted.size {
            self.restart(wanted, paths)?;
        } else if kept == wanted.size && kept > 0 {
            return Ok(Try::Complete);
        }
        let kept = paths.kept();
        let resume = (kept > 0).then(|| Resume { offset: kept, tag: paths.tag() });
        let content = self.hub.content(self.source, self.commit, &wanted.name, resume.as_ref())?;
        let wrong = |reason: String| DownloadError::Wrong { file: wanted.name.clone(), reason };
        if let Some(found) = content.size.filter(|found| *found != wanted.size) {
            return Err(wrong(format!("it has {found} bytes instead of {}", wanted.size)));
        }
        let is_continued = content.status == StatusCode::PARTIAL_CONTENT
            && content.range.is_some_and(|(start, _)| start == kept)
            && (content.tag.is_none() || paths.tag().is_none() || content.tag == paths.tag());
        if resume.is_some() && !is_continued {
            tracing::info!(
                file = wanted.name,
                "the hub's content has changed or cannot be resumed: starting again"
            );
            self.restart(wanted, paths)?;
            if content.status != StatusCode::OK {
                let source = io::Error::other("the hub did not go on from the asked offset");
                return Ok(Try::CutOff(source));
            }
        }
        self.receive(wanted, paths, content)
    }

    fn restart(&self, wanted: &Wanted, paths: &Paths) -> Result<(), DownloadError> {
        self.tracker.lost(paths.kept().min(wanted.size));
        paths.remove().map_err(|source| DownloadError::Write { file: wanted.name.clone(), source })
    }

    fn receive(&self, wanted: &Wanted, paths: &Paths, content: Content) -> Result<Try, DownloadError> {
        let write = |source| DownloadError::Write { file: wanted.name.clone(), source };
        let Content { tag, body, hash: _, status: _, range: _, size: _ } = content;
        let mut file = paths.append(tag.as_deref()).map_err(write)?;
        let mut done = file.seek(SeekFrom::End(0)).map_err(write)?;
        let mut reader = body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 128 * 1024];
        while done < wanted.size {
            if self.cancel.is_cancelled() {
                return Err(DownloadError::Interrupted);
            }
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(Try::CutOff(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) => return Ok(Try::CutOff(error)),
            };
            let room = usize::try_from(wanted.size - done).unwrap_or(usize::MAX);
            if count > room {
                let reason = format!("it has more than {} bytes", wanted.size);
                return Err(DownloadError::Wrong { file: wanted.name.clone(), reason });
            }
            file.write_all(&buffer[..count]).map_err(write)?;
            done += count as u64;
            self.tracker.received(count as u64, Instant::now());
        }
        file.sync_all().map_err(write)?;
        Ok(Try::Complete)
    }
}

/// Sleeps, unless told to stop.
pub fn pause(delay: std::time::Duration, cancel: &CancellationToken) -> Result<(), DownloadError> {
    let until = Instant::now() + delay;
    while Instant::now() < until {
        if cancel.is_cancelled() {
            return Err(DownloadError::Interrupted);
        }
        std::thread::sleep(delay.min(std::time::Duration::from_millis(50)));
    }
    Ok(())
}
