//! `/status`: what serves and how it fares, for operators. Names, versions, times and counts alone: nothing that a request
//! said, and what a mistake in a tenant's files says only where [`Detail`] asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use claimsmith_catalog::{BoundPlugin, ByOutcome, Catalog, Extension, Quantiles};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::server::App;

/// What serves and how it fares.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status<'c> {
    /// Counts up with every change.
    generation: u64,
    tenants: BTreeMap<&'c str, TenantStatus<'c>>,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What anybody on the listener's network may see.
    Names,
    /// What mistakes say too, which quotes the tenants' files: for operators and the tenant itself.
    Mistakes,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct TenantStatus<'c> {
    /// Mistakes in its files as they are; what serves is then the last state without. The log tells them.
    mistakes: usize,
    /// Since when its files have been wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    mistakes_since: Option<Time>,
    /// What the mistakes are; never on the callout listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistake_texts: Vec<String>,
    /// Empty when its files have not been valid since the start.
    extensions: BTreeMap<&'c str, ExtensionStatus<'c>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ExtensionStatus<'c> {
    event: &'static str,
    /// Since when its callouts are known: the start of the service, or of the extension if that is later.
    since: Time,
    /// The last callout, whoever made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    last_callout: Option<Time>,
    /// The last callout whose token Entra asked for, whatever came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    last_callout_by_entra: Option<Time>,
    /// The last callout that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    last_answered: Option<Time>,
    /// Whether Entra has not called for longer than `expect_callouts_within`; absent when nothing is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    quiet: Option<bool>,
    /// Callouts by outcome.
    outcomes: BTreeMap<&'static str, u64>,
    /// Callouts that the service made itself, by outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    probes: BTreeMap<&'static str, u64>,
    /// How long callouts of the last minutes took; absent when there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    latency: Option<Latency>,
    bindings: Vec<BindingStatus<'c>>,
}

/// Quantiles in milliseconds, within 7 %, of the last 5 to 10 minutes.
#[derive(Debug, Serialize, JsonSchema)]
struct Latency {
    callouts: u64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// A time as RFC 3339 writes it, in UTC and milliseconds.
#[derive(Clone, Copy, Debug)]
struct Time(SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct BindingStatus<'c> {
    plugin: &'c str,
    /// The application that it is for, if not for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    application: Option<String>,
    version: String,
    digest: String,
    /// Since when this version has served here without a break.
    since: Time,
    /// `closed`, `open` or `half_open`.
    breaker: &'static str,
    /// The version that is invoked while the breaker is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    previous: Option<String>,
}

/// The handler of `/status`.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Response {
    Json(of(&app.catalog.get(), Detail::Names)).into_response()
}

/// What a catalog serves and how that fares.
#[must_use]
pub fn of(catalog: &Catalog, detail: Detail) -> Status<'_> {
    let mut tenants: BTreeMap<&str, TenantStatus<'_>> = BTreeMap::new();
    for (tenant, mistakes) in catalog.problems() {
        let status = tenants.entry(tenant).or_default();
        status.mistakes = mistakes.len();
        status.mistakes_since = catalog.wrong_since(tenant).map(Time);
        if detail == Detail::Mistakes {
            status.mistake_texts = mistakes.iter().map(ToString::to_string).collect();
        }
    }
    for (tenant, name, extension) in catalog.extensions() {
        let extensions = &mut tenants.entry(tenant).or_default().extensions;
        extensions.insert(name, of_extension(extension));
    }
    Status {
        generation: catalog.generation(),
        tenants,
    }
}

fn of_extension(extension: &Extension) -> ExtensionStatus<'_> {
    let bindings = extension.bindings();
    let meters = &extension.meters;
    let fared = &meters.fared;
    let counts = |by: &ByOutcome| by.counts().map(|(outcome, count)| (outcome.code(), count)).collect();
    let expected = extension.expect_callouts_within;
    ExtensionStatus {
        event: extension.event.name(),
        since: Time(fared.since()),
        last_callout: fared.last().map(Time),
        last_callout_by_entra: fared.last_by_entra().map(Time),
        last_answered: fared.last_answered().map(Time),
        quiet: expected.map(|within| fared.quiet_for(SystemTime::now()) > within),
        outcomes: counts(&meters.callouts),
        probes: counts(&meters.probes),
        latency: fared.quantiles().map(Latency::from),
        bindings: bindings
            .map(|((application, _), bound)| of_binding(bound, application.map(|id| id.to_string())))
            .collect(),
    }
}

impl From<Quantiles> for Latency {
    fn from(of: Quantiles) -> Self {
        let milliseconds = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            callouts: of.callouts,
            p50_ms: milliseconds(of.p50),
            p90_ms: milliseconds(of.p90),
            p99_ms: milliseconds(of.p99),
            max_ms: milliseconds(of.max),
        }
    }
}

fn of_binding(bound: &BoundPlugin, application: Option<String>) -> BindingStatus<'_> {
    let plugin = bound.binding.plugin();
    BindingStatus {
        plugin: &bound.name,
        application,
        version: bound.binding.version().to_string(),
        digest: plugin.digest().to_string(),
        since: Time(bound.since),
        breaker: bound.breaker.state().name(),
        previous: bound
            .previous
            .as_ref()
            .map(|previous| previous.binding.version().to_string()),
    }
}
