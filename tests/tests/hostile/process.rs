//! What a process holds, as Linux tells.

use std::fs;

/// What a host holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    /// Resident memory, in KiB.
    pub(crate) resident: usize,
    pub(crate) threads: usize,
    pub(crate) files: usize,
}

impl Holds {
    pub(crate) fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let entries = |of: &str| fs::read_dir(format!("/proc/{pid}/{of}")).unwrap().count();
        Self {
            resident: line.trim().trim_end_matches(" kB").parse().unwrap(),
            threads: entries("task"),
            files: entries("fd"),
        }
    }
}
