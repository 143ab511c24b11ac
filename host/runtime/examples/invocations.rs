//! Measures invocations without HTTP, tokens and JSON: CPU time, allocations and page faults of each.
//!
//! `cargo build --release --workspace --example invocations`, then `invocations PLUGIN.wasm SETTINGS.json [COUNT
//! [PLACES [reuse]]]`
//!
//! For instruction counts, run it under callgrind with two counts and one place, and subtract: what is left is the
//! invocations', without compiling. There pages are reset by overwriting them, because valgrind knows no `PAGEMAP_SCAN`.

#![expect(
    unsafe_code,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for developers, with an allocator that counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use claimsmith_runtime::interface::callout::{Client, Context, ServicePrincipal, User};
use claimsmith_runtime::{Binding, InstanceReuse, Isolation, Limits, Runtime, RuntimeOptions, TenantShare};
use tokio::time::Instant;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED_BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u32 = 10;

fn principal(id: &'static str, name: &'static str) -> ServicePrincipal<'static> {
    ServicePrincipal {
        id: Some(id),
        app_id: Some(id),
        app_display_name: Some(name),
        display_name: Some(name),
    }
}

fn context() -> Context<'static> {
    Context {
        correlation_id: "20000000-0000-0000-0000-000000000002",
        tenant_id: "30000000-0000-0000-0000-000000000003",
        listener_id: Some("10000000-0000-0000-0000-000000000001"),
        extension_id: Some("10000000-0000-0000-0000-000000000002"),
        client: Some(Client {
            ip: Some("2001:db8::7"),
            locale: Some("en-us"),
            market: Some("en-us"),
        }),
        protocol: Some("OAUTH2.0"),
        request_type: None,
        client_service_principal: Some(principal("a1b2c3d4-0000-4000-8000-0000000000a1", "Contoso shop")),
        resource_service_principal: Some(principal("a1b2c3d4-0000-4000-8000-0000000000a2", "Contoso orders")),
        user: Some(User {
            id: Some("40000000-0000-0000-0000-000000000004"),
            company_name: Some("Contoso"),
            created_date_time: Some("2024-03-01T12:30:00Z"),
            display_name: Some("Ada Lovelace"),
            given_name: Some("Ada"),
            mail: Some("Ada.Lovelace@Example.org"),
            on_premises_sam_account_name: Some("ada"),
            on_premises_security_identifier: Some("S-1-5-21-1"),
            on_premises_user_principal_name: Some("ada@corp.example.org"),
            preferred_data_location: Some("EUR"),
            preferred_language: Some("en-GB"),
            surname: Some("Lovelace"),
            user_principal_name: Some("ada@example.org"),
            user_type: Some("Member"),
        }),
        additional: &[],
    }
}

async fn invoke(binding: &Binding, times: u32) {
    for _ in 0..times {
        let deadline = Instant::now() + Duration::from_millis(900);
        let report = binding.token_issuance_start(context(), deadline).await;
        let claims = report.result.expect("the plugin answers");
        assert!(!claims.is_empty(), "the plugin answers with claims");
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let plugin = arguments.next().expect("the plugin's file");
    let settings = arguments.next().expect("the file of its settings, as JSON");
    let count = arguments.next().map_or(20_000, |count| count.parse().expect("a count"));
    let places = arguments
        .next()
        .map_or(256, |count| count.parse().expect("a count of places"));
    let reuse = arguments.next().is_some();
    let options = RuntimeOptions {
        max_concurrent_invocations: places,
        instance_reuse: InstanceReuse {
            allowed: reuse,
            ..InstanceReuse::default()
        },
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::new(options).expect("a runtime");
    let limits = Limits::default();
    let bytes = std::fs::read(plugin).expect("the plugin");
    let plugin = runtime.load(bytes, &limits).await.expect("a plugin");
    let settings = std::fs::read_to_string(settings).expect("the settings");
    let tenant = Arc::new(TenantShare::new(128));
    let bound = runtime
        .bind(plugin, "measured", settings, limits, tenant, Arc::default())
        .await;
    let isolation = if reuse { Isolation::Reuse } else { Isolation::Fresh };
    let binding = bound.expect("a binding").with_isolation(isolation);
    let binding = Arc::new(binding.expect("reuse is allowed"));
    tokio::spawn(async move { measure(&binding, count).await })
        .await
        .expect("the measurement");
}

async fn measure(binding: &Binding, count: u32) {
    let each = count / ROUNDS;
    let mut best = Used::default();
    for round in 0..ROUNDS {
        let before = Used::now();
        invoke(binding, each).await;
        let used = Used::now().since(&before);
        if round == 0 || used.cpu < best.cpu {
            best = used;
        }
    }
    let each = f64::from(each.max(1));
    println!(
        "each: {:.2} us of CPU time, {:.1} allocations of {:.0} bytes together, {:.2} page faults",
        best.cpu / each,
        best.allocations / each,
        best.bytes / each,
        best.faults / each,
    );
}

/// What the measuring thread has used: microseconds and counts.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu: f64,
    allocations: f64,
    bytes: f64,
    faults: f64,
}

impl Used {
    fn now() -> Self {
        // The time that the scheduler counts; user and system time in ticks are too coarse.
        let usage = std::fs::read_to_string("/proc/thread-self/stat").expect("procfs");
        let after = usage.rsplit_once(')').expect("a command").1;
        let fields: Vec<f64> = after
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
        let on_cpu: f64 = schedstat.split(' ').next().expect("a time").parse().expect("a time");
        Self {
            cpu: on_cpu / 1e3,
            faults: field(7),
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below it")]
            allocations: ALLOCATIONS.load(Ordering::Relaxed) as f64,
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below it")]
            bytes: ALLOCATED_BYTES.load(Ordering::Relaxed) as f64,
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu - before.cpu,
            allocations: self.allocations - before.allocations,
            bytes: self.bytes - before.bytes,
            faults: self.faults - before.faults,
        }
    }
}
