//! What a fetch that succeeded says of its model.

use std::time::Instant;

use lexiscale_wire::{FetchedInt8, FetchedModel};

use crate::backend::native;
use crate::model::manifest::Manifest;
use crate::model::progress::Tracker;
use crate::precision;

/// How workers of `precision: auto` decide, told before there are any. Where the model was cached, its workers run too.
fn int8(manifest: &Manifest) -> FetchedInt8 {
    let (automatic, message) = match precision::automatic(manifest, native::kernel_speed()) {
        Ok(message) => (true, message),
        Err(message) => (false, message),
    };
    // On a node with another CPU `auto` might have come out otherwise.
    let message = match manifest.golden {
        Some(_) => format!("{message}; decided on a node with {}", native::instructions()),
        None => message,
    };
    let memory_bytes = manifest.int8_memory_bytes();
    FetchedInt8 { available: manifest.has_int8(), automatic, message, memory_bytes }
}

pub(super) fn report(manifest: &Manifest, message: String, tracker: &Tracker) -> FetchedModel {
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
        source_digest: manifest.source_digest.clone(),
        durations: Some(tracker.durations(Instant::now())),
    }
}
