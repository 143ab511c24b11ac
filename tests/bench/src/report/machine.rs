//! What a run ran on, and with.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::subjects::Built;

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Whether the server's and the load generator's core are threads of one physical core; `None` where that is hidden.
    pub siblings: Option<bool>,
    /// Whether it is a virtual machine.
    pub is_virtual: bool,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub system: String,
}

impl Machine {
    /// Reads it from `/proc`, `/sys` and `/etc/os-release`.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub fn read() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim())
        };
        let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let siblings = fs::read_to_string("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
        Ok(Self {
            cpu: field("model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            siblings: siblings.ok().map(|list| list.contains([',', '-'])),
            is_virtual: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_mib: kib.unwrap_or_default() / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            system: system.unwrap_or("unknown").trim_matches('"').to_owned(),
        })
    }
}

/// Crates whose versions matter for the numbers.
const CRATES: [&str; 7] = [
    "wasmtime",
    "axum",
    "hyper",
    "tokio",
    "jsonwebtoken",
    "aws-lc-rs",
    "serde_json",
];

/// What is made of what, besides the peers.
#[must_use]
pub fn versions(built: &Built) -> Vec<(String, String)> {
    let mut versions = vec![("Claimsmith".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let rustc = Command::new("rustc")
        .arg("--version")
        .current_dir(&built.peers.sources)
        .output();
    if let Ok(rustc) = rustc {
        let said = String::from_utf8_lossy(&rustc.stdout);
        versions.extend(
            said.split(' ')
                .nth(1)
                .map(|version| ("rustc".to_owned(), version.to_owned())),
        );
    }
    let lock: toml::Table = include_str!("../../../../Cargo.lock").parse().unwrap_or_default();
    let packages = lock
        .get("package")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten();
    let packages: Vec<_> = packages
        .filter_map(|package| Some((package.get("name")?.as_str()?, package.get("version")?.as_str()?)))
        .collect();
    for wanted in CRATES {
        let found = packages.iter().rfind(|(name, _)| *name == wanted);
        versions.extend(found.map(|(name, version)| ((*name).to_owned(), (*version).to_owned())));
    }
    versions
}
