//! What one invocation has: the store's data, and the capabilities that read it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::bindings::log::{Field, Level};
use crate::bindings::{callout, deadline, log, settings, sign_up};
use crate::guest_log::GuestLog;
use crate::limits::{Limiter, Limits};

/// How many resources (streams, pollables) a guest may hold.
const MAX_HANDLES: usize = 64;
/// How many random bytes a guest may ask for at once.
const MAX_RANDOM_BYTES: u64 = 4 << 10;
/// What the guest's clocks show: finer ones would help it to measure other guests.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

pub(crate) struct CallState {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) log: GuestLog,
    /// Epoch ticks the guest has run for.
    pub(crate) cpu_ticks: u32,
    /// `name@version`
    plugin: Arc<str>,
    settings: Arc<str>,
    deadline: Instant,
}

impl CallState {
    pub(crate) fn new(plugin: Arc<str>, settings: Arc<str>, limits: &Limits, deadline: Instant) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let wasi = WasiCtx::builder()
            .max_random_size(MAX_RANDOM_BYTES)
            .wall_clock(CoarseWallClock)
            .monotonic_clock(CoarseMonotonicClock(Instant::now()))
            .build();
        Self {
            wasi,
            table,
            limiter: Limiter::new(limits),
            log: GuestLog::new(limits),
            cpu_ticks: 0,
            plugin,
            settings,
            deadline,
        }
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.log.finish(&self.plugin);
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl callout::Host for CallState {}

impl sign_up::Host for CallState {}

impl settings::Host for CallState {
    fn json(&mut self) -> wasmtime::Result<String> {
        Ok(self.settings.as_ref().to_owned())
    }
}

impl deadline::Host for CallState {
    fn remaining(&mut self) -> wasmtime::Result<u64> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let coarse = left.as_millis() * CLOCK_RESOLUTION.as_nanos();
        Ok(u64::try_from(coarse).unwrap_or(u64::MAX))
    }
}

impl log::Host for CallState {
    fn write(&mut self, level: Level, message: String, fields: Vec<Field>) -> wasmtime::Result<()> {
        self.log.write(&self.plugin, level, &message, &fields);
        Ok(())
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
