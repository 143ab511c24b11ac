//! What is counted, and `/metrics`, which tells it to Prometheus.
//!
//! Labels are names that operators and tenants configured, and outcomes: never anything that a request said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use claimsmith_catalog::{BindingMeters, Catalog, Seen};
use claimsmith_contract::Outcome;
use claimsmith_runtime::{BreakerState, Usage};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::answer::status_and_title;
use crate::course::Course;
use crate::facts::Facts;
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

/// Bounds of shares: finer towards the whole.
const RATIOS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 2.0];

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
        .set_buckets_for_metric(Matcher::Suffix("_ratio".to_owned()), RATIOS)?
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        return Ok(None);
    }
    describe();
    describe_more();
    gauge!("claimsmith_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
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
    describe_counter!(
        "claimsmith_capability_calls_total",
        "Calls of upstreams, by what the plugin was given"
    );
    describe_histogram!(
        "claimsmith_capability_call_seconds",
        Unit::Seconds,
        "Calls of upstreams, with waiting for a place and all attempts"
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
    describe_counter!(
        "claimsmith_failure_policy_total",
        "Failures of plugins that a failure policy answered for"
    );
    describe_counter!(
        "claimsmith_repeated_callouts_total",
        "Callouts that repeat another and were answered as that one"
    );
    describe_counter!(
        "claimsmith_rate_limited_total",
        "Callouts that were refused by a rate limit"
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

fn describe_more() {
    describe_gauge!(
        "claimsmith_tls_certificate_expires_timestamp_seconds",
        "When the listener's certificate ends, in seconds since 1970"
    );
    describe_counter!("claimsmith_vault_reads_total", "Reads of secrets in Vault");
    describe_counter!(
        "claimsmith_token_failures_total",
        "Callouts refused for their token, by why"
    );
    describe_histogram!(
        "claimsmith_callout_deadline_ratio",
        "The share of the extension's deadline that callouts took: 1 is all of it"
    );
    describe_histogram!("claimsmith_stage_seconds", Unit::Seconds, "Parts of a callout's way");
    describe_gauge!(
        "claimsmith_last_callout_timestamp_seconds",
        "When the last callout came, in seconds since 1970"
    );
    describe_gauge!(
        "claimsmith_extension_quiet",
        "1 while Entra has not called for longer than expected"
    );
    describe_counter!(
        "claimsmith_probes_total",
        "Callouts that the service made itself, by how they ended"
    );
    describe_histogram!("claimsmith_probe_seconds", Unit::Seconds, "How long these took");
    describe_gauge!("claimsmith_probe_success", "1 when the last of these was answered");
    describe_counter!(
        "claimsmith_tenant_loads_total",
        "Loads of tenants' files, by what came of them"
    );
    describe_gauge!("claimsmith_tenant_mistakes", "Mistakes in a tenant's files as they are");
    describe_counter!("claimsmith_metadata_fetches_total", "Fetches of metadata documents");
    describe_counter!("claimsmith_trace_spans_total", "Spans, by what became of them");
    describe_gauge!("claimsmith_invocations_in_flight", "Invocations that have a place now");
    describe_gauge!("claimsmith_invocation_places", "runtime.max_concurrent_invocations");
    describe_gauge!(
        "claimsmith_callouts_in_flight",
        "Callouts with a valid token that are being answered"
    );
    describe_counter!(
        "claimsmith_admin_requests_total",
        "Requests to the admin API, by what they were answered"
    );
    describe_gauge!("claimsmith_build_info", "1, with the version that runs");
}

/// Counts a callout: of its extension, or of its tenant or nobody when the path led to none. One that the service makes itself counts as a
/// probe alone.
pub(crate) fn count_callout(facts: &Facts, outcome: Outcome, took: Duration) {
    let Some(extension) = facts.extension.as_deref() else {
        let tenant = facts.unavailable_tenant.as_deref().unwrap_or_default().to_owned();
        counter!("claimsmith_callouts_total", "tenant" => tenant, "extension" => "", "outcome" => outcome.code())
            .increment(1);
        return;
    };
    let (meters, course) = (&extension.meters, &facts.invocations.course);
    if course.is_probe() {
        meters.probes.increment(outcome);
        histogram!("claimsmith_probe_seconds", meters.labels().iter()).record(took);
        return;
    }
    meters.callouts.increment(outcome);
    if is_token_failure(outcome) {
        meters.token_failures.increment(outcome);
    }
    meters.seconds.record(took);
    let deadline = extension.deadline.as_secs_f64();
    meters
        .deadline_ratio
        .record(took.as_secs_f64() / deadline.max(f64::MIN_POSITIVE));
    for (stage, _, took) in facts.stages.each() {
        meters.note_stage(stage, took);
    }
    course.note_stages(meters);
    let at = SystemTime::now();
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    meters.last.set(since.as_secs_f64());
    meters.fared.note(Seen {
        at,
        took,
        is_answered: outcome == Outcome::Answered,
        is_by_entra: facts.is_by_entra,
    });
}

/// Whether a callout was refused for its token, or for want of keys to check it with: what is answered 401, and two more.
fn is_token_failure(outcome: Outcome) -> bool {
    let is_unauthorized = status_and_title(outcome).0 == StatusCode::UNAUTHORIZED;
    is_unauthorized || matches!(outcome, Outcome::TenantMismatch | Outcome::KeysUnavailable)
}

/// Counts an invocation, also one that was not begun. Not of a probe: what is counted is what people sign in with.
pub(crate) fn count_invocation(course: &Course, meters: &BindingMeters, outcome: Outcome) {
    if !course.is_probe() {
        meters.invocations.increment(outcome);
    }
}

/// Notes what an invocation used.
pub(crate) fn note_usage(course: &Course, meters: &BindingMeters, usage: &Usage) {
    if course.is_probe() {
        return;
    }
    if usage.suppressed_log_records > 0 {
        meters.count_limit("log_records");
    }
    meters.seconds.record(usage.elapsed);
    meters.cpu_seconds.record(usage.cpu);
    #[expect(clippy::cast_precision_loss, reason = "no memory has 2^52 bytes")]
    meters.memory_bytes.record(usage.memory_bytes as f64);
}

/// The circuit breakers of what serves. A gauge that they set would also tell of those that are made for a trial, and go on
/// telling of those that are gone.
fn breakers(catalog: &Catalog) -> String {
    plugin_breakers(catalog) + &upstream_breakers(catalog)
}

fn plugin_breakers(catalog: &Catalog) -> String {
    const NAME: &str = "claimsmith_breaker_open";
    // Bindings of the same labels are one plugin with settings for several applications, or in several places.
    let mut open = BTreeMap::<_, f64>::new();
    for (_, _, extension) in catalog.extensions() {
        for (_, bound) in extension.bindings() {
            let most = open.entry(bound.meters.names()).or_default();
            *most = most.max(openness(bound.breaker.state()));
        }
    }
    // Names of the configuration need no escapes.
    let series = open.iter().map(|([tenant, extension, plugin], open)| {
        format!("{NAME}{{tenant=\"{tenant}\",extension=\"{extension}\",plugin=\"{plugin}\"}} {open}\n")
    });
    format!(
        "# HELP {NAME} 1 while a plugin's circuit breaker is open, 0.5 while it is tried again\n# TYPE {NAME} gauge\n{}",
        series.collect::<String>()
    )
}

fn upstream_breakers(catalog: &Catalog) -> String {
    const NAME: &str = "claimsmith_upstream_breaker_open";
    let serving = catalog.tenants().filter_map(|name| Some((name, catalog.tenant(name)?)));
    let series = serving.flat_map(|(tenant, serving)| {
        serving.upstream_breakers().map(move |(upstream, state)| {
            let open = openness(state);
            format!("{NAME}{{tenant=\"{tenant}\",upstream=\"{upstream}\"}} {open}\n")
        })
    });
    format!(
        "# HELP {NAME} 1 while an upstream's circuit breaker is open, 0.5 while it is tried again\n# TYPE {NAME} gauge\n{}",
        series.collect::<String>()
    )
}

/// A breaker's state as a number.
fn openness(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 0.5,
        BreakerState::Open => 1.0,
    }
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
        let (taken, places) = app.runtime.places();
        gauge!("claimsmith_invocations_in_flight").set(taken as f64);
        gauge!("claimsmith_invocation_places").set(places as f64);
        gauge!("claimsmith_callouts_in_flight").set(app.callouts_in_flight() as f64);
    }
    let mut text = app.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    text.push_str(&breakers(&app.catalog.get()));
    ([(CONTENT_TYPE, HeaderValue::from_static(TEXT))], text).into_response()
}
