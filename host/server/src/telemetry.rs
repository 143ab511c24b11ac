//! What is counted, and `/metrics`, which tells it to Prometheus.
//!
//! Labels are names that operators and tenants configured, and outcomes: never anything that a request said.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use claimsmith_catalog::{BoundPlugin, Catalog, Extension};
use claimsmith_contract::Outcome;
use claimsmith_runtime::Usage;
use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::server::App;

/// The text format of Prometheus.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of durations: finer below Entra's limits of 1 and 2 s, where it matters.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.5, 2.0,
];
/// Bounds of memory, from a small plugin's to the largest limit.
const BYTES: &[f64] = &[
    262_144.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
    67_108_864.0,
];

/// How often what has been measured is put into its buckets, also when nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to count. `None` when something else in the process counts already.
///
/// # Errors
/// When the bounds above are not usable: a defect.
pub(crate) fn begin() -> Result<Option<PrometheusHandle>, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        return Ok(None);
    }
    describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(Some(handle))
}

fn describe() {
    describe_counter!("claimsmith_callouts_total", "Callouts, by how they ended");
    describe_histogram!(
        "claimsmith_callout_seconds",
        Unit::Seconds,
        "From a request's arrival to its answer"
    );
    describe_counter!(
        "claimsmith_invocations_total",
        "Invocations of plugins, by how they ended"
    );
    describe_counter!(
        "claimsmith_limit_reached_total",
        "Invocations that reached a limit, by its name in runtime.limits"
    );
    describe_histogram!(
        "claimsmith_invocation_seconds",
        Unit::Seconds,
        "From before a plugin's instance was made until it was done"
    );
    describe_histogram!(
        "claimsmith_invocation_cpu_seconds",
        Unit::Seconds,
        "CPU time of plugins, in whole milliseconds"
    );
    describe_histogram!(
        "claimsmith_invocation_memory_bytes",
        Unit::Bytes,
        "Linear memory of plugins at their end, which is the most there was"
    );
    describe_counter!(
        "claimsmith_aot_cache_total",
        "Looks into the cache of compiled components, by what was found; write_failed: a component that could not be kept"
    );
    describe_counter!(
        "claimsmith_plugin_loads_total",
        "Components that were loaded, or what they were refused for"
    );
    describe_histogram!(
        "claimsmith_compile_seconds",
        Unit::Seconds,
        "Compilations that came to an end"
    );
    describe_gauge!(
        "claimsmith_breaker_open",
        "1 while a plugin's circuit breaker is open, 0.5 while it is tried again"
    );
    describe_counter!(
        "claimsmith_capability_calls_total",
        "Calls of upstreams, by what the plugin was given"
    );
    describe_histogram!(
        "claimsmith_capability_call_seconds",
        Unit::Seconds,
        "Calls of upstreams, with waiting for a place and all attempts"
    );
    describe_gauge!(
        "claimsmith_upstream_breaker_open",
        "1 while an upstream's circuit breaker is open, 0.5 while it is tried again"
    );
    describe_counter!(
        "claimsmith_cache_lookups_total",
        "Keys that plugins have looked for in their caches, by what was found"
    );
    describe_counter!(
        "claimsmith_cache_evictions_total",
        "Entries of caches that made room for others"
    );
    describe_gauge!("claimsmith_cache_bytes", "Bytes of what caches keep in memory");
    describe_gauge!("claimsmith_cache_entries", "Entries that caches keep in memory");
    describe_counter!(
        "claimsmith_cache_redis_total",
        "Questions of caches to their second level, by what came of them"
    );
    describe_gauge!(
        "claimsmith_catalog_generation",
        "Which catalog serves: counts up with every change"
    );
    describe_gauge!(
        "claimsmith_generations_alive",
        "Catalogs in memory: one, and more while callouts end on older ones"
    );
    describe_gauge!("claimsmith_live_instances", "Instances of plugins that exist now");
}

/// Counts a callout. `extension` is absent when the path led to none.
pub(crate) fn count_callout(extension: Option<&Extension>, outcome: Outcome, took: Duration) {
    let Some(extension) = extension else {
        counter!("claimsmith_callouts_total", "tenant" => "", "extension" => "", "outcome" => outcome.code())
            .increment(1);
        return;
    };
    let names = || (Arc::clone(&extension.tenant), Arc::clone(&extension.name));
    let counted = || {
        let (tenant, name) = names();
        counter!("claimsmith_callouts_total", "tenant" => tenant, "extension" => name, "outcome" => outcome.code())
    };
    let meters = &extension.meters;
    increment(&meters.answered, outcome, counted);
    let seconds = meters.seconds.get_or_init(|| {
        let (tenant, name) = names();
        histogram!("claimsmith_callout_seconds", "tenant" => tenant, "extension" => name)
    });
    seconds.record(took);
}

/// Counts one more of an outcome. Only the handle of what mostly happens is kept, in `answered`.
fn increment(answered: &OnceLock<Counter>, outcome: Outcome, counted: impl Fn() -> Counter) {
    if outcome == Outcome::Answered {
        answered.get_or_init(counted).increment(1);
    } else {
        counted().increment(1);
    }
}

/// Counts an invocation, also one that was not begun.
pub(crate) fn count_invocation(extension: &Extension, bound: &BoundPlugin, outcome: Outcome) {
    increment(&bound.meters.answered, outcome, || {
        counter!(
            "claimsmith_invocations_total",
            "tenant" => Arc::clone(&extension.tenant),
            "extension" => Arc::clone(&extension.name),
            "plugin" => Arc::clone(&bound.name),
            "outcome" => outcome.code(),
        )
    });
}

/// Counts an invocation that has reached a limit.
pub(crate) fn count_limit(extension: &Extension, bound: &BoundPlugin, limit: &'static str) {
    counter!(
        "claimsmith_limit_reached_total",
        "tenant" => Arc::clone(&extension.tenant),
        "extension" => Arc::clone(&extension.name),
        "plugin" => Arc::clone(&bound.name),
        "limit" => limit,
    )
    .increment(1);
}

/// Notes what an invocation used.
pub(crate) fn note_usage(extension: &Extension, bound: &BoundPlugin, usage: &Usage) {
    let labels = || {
        [
            metrics::Label::new("tenant", Arc::clone(&extension.tenant)),
            metrics::Label::new("extension", Arc::clone(&extension.name)),
            metrics::Label::new("plugin", Arc::clone(&bound.name)),
        ]
        .to_vec()
    };
    if usage.suppressed_log_records > 0 {
        count_limit(extension, bound, "log_records");
    }
    let meters = &bound.meters;
    let seconds = || histogram!("claimsmith_invocation_seconds", labels());
    meters.seconds.get_or_init(seconds).record(usage.elapsed);
    let cpu_seconds = || histogram!("claimsmith_invocation_cpu_seconds", labels());
    meters.cpu_seconds.get_or_init(cpu_seconds).record(usage.cpu);
    let memory_bytes = || histogram!("claimsmith_invocation_memory_bytes", labels());
    #[expect(clippy::cast_precision_loss, reason = "no memory has 2^52 bytes")]
    meters
        .memory_bytes
        .get_or_init(memory_bytes)
        .record(usage.memory_bytes as f64);
}

/// The handler of `/metrics`.
pub(crate) async fn render(State(app): State<Arc<App>>) -> Response {
    #[expect(clippy::cast_precision_loss, reason = "nobody reloads 2^52 times")]
    gauge!("claimsmith_catalog_generation").set(app.catalog.get().generation() as f64);
    #[expect(clippy::cast_precision_loss, reason = "no process has 2^52 of either")]
    {
        gauge!("claimsmith_generations_alive").set(Catalog::generations_alive() as f64);
        if let Some(instances) = app.runtime.live_instances() {
            gauge!("claimsmith_live_instances").set(instances as f64);
        }
    }
    let text = app.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(CONTENT_TYPE, HeaderValue::from_static(TEXT))], text).into_response()
}
