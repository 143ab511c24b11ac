//! What an invocation may use, and the counting of it.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::error::Growth;

/// What one invocation may use, and how many may run at once for one binding. The names are those of
/// `[runtime.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of the guest, counted in ticks of [`crate::EPOCH_TICK`]. Default 100 ms.
    pub cpu: Duration,
    /// Bytes of all linear memories together. Default 16 MiB.
    pub memory_bytes: usize,
    /// Elements of all tables together. Default 20,000: a Rust plugin's function table has a few thousand.
    pub table_elements: usize,
    /// Bytes that the guest may hand the host in one call or answer. Default 1 MiB.
    pub transfer_bytes: usize,
    /// Bytes that the guest may hand the host in all its calls together, its answer apart. Default 4 MiB.
    pub total_transfer_bytes: usize,
    /// Calls of any imported function. Default 10,000; a plugin that maps claims makes a few.
    pub host_calls: usize,
    /// Calls of upstreams; further ones are answered with `quota-exceeded`. Default 16.
    pub capability_calls: usize,
    /// Random bytes. Default 16 KiB; a seed has 16.
    pub random_bytes: usize,
    /// Resources (streams, pollables, the guest's own) that the guest may hold at once. Default 64.
    pub handles: usize,
    /// Log records of one invocation. Default 100.
    pub log_records: usize,
    /// Bytes of those records' text. Default 16 KiB.
    pub log_bytes: usize,
    /// Claims, values or messages of one answer. Default 1,000: Entra takes 3 KB of claims, and what is far beyond it is
    /// not worth converting and guarding.
    pub answer_items: usize,
    /// Invocations of one binding at the same time. Default 64.
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(100),
            memory_bytes: 16 << 20,
            table_elements: MAX_TABLE_ELEMENTS,
            transfer_bytes: 1 << 20,
            total_transfer_bytes: 4 << 20,
            host_calls: 10_000,
            capability_calls: 16,
            random_bytes: 16 << 10,
            handles: 64,
            log_records: 100,
            log_bytes: 16 << 10,
            answer_items: 1_000,
            concurrency: 64,
        }
    }
}

impl Limits {
    /// Limits that nothing reaches.
    pub(crate) const UNBOUNDED: Self = Self {
        cpu: Duration::MAX,
        memory_bytes: usize::MAX,
        table_elements: usize::MAX,
        transfer_bytes: usize::MAX,
        total_transfer_bytes: usize::MAX,
        host_calls: usize::MAX,
        capability_calls: usize::MAX,
        random_bytes: usize::MAX,
        handles: usize::MAX,
        log_records: usize::MAX,
        log_bytes: usize::MAX,
        answer_items: usize::MAX,
        concurrency: usize::MAX,
    };

    /// The lower of each limit and the one of `most`.
    #[must_use]
    pub fn at_most(&self, most: &Self) -> Self {
        Self {
            cpu: self.cpu.min(most.cpu),
            memory_bytes: self.memory_bytes.min(most.memory_bytes),
            table_elements: self.table_elements.min(most.table_elements),
            transfer_bytes: self.transfer_bytes.min(most.transfer_bytes),
            total_transfer_bytes: self.total_transfer_bytes.min(most.total_transfer_bytes),
            host_calls: self.host_calls.min(most.host_calls),
            capability_calls: self.capability_calls.min(most.capability_calls),
            random_bytes: self.random_bytes.min(most.random_bytes),
            handles: self.handles.min(most.handles),
            log_records: self.log_records.min(most.log_records),
            log_bytes: self.log_bytes.min(most.log_bytes),
            answer_items: self.answer_items.min(most.answer_items),
            concurrency: self.concurrency.min(most.concurrency),
        }
    }
}

/// The most elements that a pooled table has room for.
pub const MAX_TABLE_ELEMENTS: usize = 20_000;
/// A component of one Rust crate has one memory.
pub(crate) const MAX_MEMORIES: u32 = 2;
/// Tables of all core instances of a component.
pub(crate) const MAX_TABLES: u32 = 8;
/// Core instances of a component: the plugin's module and the adapters that the toolchain adds.
pub(crate) const MAX_INSTANCES: u32 = 16;

/// Counts what an invocation's memories and tables take. wasmtime's own limits are per memory, so a guest with two
/// would get twice as much.
#[derive(Debug)]
pub(crate) struct Limiter {
    max_memory_bytes: usize,
    max_table_elements: usize,
    memory_bytes: usize,
    table_elements: usize,
    /// What was refused first: the guest's later trap is a consequence of it.
    refused: Option<Growth>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max_memory_bytes: limits.memory_bytes,
            max_table_elements: limits.table_elements,
            memory_bytes: 0,
            table_elements: 0,
            refused: None,
        }
    }

    /// Another invocation in the same instance: what it has counts on, what was refused does not.
    pub(crate) fn begin_again(&mut self) {
        self.refused = None;
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) fn refused(&self) -> Option<Growth> {
        self.refused
    }

    /// Takes note of growth from `current` to `desired` unless the total would pass `limit`.
    fn grow(total: &mut usize, current: usize, desired: usize, limit: usize, what: Growth) -> Result<(), Growth> {
        let grown = total.saturating_add(desired.saturating_sub(current));
        if grown > limit {
            return Err(what);
        }
        *total = grown;
        Ok(())
    }

    fn note(&mut self, grown: Result<(), Growth>) -> bool {
        match grown {
            Ok(()) => true,
            Err(what) => {
                self.refused.get_or_insert(what);
                false
            }
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.max_memory_bytes;
        let grown = Self::grow(&mut self.memory_bytes, current, desired, limit, Growth::Memory);
        Ok(self.note(grown))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.max_table_elements;
        let grown = Self::grow(&mut self.table_elements, current, desired, limit, Growth::TableElements);
        Ok(self.note(grown))
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}
