//! What a process holds, as Linux tells.

use std::fs;
use std::path::PathBuf;

/// What a host holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    /// Resident memory, in KiB.
    pub(crate) resident: usize,
    pub(crate) threads: usize,
    /// Without connections, of which those who call keep as many as they like.
    pub(crate) files: usize,
}

impl Holds {
    pub(crate) fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let entries = |of: &str| fs::read_dir(format!("/proc/{pid}/{of}")).unwrap();
        // A file that was closed in the meantime has no target any more.
        let targets = entries("fd").filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        let is_connection = |target: &PathBuf| target.to_string_lossy().starts_with("socket:");
        Self {
            resident: line.trim().trim_end_matches(" kB").parse().unwrap(),
            threads: entries("task").count(),
            files: targets.filter(|target| !is_connection(target)).count(),
        }
    }
}
