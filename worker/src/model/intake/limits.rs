//! The bounds of the process that reads a model.

use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};

/// Reading, converting and trying out the largest models takes minutes.
const SECONDS: u64 = 30 * 60;
/// What a runtime, a tokenizer with a million tokens and one large tensor need.
const SMALLEST_BYTES: u64 = 1024 * 1024 * 1024;
/// Left to the process that downloads.
const OURS_BYTES: u64 = 256 * 1024 * 1024;
const FILES: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory that the process may write to.
    pub memory_bytes: u64,
    /// CPU time, and time by the clock.
    pub seconds: u64,
}

impl Limits {
    /// For a model of this size: its weights some times over, but less than the container has, or the kernel would end the
    /// container and nobody would learn why.
    pub fn for_model(bytes: u64) -> Self {
        let wanted = SMALLEST_BYTES.saturating_add(bytes.saturating_mul(4));
        let memory_bytes = match container_bytes(Path::new("/sys/fs/cgroup/memory.max")) {
            Some(container) => wanted.min(container.saturating_sub(OURS_BYTES).max(OURS_BYTES)),
            None => wanted,
        };
        Self { memory_bytes, seconds: SECONDS }
    }

    /// Applies them to this process, which cannot lift them again.
    pub fn apply(self) -> io::Result<()> {
        // A parent that is killed must not leave us behind.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let limit =
            |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
        limit(Resource::Data, self.memory_bytes)?;
        limit(Resource::Cpu, self.seconds)?;
        limit(Resource::Core, 0)?;
        limit(Resource::Nofile, FILES)?;
        Ok(())
    }
}

fn container_bytes(file: &Path) -> Option<u64> {
    fs_err::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_the_container_is_read_and_its_absence_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.max");
        assert_eq!(container_bytes(&file), None);
        for (text, bytes) in [("max\n", None), ("4294967296\n", Some(4_294_967_296))] {
            fs_err::write(&file, text).unwrap();
            assert_eq!(container_bytes(&file), bytes);
        }
    }

    #[test]
    fn a_large_model_gets_more_memory() {
        let (small, large) = (Limits::for_model(0), Limits::for_model(1 << 30));
        assert!(small.memory_bytes <= large.memory_bytes && small.memory_bytes >= OURS_BYTES);
    }
}
