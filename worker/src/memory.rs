//! What the process takes of the machine's memory, as the kernel counts it.

/// Both in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub resident_bytes: u64,
    /// The most that it ever was.
    pub peak_bytes: u64,
}

impl Memory {
    /// None where the kernel does not say.
    pub fn now() -> Option<Self> {
        parse(&fs_err::read_to_string("/proc/self/status").ok()?)
    }
}

/// PURE.
fn parse(status: &str) -> Option<Memory> {
    let kibibytes = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let (resident, peak) = (kibibytes("VmRSS")? * 1024, kibibytes("VmHWM")? * 1024);
    Some(Memory { resident_bytes: resident, peak_bytes: peak.max(resident) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let status = "Name:\tworker\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(parse(status), Some(Memory { resident_bytes: 1 << 20, peak_bytes: 2 << 20 }));
        assert_eq!(parse("Name:\tworker\n"), None);
        assert!(Memory::now().is_some_and(|memory| memory.resident_bytes > 1 << 20));
    }
}
