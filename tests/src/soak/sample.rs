//! What a host has at one moment.

use std::fmt;
use std::fs;

use serde_json::{Value, json};

use crate::Platform;

/// How much more memory a host may have after the soak than before: allocators keep some.
const MEMORY_KIB: u64 = 48 << 10;
/// How many more threads: the runtime's for blocking work come and go.
const THREADS: u64 = 2;
/// How many more file descriptors: connections of whoever takes the sample.
const DESCRIPTORS: u64 = 2;

#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    memory_kib: u64,
    descriptors: u64,
    threads: u64,
    generations: u64,
    instances: u64,
}

impl Sample {
    pub(super) const HEADINGS: &str = "                 RSS KiB  descriptors  threads  generations  instances";

    pub(super) async fn take(platform: &Platform) -> Self {
        let process = format!("/proc/{}", platform.host.pid());
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        };
        let url = format!("http://{}/metrics", platform.host.address);
        let metrics = platform.http.get(url).send().await.unwrap().text().await.unwrap();
        let metric = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
        };
        Self {
            memory_kib: of("VmRSS:").unwrap(),
            descriptors: fs::read_dir(format!("{process}/fd")).unwrap().count() as u64,
            threads: of("Threads:").unwrap(),
            generations: metric("claimsmith_generations_alive ").unwrap(),
            // Absent where instances are not pooled.
            instances: metric("claimsmith_live_instances ").unwrap_or_default(),
        }
    }

    /// Whether nothing is left of what callouts had.
    pub(super) fn is_quiet(&self) -> bool {
        self.generations == 1 && self.instances == 0
    }

    /// What there is more of than before, beyond what is tolerated.
    pub(super) fn exceeds(&self, base: &Self) -> Vec<String> {
        let compared = [
            ("KiB of memory", self.memory_kib, base.memory_kib + MEMORY_KIB),
            ("file descriptors", self.descriptors, base.descriptors + DESCRIPTORS),
            ("threads", self.threads, base.threads + THREADS),
            ("generations alive", self.generations, 1),
            ("live instances", self.instances, 0),
        ];
        let exceeded = compared.into_iter().filter(|(_, now, most)| now > most);
        exceeded
            .map(|(what, now, most)| format!("{now} {what} afterwards, where at most {most} are expected"))
            .collect()
    }

    pub(super) fn max(&self, other: &Self) -> Self {
        Self {
            memory_kib: self.memory_kib.max(other.memory_kib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            generations: self.generations.max(other.generations),
            instances: self.instances.max(other.instances),
        }
    }

    pub(super) fn row(&self) -> String {
        let Self {
            memory_kib,
            descriptors,
            threads,
            generations,
            instances,
        } = self;
        format!("{memory_kib:>10}  {descriptors:>11}  {threads:>7}  {generations:>11}  {instances:>9}")
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "rss_kib": self.memory_kib,
            "descriptors": self.descriptors,
            "threads": self.threads,
            "generations": self.generations,
            "instances": self.instances,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} KiB, {} descriptors, {} threads, {} generations, {} instances",
            self.memory_kib, self.descriptors, self.threads, self.generations, self.instances
        )
    }
}
