//! Whether the pages that an instance has written are found by asking the kernel (`PAGEMAP_SCAN`), which makes resetting
//! a pooled memory cheaper for plugins that touch little of it.

use std::fs;
use std::path::Path;

/// The first kernel that has the scan.
const FIRST_KERNEL: (u32, u32) = (6, 7);

/// Whether written pages are found by a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagemapScan {
    /// Where the kernel has it and nothing can be swapped out, as it is when the host starts.
    #[default]
    Auto,
    /// Wherever the kernel has it. In wasmtime 48 a scan does not see pages that were swapped out: a later invocation
    /// could read what they hold. For hosts whose operator knows that there is no swap, and will be none.
    On,
    /// Never.
    Off,
}

impl PagemapScan {
    /// Whether to scan on this machine.
    pub(crate) fn decide(self) -> bool {
        match self {
            Self::Off => false,
            Self::On => kernel_has_it(),
            Self::Auto => kernel_has_it() && !can_swap(Path::new("/")),
        }
    }
}

fn kernel_has_it() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_recent(&release))
        && wasmtime::PoolingAllocationConfig::is_pagemap_scan_available()
}

/// Whether a kernel's release, such as `6.18.44-1`, is of the first kernel or later.
fn is_recent(release: &str) -> bool {
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= FIRST_KERNEL,
        _ => false,
    }
}

/// Whether pages of this process can be swapped out: unless there is no swap, or its control group may use none of it.
/// What cannot be read counts as swap.
fn can_swap(root: &Path) -> bool {
    let swaps = fs::read_to_string(root.join("proc/swaps"));
    // Its first line is the heading.
    let none = swaps.is_ok_and(|swaps| swaps.lines().count() == 1);
    !none && !group_swaps_nothing(root)
}

fn group_swaps_nothing(root: &Path) -> bool {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let limit = |group: &str| {
        let group = root.join("sys/fs/cgroup").join(group);
        fs::read_to_string(group.join("memory.swap.max"))
    };
    own.is_some_and(|group| limit(group).is_ok_and(|most| most.trim() == "0"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use std::env::temp_dir;
    use std::process;

    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for recent in ["6.7.0", "6.18.44-fc", "7.0"] {
            assert!(is_recent(recent), "{recent}");
        }
        for old in ["6.6.99", "5.15.0-1", "", "six"] {
            assert!(!is_recent(old), "{old}");
        }
    }

    #[test]
    fn swap_is_assumed_unless_there_is_provably_none() {
        let root = temp_dir().join(format!("pagemap-{}", process::id()));
        let write = |file: &str, text: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert!(can_swap(&root), "nothing can be read");
        write("proc/swaps", "Filename Type Size Used Priority\n");
        assert!(!can_swap(&root), "there is none");
        write("proc/swaps", "Filename Type Size Used Priority\n/swap file 9 0 -2\n");
        assert!(can_swap(&root), "there is one");
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/memory.swap.max", "max\n");
        assert!(can_swap(&root), "the group may use it");
        write("sys/fs/cgroup/a/b/memory.swap.max", "0\n");
        assert!(!can_swap(&root), "the group may not use it");
        fs::remove_dir_all(&root).unwrap();
    }
}
