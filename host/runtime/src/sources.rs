//! What is not the same each time, besides upstreams: clocks, waiting, random numbers. All of it passes
//! [`CallState::source`], so that a replay is given what was recorded.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use wasmtime::component::Resource;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Instant as Nanoseconds};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::{HostMonotonicClock, WasiView as _};
use wasmtime_wasi_io::bindings::wasi::io::poll;

use crate::plugin::Digest;
use crate::recording::Call;
use crate::state::CallState;

/// What the guest's clocks show: finer ones would help it to measure other guests.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

impl CallState {
    /// The one way to whatever differs from one run to the next. `arguments` is what the guest asks with, if it matters.
    ///
    /// # Errors
    /// What ends the guest: a limit of the host, or a replay that asks for something else than was recorded.
    pub(crate) fn source<R: Serialize + DeserializeOwned>(
        &mut self,
        function: &'static str,
        arguments: &[u8],
        make: impl FnOnce(&mut Self) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        let call = || call(function, arguments);
        if let Some(recorded) = self.tape.replay(call)? {
            return Ok(recorded);
        }
        let result = make(self)?;
        self.tape.record(call, &result);
        Ok(result)
    }
}

fn call(function: &'static str, arguments: &[u8]) -> Call<'static> {
    Call {
        function,
        upstream: "",
        arguments: Digest::of(arguments),
    }
}

impl wall_clock::Host for CallState {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = self.source("wall-clock.now", &[], |_| Ok(milliseconds(now())))?;
        Ok(datetime(Duration::from_millis(milliseconds)))
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        Ok(datetime(CLOCK_RESOLUTION))
    }
}

fn datetime(time: Duration) -> Datetime {
    Datetime {
        seconds: time.as_secs(),
        nanoseconds: time.subsec_nanos(),
    }
}

impl monotonic_clock::Host for CallState {
    fn now(&mut self) -> wasmtime::Result<Nanoseconds> {
        let clock = CoarseMonotonicClock(self.made);
        self.source("monotonic-clock.now", &[], |_| Ok(clock.now()))
    }

    fn resolution(&mut self) -> wasmtime::Result<Nanoseconds> {
        Ok(nanoseconds(CLOCK_RESOLUTION))
    }

    // What these give is told by `poll`.

    fn subscribe_instant(&mut self, when: Nanoseconds) -> wasmtime::Result<Resource<DynPollable>> {
        monotonic_clock::Host::subscribe_instant(&mut self.clocks(), when)
    }

    fn subscribe_duration(&mut self, duration: Nanoseconds) -> wasmtime::Result<Resource<DynPollable>> {
        monotonic_clock::Host::subscribe_duration(&mut self.clocks(), duration)
    }
}

// A replay does not wait: what was waited for has happened.

impl poll::Host for CallState {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        let asked: Vec<u8> = pollables.iter().flat_map(|one| one.rep().to_le_bytes()).collect();
        let call = || call("poll.poll", &asked);
        if let Some(recorded) = self.tape.replay(call)? {
            return Ok(recorded);
        }
        let ready = poll::Host::poll(self.table(), pollables).await?;
        self.tape.record(call, &ready);
        Ok(ready)
    }
}

impl poll::HostPollable for CallState {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        let asked = pollable.rep().to_le_bytes();
        let call = || call("pollable.ready", &asked);
        if let Some(recorded) = self.tape.replay(call)? {
            return Ok(recorded);
        }
        let ready = poll::HostPollable::ready(self.table(), pollable).await?;
        self.tape.record(call, &ready);
        Ok(ready)
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let asked = pollable.rep().to_le_bytes();
        let call = || call("pollable.block", &asked);
        if self.tape.replay::<()>(call)?.is_some() {
            return Ok(());
        }
        poll::HostPollable::block(self.table(), pollable).await?;
        self.tape.record(call, &());
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(self.table(), pollable)
    }
}

// The random interfaces count what they give before they make it.

impl random::Host for CallState {
    fn get_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.budget.random(bytes)?;
        self.source("random.get-random-bytes", &bytes.to_le_bytes(), |state| {
            random::Host::get_random_bytes(state.ctx().ctx.random(), bytes)
        })
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.budget.random(u64::from(u64::BITS / 8))?;
        self.source("random.get-random-u64", &[], |state| {
            random::Host::get_random_u64(state.ctx().ctx.random())
        })
    }
}

impl insecure::Host for CallState {
    fn get_insecure_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.budget.random(bytes)?;
        self.source("insecure.get-insecure-random-bytes", &bytes.to_le_bytes(), |state| {
            insecure::Host::get_insecure_random_bytes(state.ctx().ctx.random(), bytes)
        })
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.budget.random(u64::from(u64::BITS / 8))?;
        self.source("insecure.get-insecure-random-u64", &[], |state| {
            insecure::Host::get_insecure_random_u64(state.ctx().ctx.random())
        })
    }
}

impl insecure_seed::Host for CallState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.budget.random(u64::from(u128::BITS / 8))?;
        // Every plugin of Rust's asks for it when it starts, which must not make it pay for the rest of WASI.
        let random = || RandomState::new().hash_one(());
        self.source("insecure-seed.insecure-seed", &[], |_| Ok((random(), random())))
    }
}

/// Counts from when the instance was made, so that a guest learns nothing of the host's uptime.
pub(crate) struct CoarseMonotonicClock(pub(crate) Instant);

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        nanoseconds(CLOCK_RESOLUTION)
    }

    fn now(&self) -> u64 {
        nanoseconds(coarse(self.0.elapsed()))
    }
}

/// As the guest's clocks show it.
pub(crate) fn coarse(time: Duration) -> Duration {
    Duration::from_millis(milliseconds(time))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
