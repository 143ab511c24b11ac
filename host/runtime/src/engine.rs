//! The one engine of the process: its settings, and the thread that advances its epoch.

use std::num::NonZeroUsize;
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

use crate::limits::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use crate::pagemap::PagemapScan;

/// How often a running guest is interrupted to yield to others and to have its CPU time counted.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);

/// The hard cap of one linear memory; no binding's limit can be larger.
pub(crate) const MAX_MEMORY_BYTES: usize = 64 << 20;

/// Places in the pool besides the invocations', for plugins that are loaded and whose settings are checked: those do
/// not wait for callouts, and must not take their places either.
pub(crate) const LIFECYCLE_PLACES: u32 = 4;

/// An engine for at most `concurrency` instances that run at once and `idle` that do not, with its epoch ticking until
/// the engine is dropped.
///
/// # Errors
/// When the settings contradict each other or the machine lacks what they need.
pub(crate) fn build(concurrency: u32, idle: u32, pagemap_scan: PagemapScan) -> wasmtime::Result<Engine> {
    let places = concurrency.saturating_add(LIFECYCLE_PLACES).saturating_add(idle);
    let pool = pool(places, pagemap_scan.decide());
    let engine = Engine::new(&config(pool)).or_else(|error| {
        // Small virtual address spaces (ulimit -v, some containers) cannot hold the pool's reservation.
        tracing::warn!(
            error = format!("{error:#}"),
            "no pooled instances: each invocation maps its own memory, slower"
        );
        Engine::new(&config(InstanceAllocationStrategy::OnDemand))
    })?;
    tick(&engine)?;
    Ok(engine)
}

/// An engine that only compiles: what it makes fits [`build`]'s, and it reserves no instances.
///
/// # Errors
/// When the settings contradict each other.
pub(crate) fn compiling() -> wasmtime::Result<Engine> {
    Engine::new(&config(InstanceAllocationStrategy::OnDemand))
}

fn config(allocation: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(allocation)
        .strategy(Strategy::Cranelift)
        .wasm_component_model(true)
        // Saves a third of an invocation's cost: nothing here uses the component model's own async.
        .concurrency_support(false)
        .epoch_interruption(true)
        // The difference between the two is what host functions called by a guest have left.
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        // Stacks are pooled across tenants.
        .async_stack_zeroing(true)
        // Compiling in parallel would take the cores from the callouts being served.
        .parallel_compilation(false)
        // wasmtime walks stacks by frame pointers; a table for native unwinders would be registered and kept for each
        // component.
        .native_unwind_info(false)
        // Nor does anything read where in a module an instruction comes from, or symbols: a log record names functions, which
        // the name section has.
        .generate_address_map(false)
        .debug_symbols(false)
        // What a failed invocation's log record has.
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        // What a Rust plugin does not need is less to attack. Threads, garbage collection and exceptions are not even
        // compiled in.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false)
        // The same inputs give the same bytes on every machine.
        .cranelift_nan_canonicalization(true);
    config
}

/// What is not set here is wasmtime's default: batches of one page range when memory is given back (larger ones gain only
/// on recent kernels), 1 MiB for an instance's own data, no memory protection keys (experimental).
fn pool(concurrency: u32, pagemap_scan: bool) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(concurrency)
        .total_stacks(concurrency)
        // As many as that many components can have: admission counts invocations, and must be the only limit that is met.
        .total_memories(concurrency.saturating_mul(MAX_MEMORIES))
        .total_core_instances(concurrency.saturating_mul(MAX_INSTANCES))
        .total_tables(concurrency.saturating_mul(MAX_TABLES))
        .max_core_instances_per_component(MAX_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(MAX_MEMORY_BYTES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(64 << 10)
        // What most invocations use of a stack is zeroed in place: given back to the kernel, it would fault when the next
        // invocation writes there, which costs more. The rest is given back.
        .async_stack_keep_resident(32 << 10)
        // Slots keep the image of the component that used them last: the fewer are given up, the more tenants find theirs.
        .max_unused_warm_slots(concurrency)
        .pagemap_scan(if pagemap_scan { Enabled::Yes } else { Enabled::No });
    InstanceAllocationStrategy::Pooling(pool)
}

/// Advances the epoch from a thread of its own: a task of the async runtime would starve behind busy guests.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH_TICK);
        }
    })?;
    Ok(())
}
