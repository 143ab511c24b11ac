//! Instances that are kept for the next invocation of their binding, where operator and tenant want that.
//!
//! An idle instance is one binding's and one set of limits', and it goes with the binding. Its place in the pool is one
//! of those that the pool has for idle instances, so that it takes none from the invocations.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::limits::Limits;
use crate::state::CallState;

/// Whether invocations share instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each invocation has an instance of its own.
    #[default]
    Fresh,
    /// An instance serves one invocation after another of its binding: what one leaves in memory, the next can read.
    Reuse,
}

/// What the operator allows of instances that serve several invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceReuse {
    /// Whether a binding may have [`Isolation::Reuse`]. Default false.
    pub allowed: bool,
    /// How many invocations one instance serves. Default 1,000.
    pub max_uses: u32,
    /// How long an instance may be idle. Default 1 min.
    pub max_idle_time: Duration,
    /// How many may be idle at once, of all bindings; further ones are dropped after their invocation. Default 64.
    pub max_idle_instances: u32,
}

impl Default for InstanceReuse {
    fn default() -> Self {
        Self {
            allowed: false,
            max_uses: 1_000,
            max_idle_time: Duration::from_mins(1),
            max_idle_instances: 64,
        }
    }
}

impl InstanceReuse {
    /// Places in the pool for instances that are idle.
    pub(crate) fn places(&self) -> u32 {
        if self.allowed { self.max_idle_instances } else { 0 }
    }
}

/// An instance, and how often it was used.
pub(crate) struct Used {
    pub(crate) store: Store<CallState>,
    pub(crate) instance: Instance,
    pub(crate) limits: Limits,
    pub(crate) uses: u32,
}

struct Idle {
    used: Used,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

/// One binding's idle instances.
pub(crate) struct Kept {
    options: InstanceReuse,
    /// Those of all bindings.
    places: Arc<Semaphore>,
    idle: Mutex<IdleInstances>,
}

#[derive(Default)]
struct IdleInstances {
    /// The last one was used last.
    instances: Vec<Idle>,
    /// Whether a task drops those that have been idle for too long.
    swept: bool,
}

impl Kept {
    pub(crate) fn new(options: InstanceReuse, places: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            options,
            places: Arc::clone(places),
            idle: Mutex::default(),
        })
    }

    /// An idle instance that was made with these limits. Others cannot serve any more, and are dropped.
    pub(crate) fn take(&self, limits: &Limits) -> Option<Used> {
        let mut unfit = Vec::new();
        let mut idle = self.idle();
        loop {
            let last = idle.instances.pop()?;
            if last.used.limits == *limits && last.since.elapsed() < self.options.max_idle_time {
                drop(idle);
                return Some(last.used);
            }
            unfit.push(last);
        }
    }

    /// Keeps an instance whose invocation has answered, unless it has served long enough or too many are idle.
    pub(crate) fn keep(self: &Arc<Self>, used: Used) {
        if used.uses >= self.options.max_uses {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        let mut idle = self.idle();
        if idle.instances.len() >= used.limits.concurrency {
            return;
        }
        idle.instances.push(Idle {
            used,
            since: Instant::now(),
            _place: place,
        });
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.options.max_idle_time));
        }
    }

    /// Drops what has been idle for too long; false when nothing is left, and nobody will look again.
    fn sweep(&self) -> bool {
        let mut idle = self.idle();
        let most = self.options.max_idle_time;
        let fresh = idle.instances.partition_point(|idle| idle.since.elapsed() >= most);
        let expired: Vec<_> = idle.instances.drain(..fresh).collect();
        idle.swept = !idle.instances.is_empty();
        let swept = idle.swept;
        drop(idle);
        // Resetting their memory takes long.
        drop(expired);
        swept
    }

    fn idle(&self) -> MutexGuard<'_, IdleInstances> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sweeps for as long as there are idle instances, at least twice in their time.
async fn sweep(kept: Weak<Kept>, max_idle_time: Duration) {
    loop {
        tokio::time::sleep(max_idle_time / 2).await;
        if !kept.upgrade().is_some_and(|kept| kept.sweep()) {
            return;
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Kept")
            .field("idle", &self.idle().instances.len())
            .finish_non_exhaustive()
    }
}
