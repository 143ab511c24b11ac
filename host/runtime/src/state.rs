//! What one invocation has: the store's data, and the capabilities that read it.

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings::log::{Field, Level};
use crate::bindings::{callout, deadline, log, settings, sign_up};
use crate::budget::{Budget, Transfer};
use crate::capability::{Grants, Reservation};
use crate::engine::EPOCH_TICK;
use crate::guest_log::GuestLog;
use crate::guest_output::{GuestWords, Output};
use crate::journal::{Digester, Journal};
use crate::limits::{Limiter, Limits};
use crate::recording::{Call, Tape};
use crate::sources::{CoarseMonotonicClock, coarse, nanoseconds};
use crate::trace::TraceContext;

pub(crate) struct CallState {
    /// Absent until the guest asks WASI for something; most never do.
    wasi: Option<Box<Wasi>>,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) budget: Budget,
    pub(crate) log: GuestLog,
    /// Epoch ticks the guest has run for.
    pub(crate) cpu_ticks: u32,
    /// How many it may run for.
    pub(crate) max_cpu_ticks: u32,
    /// The plugin's name in the configuration, and its version.
    pub(crate) plugin: Arc<str>,
    settings: Arc<str>,
    /// When the instance was made.
    pub(crate) made: Instant,
    /// When the invocation began.
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) grants: Arc<Grants>,
    pub(crate) journal: Journal,
    pub(crate) tape: Tape,
    /// The trace that calls of upstreams belong to.
    pub(crate) trace: TraceContext,
    /// When the instance was there; absent before, and of one that is used again.
    pub(crate) instantiated: Option<Instant>,
    /// Whether the guest has waited for an upstream since the last epoch tick.
    pub(crate) has_waited: bool,
}

/// What WASI knows of one guest: making it costs random numbers and a dozen allocations.
struct Wasi {
    context: WasiCtx,
    stdout: Output,
    stderr: Output,
}

impl Wasi {
    fn new(transfer: &Transfer, made: Instant) -> Self {
        let (stdout, stderr) = (Output::new(transfer), Output::new(transfer));
        let context = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .monotonic_clock(CoarseMonotonicClock(made))
            .build();
        Self {
            context,
            stdout,
            stderr,
        }
    }
}

impl CallState {
    pub(crate) fn new(
        plugin: Arc<str>,
        settings: Arc<str>,
        grants: Arc<Grants>,
        limits: &Limits,
        deadline: Instant,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let now = Instant::now();
        Self {
            wasi: None,
            table,
            limiter: Limiter::new(limits),
            budget: Budget::new(limits),
            log: GuestLog::new(limits),
            cpu_ticks: 0,
            max_cpu_ticks: u32::try_from(limits.cpu.as_millis() / EPOCH_TICK.as_millis()).unwrap_or(u32::MAX),
            plugin,
            settings,
            made: now,
            started: now,
            deadline,
            grants,
            journal: Journal::default(),
            tape: Tape::Off,
            trace: TraceContext::default(),
            instantiated: None,
            has_waited: false,
        }
    }

    /// Begins another invocation in the same instance, with the same limits. What the guest holds stays: its memory, its
    /// tables, its handles.
    pub(crate) fn begin_again(&mut self, limits: &Limits, deadline: Instant) {
        self.budget.begin_again(limits);
        self.limiter.begin_again();
        self.log = GuestLog::new(limits);
        self.cpu_ticks = 0;
        self.started = Instant::now();
        self.deadline = deadline;
        self.journal = Journal::default();
        self.trace = TraceContext::default();
        self.instantiated = None;
        self.has_waited = false;
        if let Some(wasi) = &self.wasi {
            wasi.stdout.clear();
            wasi.stderr.clear();
        }
    }

    /// Ends an invocation whose instance is kept: nothing of it is left but what the guest holds, and of that no key that
    /// others wait for.
    pub(crate) fn end(&mut self) {
        let held = self.table.iter_mut().filter_map(|held| held.downcast_mut());
        held.for_each(Reservation::release);
        self.log.finish(&self.plugin);
        self.log = GuestLog::silent();
    }

    /// What the guest has written so far, for the log of its failure.
    pub(crate) fn words(&self) -> GuestWords {
        let secret = self.log.secret();
        let text = |output: fn(&Wasi) -> &Output| self.wasi.as_deref().map(|wasi| output(wasi).text(secret));
        GuestWords {
            stderr: text(|wasi| &wasi.stderr).unwrap_or_default(),
            stdout: text(|wasi| &wasi.stdout).unwrap_or_default(),
            backtrace: Vec::new(),
        }
    }

    /// The guest's resources, for what needs nothing else of WASI.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.log.finish(&self.plugin);
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (transfer, made) = (self.budget.transfer(), self.made);
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new(transfer, made)));
        WasiCtxView {
            ctx: &mut wasi.context,
            table: &mut self.table,
        }
    }
}

impl callout::Host for CallState {}

impl sign_up::Host for CallState {}

impl settings::Host for CallState {
    fn json(&mut self) -> wasmtime::Result<String> {
        self.budget.check()?;
        self.source("settings.json", &[], |state| Ok(state.settings.as_ref().to_owned()))
    }
}

impl deadline::Host for CallState {
    fn remaining(&mut self) -> wasmtime::Result<u64> {
        self.budget.check()?;
        let deadline = self.deadline;
        self.source("deadline.remaining", &[], |_| {
            let left = deadline.saturating_duration_since(Instant::now());
            Ok(nanoseconds(coarse(left)))
        })
    }
}

impl log::Host for CallState {
    fn write(&mut self, level: Level, message: String, fields: Vec<Field>) -> wasmtime::Result<()> {
        let fields_bytes = fields.iter().map(|field| field.key.len() + field.value.len());
        self.budget
            .transfer()
            .take(message.len() + fields_bytes.sum::<usize>())?;
        self.budget.check()?;
        // It gives the guest nothing; listed, it shows where a replay goes another way.
        self.tape.replay::<()>(|| written(level, &message, &fields))?;
        self.tape.record(|| written(level, &message, &fields), &());
        self.log.write(&self.plugin, level, &message, &fields);
        Ok(())
    }
}

fn written(level: Level, message: &str, fields: &[Field]) -> Call<'static> {
    let mut arguments = Digester::default();
    arguments.count(level as usize);
    arguments.add(message.as_bytes());
    for field in fields {
        arguments.add(field.key.as_bytes());
        arguments.add(field.value.as_bytes());
    }
    Call {
        function: "log.write",
        upstream: "",
        arguments: arguments.finish(),
    }
}
