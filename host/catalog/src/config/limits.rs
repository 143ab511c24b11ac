//! `[runtime.limits]` and a binding's `limits`: what one invocation may use.

use std::time::Duration;

use claimsmith_runtime::{Limits, MAX_TABLE_ELEMENTS};
use serde::Deserialize;

/// The largest linear memory the instance pool has room for.
const MAX_MEMORY_BYTES: usize = 64 << 20;

/// Limits of one invocation, each optional: what is missing is taken from the level above.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// CPU time. Default 100 ms.
    #[serde(with = "humantime_serde")]
    pub cpu: Option<Duration>,
    /// Bytes of linear memory. Default 16777216, at most 67108864.
    pub memory_bytes: Option<usize>,
    /// Elements of tables. Default 20000, which is also the most.
    pub table_elements: Option<usize>,
    /// Bytes handed to the host at once. Default 1048576.
    pub transfer_bytes: Option<usize>,
    /// Bytes handed to the host in all calls. Default 4194304.
    pub total_transfer_bytes: Option<usize>,
    /// Calls of imported functions. Default 10000.
    pub host_calls: Option<usize>,
    /// Calls of upstreams. Default 16.
    pub capability_calls: Option<usize>,
    /// Random bytes. Default 16384.
    pub random_bytes: Option<usize>,
    /// Handles held at once. Default 64.
    pub handles: Option<usize>,
    /// Log records. Default 100.
    pub log_records: Option<usize>,
    /// Bytes of log text. Default 16384.
    pub log_bytes: Option<usize>,
    /// Claims, values or messages of one answer. Default 1000.
    pub answer_items: Option<usize>,
    /// Invocations of one binding at once. Default 64.
    pub concurrency: Option<usize>,
}

impl LimitsConfig {
    /// These limits, with `base` for what is not said.
    pub(crate) fn over(&self, base: &Limits) -> Limits {
        Limits {
            cpu: self.cpu.unwrap_or(base.cpu),
            memory_bytes: self.memory_bytes.unwrap_or(base.memory_bytes),
            table_elements: self.table_elements.unwrap_or(base.table_elements),
            transfer_bytes: self.transfer_bytes.unwrap_or(base.transfer_bytes),
            total_transfer_bytes: self.total_transfer_bytes.unwrap_or(base.total_transfer_bytes),
            host_calls: self.host_calls.unwrap_or(base.host_calls),
            capability_calls: self.capability_calls.unwrap_or(base.capability_calls),
            random_bytes: self.random_bytes.unwrap_or(base.random_bytes),
            handles: self.handles.unwrap_or(base.handles),
            log_records: self.log_records.unwrap_or(base.log_records),
            log_bytes: self.log_bytes.unwrap_or(base.log_bytes),
            answer_items: self.answer_items.unwrap_or(base.answer_items),
            concurrency: self.concurrency.unwrap_or(base.concurrency),
        }
    }

    /// The first limit that is larger than `most`: its name, what is asked, and what is allowed.
    pub(crate) fn exceeding(&self, most: &Limits) -> Option<(&'static str, String, String)> {
        if let Some(cpu) = self.cpu.filter(|cpu| *cpu > most.cpu) {
            return Some(("cpu", format!("{cpu:?}"), format!("{:?}", most.cpu)));
        }
        let larger = |asked: Option<usize>, most: usize| Some((asked.filter(|asked| *asked > most)?, most));
        [
            ("memory_bytes", larger(self.memory_bytes, most.memory_bytes)),
            ("table_elements", larger(self.table_elements, most.table_elements)),
            ("transfer_bytes", larger(self.transfer_bytes, most.transfer_bytes)),
            (
                "total_transfer_bytes",
                larger(self.total_transfer_bytes, most.total_transfer_bytes),
            ),
            ("host_calls", larger(self.host_calls, most.host_calls)),
            ("capability_calls", larger(self.capability_calls, most.capability_calls)),
            ("random_bytes", larger(self.random_bytes, most.random_bytes)),
            ("handles", larger(self.handles, most.handles)),
            ("log_records", larger(self.log_records, most.log_records)),
            ("log_bytes", larger(self.log_bytes, most.log_bytes)),
            ("answer_items", larger(self.answer_items, most.answer_items)),
            ("concurrency", larger(self.concurrency, most.concurrency)),
        ]
        .into_iter()
        .find_map(|(name, larger)| larger.map(|(asked, most)| (name, asked.to_string(), most.to_string())))
    }

    /// The rules of what a host gives its bindings, and whether each holds.
    pub(super) fn rules(limits: &Limits) -> [(bool, &'static str); 4] {
        [
            (
                limits.memory_bytes <= MAX_MEMORY_BYTES,
                "runtime.limits.memory_bytes can be 67108864 (64 MiB) at most",
            ),
            (
                limits.table_elements <= MAX_TABLE_ELEMENTS,
                "runtime.limits.table_elements can be 20000 at most",
            ),
            (limits.concurrency > 0, "runtime.limits.concurrency must be at least 1"),
            (
                limits.cpu >= Duration::from_millis(1),
                "runtime.limits.cpu must be at least 1 ms",
            ),
        ]
    }
}
