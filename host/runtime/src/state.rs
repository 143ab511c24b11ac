//! What one invocation has: the store's data, and the capabilities that read it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomCtx;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::bindings::log::{Field, Level};
use crate::bindings::{callout, deadline, log, settings, sign_up};
use crate::budget::{Budget, Transfer};
use crate::capability::{Grants, Reservation};
use crate::engine::EPOCH_TICK;
use crate::guest_log::GuestLog;
use crate::guest_output::{GuestWords, Output};
use crate::journal::Journal;
use crate::limits::{Limiter, Limits};

/// What the guest's clocks show: finer ones would help it to measure other guests.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

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
    /// When the invocation began.
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) grants: Arc<Grants>,
    pub(crate) journal: Journal,
    /// The trace that calls of upstreams belong to.
    pub(crate) trace: u128,
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
    fn new(transfer: &Transfer, started: Instant) -> Self {
        let (stdout, stderr) = (Output::new(transfer), Output::new(transfer));
        let context = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .wall_clock(CoarseWallClock)
            .monotonic_clock(CoarseMonotonicClock(started))
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
            started: Instant::now(),
            deadline,
            grants,
            journal: Journal::default(),
            trace: 0,
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
        self.trace = 0;
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
        let text = |output: fn(&Wasi) -> &Output| self.wasi.as_deref().map(|wasi| output(wasi).text());
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

    fn random(&mut self) -> &mut WasiRandomCtx {
        self.ctx().ctx.random()
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.log.finish(&self.plugin);
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (transfer, started) = (self.budget.transfer(), self.started);
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new(transfer, started)));
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
        Ok(self.settings.as_ref().to_owned())
    }
}

impl deadline::Host for CallState {
    fn remaining(&mut self) -> wasmtime::Result<u64> {
        self.budget.check()?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let coarse = left.as_millis() * CLOCK_RESOLUTION.as_nanos();
        Ok(u64::try_from(coarse).unwrap_or(u64::MAX))
    }
}

impl log::Host for CallState {
    fn write(&mut self, level: Level, message: String, fields: Vec<Field>) -> wasmtime::Result<()> {
        let fields_bytes = fields.iter().map(|field| field.key.len() + field.value.len());
        self.budget
            .transfer()
            .take(message.len() + fields_bytes.sum::<usize>())?;
        self.budget.check()?;
        self.log.write(&self.plugin, level, &message, &fields);
        Ok(())
    }
}

// The random interfaces count what they give before they make it.

impl random::Host for CallState {
    fn get_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.budget.random(bytes)?;
        random::Host::get_random_bytes(self.random(), bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.budget.random(u64::from(u64::BITS / 8))?;
        random::Host::get_random_u64(self.random())
    }
}

impl insecure::Host for CallState {
    fn get_insecure_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.budget.random(bytes)?;
        insecure::Host::get_insecure_random_bytes(self.random(), bytes)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.budget.random(u64::from(u64::BITS / 8))?;
        insecure::Host::get_insecure_random_u64(self.random())
    }
}

impl insecure_seed::Host for CallState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.budget.random(u64::from(u128::BITS / 8))?;
        // Every plugin of Rust's asks for it when it starts, which must not make it pay for the rest of WASI.
        let random = || RandomState::new().hash_one(());
        Ok((random(), random()))
    }
}

struct CoarseWallClock;

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        CLOCK_RESOLUTION
    }

    fn now(&self) -> Duration {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        coarse(since.unwrap_or_default())
    }
}

/// Counts from the invocation's start, so that a guest learns nothing of the host's uptime.
struct CoarseMonotonicClock(Instant);

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        nanoseconds(CLOCK_RESOLUTION)
    }

    fn now(&self) -> u64 {
        nanoseconds(coarse(self.0.elapsed()))
    }
}

fn coarse(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
