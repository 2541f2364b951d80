//! From a source and a revision to a published model. Blocking; told to stop by a token.
//!
//! All work happens in `.partial-KEY` beside the place of publication, with a key that follows from source and revision,
//! so that a later run with the same wish goes on where an earlier one ended, and any other starts clean.

mod archives;
mod error;
mod partial;
mod report;
mod signed;
mod wanted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lexiscale_wire::{FetchedModel, Phase};
use tokio_util::sync::CancellationToken;

use crate::model::assemble::Origin;
use crate::model::config::ModelConfig;
use crate::model::credentials::Credentials;
use crate::model::download::{DownloadError, Downloader, Pace, pause};
use crate::model::intake::{Intake, Intaken, Job};
use crate::model::manifest::{Manifest, ManifestFile, digest};
use crate::model::progress::Tracker;
use crate::model::publish::publish;
use crate::model::remote::{self, Access, Remote, Revision};
use crate::model::retry::{Attempts, RetryPolicy, chance};
use crate::model::select::{ModelFiles, Selection, select};
use crate::model::signature::PublicKey;
use crate::model::source::{RevisionName, Source};
use crate::model::space;
use crate::model::verify::VerifiedModel;
use error::volume;
use partial::{lock, partial_name, remove_folder, remove_other_partials};
use report::report;

pub use error::FetchError;
pub use partial::partial_bytes;

/// Name of the published folder below the output folder.
pub const PUBLISHED: &str = "model";
/// Left free on the volume: file systems do not work well when they are full to the last block.
const MARGIN: u64 = 4 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Wish {
    pub source: Source,
    pub revision: RevisionName,
    pub output: PathBuf,
    pub access: Access,
    /// Folder of a mounted Secret; what is in it comes before the credentials of `access`.
    pub secret: Option<PathBuf>,
    /// sha256 of each file, where somebody vouches for them.
    pub checksums: BTreeMap<String, String>,
    /// Key that must have signed the list of all files' sha256.
    pub public_key: Option<PublicKey>,
    /// Digest over the files that an earlier fetch for the same purpose brought.
    pub pinned: Option<String>,
    pub max_bytes: u64,
    pub retry: RetryPolicy,
    pub pace: Pace,
    /// Where the model's files are read.
    pub intake: Intake,
}

/// What all steps of one fetch share.
struct Run<'a> {
    wish: &'a Wish,
    remote: &'a dyn Remote,
    revision: &'a Revision,
    partial: &'a Path,
    tracker: &'a Tracker,
    cancel: &'a CancellationToken,
    started: Instant,
}

pub fn fetch(wish: &Wish, tracker: &Tracker, cancel: &CancellationToken) -> Result<FetchedModel, FetchError> {
    let started = Instant::now();
    let published = wish.output.join(PUBLISHED);
    fs_err::create_dir_all(&wish.output).map_err(|source| volume(&wish.output, source))?;
    let _lock = lock(&wish.output)?;
    if let Some(model) = already_published(wish, &published, tracker) {
        let message = format!("{} at {} is here already", wish.source, model.manifest().revision);
        return Ok(report(model.manifest(), message, tracker));
    }
    let remote = open(wish)?;
    tracker.phase(Phase::Resolving, Instant::now());
    let revision = resolve(wish, &*remote, tracker, cancel)?;
    tracker.resolved(&revision.id);
    tracing::info!(source = %wish.source, asked = wish.revision.as_str(), revision = revision.id, "resolved");

    let partial = wish.output.join(partial_of(wish, &revision.id));
    remove_other_partials(&wish.output, &partial)?;
    let run =
        Run { wish, remote: &*remote, revision: &revision, partial: &partial, tracker, cancel, started };
    let outcome = run.run();
    match &outcome {
        Err(error) if error.keeps_partial() => {}
        // Whatever stays behind must not hide how the fetch ended.
        _ => {
            if let Err(error) = remove_folder(&partial) {
                tracing::warn!(reason = crate::telemetry::chain(&error), "failed to clean up");
            }
        }
    }
    let manifest = outcome?;
    let message = format!("fetched {} at {}", wish.source, manifest.revision);
    Ok(report(&manifest, message, tracker))
}

/// The files of a model as they lie at the source, verified, and not made into anything yet.
#[derive(Debug)]
pub struct Gathered {
    pub folder: PathBuf,
    pub revision: String,
    pub license: Option<String>,
    pub files: Vec<ManifestFile>,
}

/// Downloads what a fetch would, into a folder below the output that the caller moves or removes.
pub fn gather(wish: &Wish, tracker: &Tracker, cancel: &CancellationToken) -> Result<Gathered, FetchError> {
    let started = Instant::now();
    fs_err::create_dir_all(&wish.output).map_err(|source| volume(&wish.output, source))?;
    let _lock = lock(&wish.output)?;
    let remote = open(wish)?;
    let revision = resolve(wish, &*remote, tracker, cancel)?;
    tracker.resolved(&revision.id);
    let partial = wish.output.join(partial_of(wish, &revision.id));
    let run =
        Run { wish, remote: &*remote, revision: &revision, partial: &partial, tracker, cancel, started };
    let (_, files) = run.files()?;
    Ok(Gathered { folder: partial, revision: revision.id, license: revision.license, files })
}

fn open(wish: &Wish) -> Result<Box<dyn Remote>, FetchError> {
    let mut access = wish.access.clone();
    if let Some(folder) = &wish.secret {
        access.credentials = Credentials::read(folder)?;
    }
    Ok(remote::open(&wish.source, &access)?)
}

/// What an image volume brought is no beginning for a fetch: the node may have shown something else.
fn partial_of(wish: &Wish, revision: &str) -> String {
    let way = if wish.access.image_folder.is_some() { " as a volume" } else { "" };
    partial_name(&wish.source, &format!("{revision}{way}"))
}

impl Run<'_> {
    fn files(&self) -> Result<(Selection, Vec<ManifestFile>), FetchError> {
        fs_err::create_dir_all(self.partial).map_err(|source| volume(self.partial, source))?;
        if self.revision.archives.is_empty() { self.download() } else { archives::fetch(self) }
    }

    fn run(&self) -> Result<Manifest, FetchError> {
        let (selection, files) = self.files()?;
        let source_digest = digest(&files);
        if let Some(pinned) = self.wish.pinned.as_ref().filter(|pinned| **pinned != source_digest) {
            return Err(FetchError::Pinned { found: source_digest, pinned: pinned.clone() });
        }
        self.publish(&selection, source_digest)
    }

    fn downloader<'a>(&'a self, folder: &'a Path) -> Downloader<'a> {
        Downloader {
            remote: self.remote,
            revision: &self.revision.id,
            folder,
            retry: self.wish.retry,
            pace: self.wish.pace,
            started: self.started,
            tracker: self.tracker,
            cancel: self.cancel,
        }
    }

    fn download(&self) -> Result<(Selection, Vec<ManifestFile>), FetchError> {
        let names: Vec<String> = self.revision.files.iter().map(|file| file.name.clone()).collect();
        let selection = select(&names)?;
        let vouched = match &self.wish.public_key {
            Some(key) => self.vouched(signed::checksums(self, key)?)?,
            None => self.wish.checksums.clone(),
        };
        let wanted = wanted::wanted(&vouched, self.remote, self.revision, &selection)?;
        let bytes: u64 = wanted.iter().map(|file| file.size).fold(0, u64::saturating_add);
        self.check_size(bytes, converted_bytes(bytes, &selection))?;
        self.tracker.plan(u32::try_from(wanted.len()).unwrap_or(u32::MAX), bytes);

        self.tracker.phase(Phase::Downloading, Instant::now());
        let downloader = self.downloader(self.partial);
        let mut files = Vec::new();
        for file in &wanted {
            let sha256 = downloader.fetch(file)?;
            let name = file.file.name.clone();
            // Before hundreds of megabytes are spent on it: is this a model that can be converted at all?
            if name == selection.config() {
                self.check_config(&selection)?;
            }
            files.push(ManifestFile { name, size: file.size, sha256 });
        }
        Ok((selection, files))
    }

    /// What a signature vouches for, which must not contradict what the wish does.
    fn vouched(&self, signed: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, FetchError> {
        for (name, expected) in &self.wish.checksums {
            wanted::check_vouched(&signed, name, expected)?;
        }
        Ok(signed)
    }

    fn check_config(&self, selection: &Selection) -> Result<(), FetchError> {
        if matches!(selection.model, ModelFiles::Safetensors(_)) {
            let path = self.partial.join(selection.config());
            let json = fs_err::read(&path).map_err(|source| volume(&path, source))?;
            ModelConfig::parse(&json)?;
        }
        Ok(())
    }

    /// What is still to come must be allowed and must fit, with what will be made of it.
    fn check_size(&self, bytes: u64, more: u64) -> Result<(), FetchError> {
        let limit = self.wish.max_bytes;
        if bytes > limit {
            return Err(FetchError::TooLarge { bytes, limit });
        }
        let here = partial_bytes(&self.wish.output).min(bytes);
        let needed = bytes.saturating_add(more).saturating_add(MARGIN).saturating_sub(here);
        let available = space::available(self.partial).map_err(|source| volume(self.partial, source))?;
        if available < needed { Err(FetchError::NoSpace { available, needed }) } else { Ok(()) }
    }

    fn publish(&self, selection: &Selection, source_digest: String) -> Result<Manifest, FetchError> {
        if self.cancel.is_cancelled() {
            return Err(DownloadError::Interrupted.into());
        }
        self.tracker.phase(Phase::Converting, Instant::now());
        let origin = Origin {
            source: self.wish.source.to_string(),
            requested_revision: self.wish.revision.as_str().to_owned(),
            revision: self.revision.id.clone(),
            license: self.revision.license.clone(),
            source_digest,
        };
        let staging = self.partial.join("publish");
        remove_folder(&staging)?;
        let job = Job { folder: self.partial, selection, origin: &origin, staging: &staging };
        let Intaken { manifest, comparing } = self.wish.intake.run(job, self.cancel)?;
        self.tracker.phase(Phase::Publishing, Instant::now());
        self.tracker.compared(comparing);
        let published = self.wish.output.join(PUBLISHED);
        publish(&staging, &published).map_err(|source| volume(&published, source))?;
        Ok(manifest)
    }
}

/// A converted model lies beside what it is converted from. In it the word embeddings lie twice, once for each side of the model;
/// for a small model they are nearly everything. The int8 file has them once, and a quarter of the rest.
fn converted_bytes(bytes: u64, selection: &Selection) -> u64 {
    match selection.model {
        ModelFiles::Safetensors(_) => bytes.saturating_mul(4),
        ModelFiles::Onnx(_) => 0,
    }
}

fn already_published(wish: &Wish, published: &Path, tracker: &Tracker) -> Option<VerifiedModel> {
    // What is published says nothing of who vouched for it, and files at hand may be others by now.
    let is_vouched_for = wish.public_key.is_some() || !wish.checksums.is_empty();
    if is_vouched_for || matches!(wish.source, Source::Claim { .. }) || !published.exists() {
        return None;
    }
    tracker.phase(Phase::Verifying, Instant::now());
    let is_pinned = |manifest: &Manifest| {
        wish.pinned.as_ref().is_none_or(|pinned| manifest.source_digest.as_ref() == Some(pinned))
    };
    match VerifiedModel::open(published) {
        Ok(model)
            if model.manifest().answers(&wish.source.to_string(), wish.revision.as_str())
                && is_pinned(model.manifest()) =>
        {
            Some(model)
        }
        Ok(model) => {
            let manifest = model.manifest();
            tracing::info!(
                source = manifest.source,
                revision = manifest.revision,
                "another model is published here"
            );
            None
        }
        Err(error) => {
            tracing::warn!(
                reason = crate::telemetry::chain(&error),
                "the published model is damaged: fetching it again"
            );
            None
        }
    }
}

fn resolve(
    wish: &Wish,
    remote: &dyn Remote,
    tracker: &Tracker,
    cancel: &CancellationToken,
) -> Result<Revision, FetchError> {
    let mut attempts = Attempts::new(wish.retry);
    loop {
        let error = match remote.resolve(&wish.revision) {
            Ok(revision) => return Ok(revision),
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error.into()),
        };
        let Some(delay) = attempts.failed(false, chance()) else {
            return Err(error.into());
        };
        let delay = delay.max(error.retry_after().unwrap_or(Duration::ZERO));
        tracing::warn!(
            reason = crate::telemetry::chain(&error),
            ?delay,
            "the source did not answer, asking again"
        );
        tracker.retry();
        pause(delay, cancel)?;
    }
}
