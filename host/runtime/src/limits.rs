//! What an invocation may use, and the counting of it.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What one invocation may use, and how many may run at once for one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of the guest, counted in ticks of [`crate::EPOCH_TICK`]. Default 100 ms.
    pub cpu: Duration,
    /// Bytes of all linear memories together. Default 16 MiB.
    pub memory_bytes: usize,
    /// Bytes that the guest may hand the host in one call or answer. Default 1 MiB.
    pub transfer_bytes: usize,
    /// Log records of one invocation. Default 100.
    pub log_records: usize,
    /// Bytes of those records' text. Default 16 KiB.
    pub log_bytes: usize,
    /// Invocations of one binding at the same time. Default 64.
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(100),
            memory_bytes: 16 << 20,
            transfer_bytes: 1 << 20,
            log_records: 100,
            log_bytes: 16 << 10,
            concurrency: 64,
        }
    }
}

/// Elements of all tables together: a Rust plugin's function table has a few thousand.
const MAX_TABLE_ELEMENTS: usize = 20_000;
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
    memory_bytes: usize,
    table_elements: usize,
    /// What was refused first: the guest's later trap is a consequence of it.
    refused: Option<&'static str>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max_memory_bytes: limits.memory_bytes,
            memory_bytes: 0,
            table_elements: 0,
            refused: None,
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) fn refused(&self) -> Option<&'static str> {
        self.refused
    }

    /// Takes note of growth from `current` to `desired` unless the total would pass `limit`.
    fn grow(
        total: &mut usize,
        current: usize,
        desired: usize,
        limit: usize,
        what: &'static str,
    ) -> Result<(), &'static str> {
        let grown = total.saturating_add(desired.saturating_sub(current));
        if grown > limit {
            return Err(what);
        }
        *total = grown;
        Ok(())
    }

    fn note(&mut self, grown: Result<(), &'static str>) -> bool {
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
        let grown = Self::grow(&mut self.memory_bytes, current, desired, limit, "memory");
        Ok(self.note(grown))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = Self::grow(
            &mut self.table_elements,
            current,
            desired,
            MAX_TABLE_ELEMENTS,
            "table elements",
        );
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
