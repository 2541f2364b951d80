//! The container's last word: Kubernetes shows the file's content as the reason why a container ended.

use std::path::Path;

/// Outside Kubernetes the file cannot be written, which is worth a debug line and no more.
pub fn write(path: &Path, message: &str) {
    if let Err(error) = fs_err::write(path, message) {
        tracing::debug!(%error, "no termination message was left");
    }
}
