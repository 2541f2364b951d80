//! From a source and a revision to a published model. Blocking; told to stop by a token.
//!
//! All work happens in `.partial-KEY` beside the place of publication, with a key that follows from source and commit,
//! so that a later run with the same wish goes on where an earlier one ended, and any other starts clean.

mod error;
mod partial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lexiscale_wire::{FetchedInt8, FetchedModel, Phase};
use tokio_util::sync::CancellationToken;

use crate::backend::native;
use crate::model::assemble::Origin;
use crate::model::config::ModelConfig;
use crate::model::download::{DownloadError, Downloader, Wanted, pause};
use crate::model::hub::{Hub, RemoteFile, Revision, Timeouts, Token};
use crate::model::intake::{Intake, Job};
use crate::model::manifest::{Manifest, is_safe_name};
use crate::model::progress::Tracker;
use crate::model::publish::publish;
use crate::model::retry::{Attempts, RetryPolicy, chance};
use crate::model::select::{ModelFiles, Selection, select};
use crate::model::source::{RevisionName, Source};
use crate::model::space;
use crate::model::verify::VerifiedModel;
use crate::precision;
use error::volume;
use partial::{lock, partial_name, remove_folder, remove_other_partials};

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
    pub hub_endpoint: String,
    pub token: Option<Token>,
    pub max_bytes: u64,
    pub retry: RetryPolicy,
    pub timeouts: Timeouts,
    /// Where the model's files are read.
    pub intake: Intake,
}

pub fn fetch(wish: &Wish, tracker: &Tracker, cancel: &CancellationToken) -> Result<FetchedModel, FetchError> {
    let published = wish.output.join(PUBLISHED);
    fs_err::create_dir_all(&wish.output).map_err(|source| volume(&wish.output, source))?;
    let _lock = lock(&wish.output)?;
    if let Some(model) = already_published(wish, &published) {
        let message = format!("{} at {} is here already", wish.source, model.manifest().revision);
        return Ok(report(model.manifest(), message));
    }
    let hub = Hub::new(&wish.hub_endpoint, wish.token.clone(), wish.timeouts)?;
    tracker.phase(Phase::Resolving);
    let revision = resolve(wish, &hub, tracker, cancel)?;
    tracker.resolved(&revision.commit);
    tracing::info!(source = %wish.source, asked = wish.revision.as_str(), commit = revision.commit, "resolved");

    let partial = wish.output.join(partial_name(&wish.source, &revision.commit));
    remove_other_partials(&wish.output, &partial)?;
    let outcome = fetch_revision(wish, &hub, &revision, &partial, tracker, cancel);
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
    Ok(report(&manifest, message))
}

fn fetch_revision(
    wish: &Wish,
    hub: &Hub,
    revision: &Revision,
    partial: &Path,
    tracker: &Tracker,
    cancel: &CancellationToken,
) -> Result<Manifest, FetchError> {
    let names: Vec<String> = revision.files.iter().map(|file| file.name.clone()).collect();
    let selection = select(&names)?;
    let wanted = wanted(wish, hub, revision, &selection)?;
    let bytes: u64 = wanted.iter().map(|file| file.size).fold(0, u64::saturating_add);
    if bytes > wish.max_bytes {
        return Err(FetchError::TooLarge { bytes, limit: wish.max_bytes });
    }
    fs_err::create_dir_all(partial).map_err(|source| volume(partial, source))?;
    check_space(&wish.output, partial, bytes, &selection)?;
    tracker.plan(u32::try_from(wanted.len()).unwrap_or(u32::MAX), bytes);

    tracker.phase(Phase::Downloading);
    let downloader = Downloader {
        hub,
        source: &wish.source,
        commit: &revision.commit,
        folder: partial,
        retry: wish.retry,
        tracker,
        cancel,
    };
    for file in &wanted {
        downloader.fetch(file)?;
        // Before hundreds of megabytes are spent on it: is this a model that can be converted at all?
        if file.name == selection.config() && matches!(selection.model, ModelFiles::Safetensors(_)) {
            let json = fs_err::read(partial.join(&file.name)).map_err(|source| volume(partial, source))?;
            ModelConfig::parse(&json)?;
        }
    }
    if cancel.is_cancelled() {
        return Err(DownloadError::Interrupted.into());
    }
    tracker.phase(Phase::Converting);
    let origin = Origin {
        source: wish.source.to_string(),
        requested_revision: wish.revision.as_str().to_owned(),
        revision: revision.commit.clone(),
        license: revision.license.clone(),
    };
    let staging = partial.join("publish");
    remove_folder(&staging)?;
    let job = Job { folder: partial, selection: &selection, origin: &origin, staging: &staging };
    let manifest = wish.intake.run(job, cancel)?;
    tracker.phase(Phase::Publishing);
    let published = wish.output.join(PUBLISHED);
    publish(&staging, &published).map_err(|source| volume(&published, source))?;
    Ok(manifest)
}

fn already_published(wish: &Wish, published: &Path) -> Option<VerifiedModel> {
    if !published.exists() {
        return None;
    }
    match VerifiedModel::open(published) {
        Ok(model) if model.manifest().answers(&wish.source.to_string(), wish.revision.as_str()) => {
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
    hub: &Hub,
    tracker: &Tracker,
    cancel: &CancellationToken,
) -> Result<Revision, FetchError> {
    let mut attempts = Attempts::new(wish.retry);
    loop {
        let error = match hub.resolve(&wish.source, &wish.revision) {
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
            "the hub did not answer, asking again"
        );
        tracker.retry();
        pause(delay, cancel)?;
    }
}

fn wanted(
    wish: &Wish,
    hub: &Hub,
    revision: &Revision,
    selection: &Selection,
) -> Result<Vec<Wanted>, FetchError> {
    let listed = |name: &str| revision.files.iter().find(|file| file.name == name).cloned();
    let mut wanted = Vec::new();
    for file in selection.names().filter_map(listed) {
        if !is_safe_name(&file.name) {
            return Err(FetchError::Name { name: file.name });
        }
        let RemoteFile { name, size, hash } = if file.size.is_some() && file.hash.is_some() {
            file
        } else {
            let described = hub.describe(&wish.source, &revision.commit, &file.name)?;
            let (size, hash) = (file.size.or(described.size), file.hash.or(described.hash));
            RemoteFile { name: file.name, size, hash }
        };
        let size = size.ok_or_else(|| FetchError::UnknownSize { name: name.clone() })?;
        let hash = hash.ok_or_else(|| FetchError::UnknownHash { name: name.clone() })?;
        wanted.push(Wanted { name, size, hash });
    }
    Ok(wanted)
}

/// What is still to come must fit, and a converted model beside what it is converted from.
fn check_space(output: &Path, partial: &Path, bytes: u64, selection: &Selection) -> Result<(), FetchError> {
    let converted = match selection.model {
        // In the converted file the word embeddings lie twice, once for each side of the model. For a small model they
        // are nearly everything. The int8 file has them once, and a quarter of the rest.
        ModelFiles::Safetensors(_) => bytes.saturating_mul(3),
        ModelFiles::Onnx(_) => 0,
    };
    let here = partial_bytes(output).min(bytes);
    let needed = bytes.saturating_add(converted).saturating_add(MARGIN).saturating_sub(here);
    let available = space::available(partial).map_err(|source| volume(partial, source))?;
    if available < needed {
        return Err(FetchError::NoSpace { available, needed });
    }
    Ok(())
}

/// How workers of `precision: auto` decide, told before there are any. Where the model was cached, its workers run too.
fn int8(manifest: &Manifest) -> FetchedInt8 {
    let (automatic, message) = match precision::automatic(manifest, native::integer_speed()) {
        Ok(message) => (true, message),
        Err(message) => (false, message),
    };
    let memory_bytes = manifest.int8_memory_bytes();
    FetchedInt8 { available: manifest.has_int8(), automatic, message, memory_bytes }
}

fn report(manifest: &Manifest, message: String) -> FetchedModel {
    FetchedModel {
        message,
        revision: manifest.revision.clone(),
        digest: manifest.digest.clone(),
        bytes: manifest.total_bytes(),
        files: u32::try_from(manifest.files.len()).unwrap_or(u32::MAX),
        max_tokens: manifest.max_tokens,
        vocabulary_size: manifest.vocabulary_size,
        vocabulary: manifest.vocabulary.clone(),
        memory_bytes: manifest.memory_bytes(),
        int8: Some(int8(manifest)),
        license: manifest.license.clone(),
    }
}
