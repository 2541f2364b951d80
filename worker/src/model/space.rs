//! Room on the volume, and telling a full volume from other errors.

use std::io;
use std::path::Path;

/// Bytes that this process may still write.
pub fn available(folder: &Path) -> io::Result<u64> {
    let statistics = rustix::fs::statvfs(folder)?;
    Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a full volume is somewhere among an error's causes.
pub fn caused_by_full_volume(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut current = Some(error);
    while let Some(error) = current {
        if error.downcast_ref::<io::Error>().is_some_and(is_full) {
            return true;
        }
        current = error.source();
    }
    false
}
