//! What is counted of a cache.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Label, counter, gauge};

/// How looking for a key went.
#[derive(Clone, Copy, Debug)]
pub(super) enum Looked {
    /// A fresh value.
    Hit,
    /// A value that is older than it should be.
    Stale,
    /// None.
    Miss,
    /// None yet, and somebody else is filling it.
    Waited,
}

/// What the second level was asked, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Hit,
    Miss,
    Stored,
    Removed,
    Failed,
    Skipped,
}

impl Asked {
    const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stored => "stored",
            Self::Removed => "removed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Counts for one cache. Several share their labels while one replaces another, so what there is of entries is added up.
pub(super) struct Meters {
    labels: [Label; 3],
    looked: [OnceLock<Counter>; 4],
    asked: [OnceLock<Counter>; 6],
    evictions: OnceLock<Counter>,
    size: OnceLock<[Gauge; 2]>,
    bytes: AtomicU64,
    entries: AtomicU64,
}

impl Meters {
    pub(super) fn new(labels: [Label; 3]) -> Self {
        Self {
            labels,
            looked: Default::default(),
            asked: Default::default(),
            evictions: OnceLock::new(),
            size: OnceLock::new(),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
        }
    }

    /// Counts a look.
    pub(super) fn looked(&self, how: Looked) {
        let (index, result) = match how {
            Looked::Hit => (0, "hit"),
            Looked::Stale => (1, "stale"),
            Looked::Miss => (2, "miss"),
            Looked::Waited => (3, "waited"),
        };
        let counted = || counter!("claimsmith_cache_lookups_total", self.labels_and("result", result));
        if let Some(meter) = self.looked.get(index) {
            meter.get_or_init(counted).increment(1);
        }
    }

    /// Counts a question to the second level.
    pub(super) fn asked(&self, result: Asked) {
        let counted = || {
            let labels = self.labels_and("result", result.name());
            counter!("claimsmith_cache_redis_total", labels)
        };
        if let Some(meter) = self.asked.get(result as usize) {
            meter.get_or_init(counted).increment(1);
        }
    }

    /// An entry is kept.
    pub(super) fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.entries.fetch_add(1, Ordering::Relaxed);
        let [of_bytes, of_entries] = self.size();
        of_bytes.increment(exact(bytes as u64));
        of_entries.increment(1.0);
    }

    /// An entry is gone, perhaps because others needed its room.
    pub(super) fn gone(&self, bytes: usize, for_others: bool) {
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.entries.fetch_sub(1, Ordering::Relaxed);
        let [of_bytes, of_entries] = self.size();
        of_bytes.decrement(exact(bytes as u64));
        of_entries.decrement(1.0);
        if for_others {
            let counted = || counter!("claimsmith_cache_evictions_total", self.labels.iter());
            self.evictions.get_or_init(counted).increment(1);
        }
    }

    fn size(&self) -> &[Gauge; 2] {
        self.size.get_or_init(|| {
            [
                gauge!("claimsmith_cache_bytes", self.labels.iter()),
                gauge!("claimsmith_cache_entries", self.labels.iter()),
            ]
        })
    }

    fn labels_and(&self, name: &'static str, value: &'static str) -> Vec<Label> {
        let more = Label::from_static_parts(name, value);
        self.labels.iter().cloned().chain([more]).collect()
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        if let Some([bytes, entries]) = self.size.get() {
            bytes.decrement(exact(*self.bytes.get_mut()));
            entries.decrement(exact(*self.entries.get_mut()));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no cache has 2^52 bytes")]
fn exact(number: u64) -> f64 {
    number as f64
}

impl fmt::Debug for Meters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Meters").finish_non_exhaustive()
    }
}
