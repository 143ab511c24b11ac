//! One invocation: a store, an instance in it, and how they ended.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;
use wasmtime::component::{Instance, ResourceTableError};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use crate::budget::HostLimit;
use crate::capability::Grants;
use crate::engine::EPOCH_TICK;
use crate::error::{HostResource, InvocationError, backtrace, trap_reason};
use crate::exports::Exports;
use crate::guest_log::LogRecord;
use crate::guest_output::GuestWords;
use crate::guest_text::clean;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::recording::Divergence;
use crate::reuse::Used;
use crate::state::CallState;
use crate::turns::yield_turn;

/// How an invocation ended, and what it used.
#[derive(Debug)]
pub struct Report<R> {
    /// What the plugin answered, or why it did not.
    pub result: Result<R, InvocationError>,
    /// What it used, also when it failed.
    pub usage: Usage,
    /// What the guest said of its failure; empty when it answered.
    pub words: GuestWords,
    /// What it asked of upstreams.
    pub journal: Journal,
    /// What the guest logged, in a trace that is sampled.
    pub log: Vec<LogRecord>,
}

impl<R> Report<R> {
    pub(crate) fn refused(error: InvocationError) -> Self {
        Self {
            result: Err(error),
            usage: Usage::default(),
            words: GuestWords::default(),
            journal: Journal::default(),
            log: Vec::new(),
        }
    }
}

/// What an invocation used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From before the instance was made until it was done.
    pub elapsed: Duration,
    /// Of that, until the instance was there; nothing where one was used again.
    pub instantiated: Duration,
    /// CPU time of the guest, in whole ticks of [`EPOCH_TICK`]; most invocations are shorter than one.
    pub cpu: Duration,
    /// Bytes of linear memory at the end, which is the most there was.
    pub memory_bytes: usize,
    /// Calls of imported functions.
    pub host_calls: usize,
    /// Log records that exceeded `log_records` or `log_bytes` and were dropped.
    pub suppressed_log_records: usize,
}

/// What an invocation leaves that was dropped before its end, as its client went away: what it used, and what it had asked
/// of upstreams.
#[derive(Debug, Default)]
pub struct CutShort(Mutex<Option<(Usage, Journal)>>);

impl CutShort {
    /// What is left; nothing of an invocation that came to its end, or that never began.
    pub fn take(&mut self) -> Option<(Usage, Journal)> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn leave(&self, usage: Usage, journal: Journal) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((usage, journal));
    }
}

/// The store of one invocation. Dropping it frees everything the guest had.
pub(crate) struct Run<'a> {
    pub(crate) store: Store<CallState>,
    exports: &'a Exports,
    limits: Limits,
    instance: Option<Instance>,
    /// How many invocations its instance has served, this one included.
    uses: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        engine: &Engine,
        exports: &'a Exports,
        label: Arc<str>,
        settings: Arc<str>,
        grants: Arc<Grants>,
        limits: Limits,
        deadline: Instant,
    ) -> Self {
        let mut store = Store::new(engine, CallState::new(label, settings, grants, &limits, deadline));
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            state.budget.check()?;
            // Ticks that came while the guest waited are not its own.
            if std::mem::take(&mut state.has_waited) {
                return Ok(UpdateDeadline::Continue(1));
            }
            state.cpu_ticks += 1;
            if state.cpu_ticks > state.max_cpu_ticks {
                return Err(CpuBudgetUsed.into());
            }
            // The turn ends, so that a busy guest never holds a core from other callouts.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(yield_turn())))
        });
        let mut run = Self {
            store,
            exports,
            limits,
            instance: None,
            uses: 1,
        };
        run.limit();
        run
    }

    /// Another invocation in an instance that has served some, with everything it may use anew.
    pub(crate) fn again(used: Used, exports: &'a Exports, deadline: Instant) -> Self {
        let Used {
            store,
            instance,
            limits,
            uses,
        } = used;
        let mut run = Self {
            store,
            exports,
            limits,
            instance: Some(instance),
            uses: uses.saturating_add(1),
        };
        run.store.data_mut().begin_again(&limits, deadline);
        run.limit();
        run
    }

    /// What the store counts itself.
    fn limit(&mut self) {
        self.store.set_hostcall_fuel(self.limits.transfer_bytes);
        self.store.set_max_component_handles(self.limits.handles);
        // Also before instantiation: a component's start functions are guest code.
        self.store.set_epoch_deadline(1);
    }

    pub(crate) async fn instantiate(&mut self) -> wasmtime::Result<Instance> {
        if let Some(instance) = self.instance {
            return Ok(instance);
        }
        let instance = self.exports.pre.instantiate_async(&mut self.store).await?;
        self.instance = Some(instance);
        self.store.data_mut().instantiated = Some(Instant::now());
        Ok(instance)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The instance, for another invocation; none of one that did not come to be.
    pub(crate) fn into_used(mut self) -> Option<Used> {
        self.store.data_mut().end();
        Some(Used {
            instance: self.instance?,
            store: self.store,
            limits: self.limits,
            uses: self.uses,
        })
    }

    /// How the invocation ended, whatever happened.
    pub(crate) fn finish<R>(&mut self, ended: Result<wasmtime::Result<R>, Elapsed>) -> Report<R> {
        let state = self.store.data();
        let mut frames = Vec::new();
        let result = match ended {
            // A limit that was reached after the last tick counts as well.
            Ok(answered) => match (answered, state.budget.reached()) {
                (Err(error), _) => {
                    frames = backtrace(&error);
                    Err(self.classify(&error))
                }
                (Ok(_), Some(limit)) => Err(self.host_limit(limit)),
                (Ok(answer), None) => Ok(answer),
            },
            Err(Elapsed { .. }) => Err(InvocationError::DeadlineExceeded),
        };
        let (result, recording) = std::mem::take(&mut self.store.data_mut().tape).end(result);
        let state = self.store.data();
        let words = match &result {
            Ok(_) => GuestWords::default(),
            Err(_) => GuestWords {
                backtrace: frames,
                ..state.words()
            },
        };
        let usage = self.usage();
        let state = self.store.data_mut();
        let log = state.log.take();
        let mut journal = std::mem::take(&mut state.journal);
        journal.recording = recording;
        Report {
            result,
            usage,
            words,
            journal,
            log,
        }
    }

    /// What it has used and asked of upstreams so far, when there is no end to it.
    pub(crate) fn so_far(&mut self) -> (Usage, Journal) {
        let usage = self.usage();
        let journal = std::mem::take(&mut self.store.data_mut().journal);
        (usage, journal.cut_short(usage.elapsed))
    }

    fn usage(&self) -> Usage {
        let state = self.store.data();
        let instantiated = state.instantiated.unwrap_or(state.started);
        Usage {
            elapsed: state.started.elapsed(),
            instantiated: instantiated.saturating_duration_since(state.started),
            cpu: EPOCH_TICK * state.cpu_ticks,
            memory_bytes: state.limiter.memory_bytes(),
            host_calls: state.budget.calls(),
            suppressed_log_records: state.log.suppressed(),
        }
    }

    fn classify(&self, error: &wasmtime::Error) -> InvocationError {
        if let Some(divergence) = error.downcast_ref::<Divergence>() {
            return InvocationError::Diverged(divergence.clone());
        }
        if let Some(limit) = self.store.data().budget.reached() {
            return self.host_limit(limit);
        }
        if error.is::<CpuBudgetUsed>() {
            return InvocationError::CpuLimit(self.limits.cpu);
        }
        // A refused growth shows later, as whatever the guest does without the memory.
        let refused = self.store.data().limiter.refused();
        if let Some(what) = refused.filter(|_| error.is::<Trap>() || self.instance.is_none()) {
            return InvocationError::MemoryLimit(what);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return InvocationError::Overloaded("the instance pool");
        }
        if is_transfer_limit(error) {
            return InvocationError::TransferLimit(self.limits.transfer_bytes);
        }
        if is_handle_limit(error) {
            return InvocationError::HostCallLimit(HostResource::Handles, self.limits.handles);
        }
        if self.instance.is_some() || error.is::<Trap>() {
            return InvocationError::Trapped(trap_reason(error));
        }
        InvocationError::Instantiation(clean(&format!("{error:#}")))
    }

    fn host_limit(&self, limit: HostLimit) -> InvocationError {
        match limit {
            HostLimit::Calls => InvocationError::HostCallLimit(HostResource::Calls, self.limits.host_calls),
            HostLimit::RandomBytes => {
                InvocationError::HostCallLimit(HostResource::RandomBytes, self.limits.random_bytes)
            }
            HostLimit::Transfer => InvocationError::TotalTransferLimit(self.limits.total_transfer_bytes),
        }
    }
}

/// Whether the guest wanted more handles than it may have: of the host's resources, or of its own. wasmtime's error for
/// the latter is text; a test with a plugin that does it notices when that changes.
fn is_handle_limit(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        || error.root_cause().to_string().contains("handle limit exceeded")
}

/// Whether the guest handed over more than `Store::set_hostcall_fuel` allows. wasmtime's error for it is private, so it
/// is known by its text; a test with a plugin that does it notices when that changes.
fn is_transfer_limit(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}

/// The epoch callback's refusal to go on.
#[derive(Debug)]
struct CpuBudgetUsed;

impl fmt::Display for CpuBudgetUsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the CPU budget is used")
    }
}

impl Error for CpuBudgetUsed {}
