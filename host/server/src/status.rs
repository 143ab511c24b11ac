//! `/status`: what serves and how it fares, for operators. Names and versions alone: nothing that a request or a
//! mistake in a tenant's files said.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use claimsmith_catalog::{BoundPlugin, Catalog, Extension};
use serde::Serialize;

use crate::server::App;

#[derive(Serialize)]
struct Status<'c> {
    /// Counts up with every change.
    generation: u64,
    tenants: BTreeMap<&'c str, TenantStatus<'c>>,
}

#[derive(Default, Serialize)]
struct TenantStatus<'c> {
    /// Mistakes in its files as they are; what serves is then the last state without. The log tells them.
    mistakes: usize,
    /// Empty when its files have not been valid since the start.
    extensions: BTreeMap<&'c str, ExtensionStatus<'c>>,
}

#[derive(Serialize)]
struct ExtensionStatus<'c> {
    event: &'static str,
    bindings: Vec<BindingStatus<'c>>,
}

#[derive(Serialize)]
struct BindingStatus<'c> {
    plugin: &'c str,
    /// The application that it is for, if not for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<String>,
    version: String,
    digest: String,
    /// `closed`, `open` or `half_open`.
    breaker: &'static str,
    /// The version that is invoked while the breaker is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
}

/// The handler of `/status`.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Response {
    Json(of(&app.catalog.get())).into_response()
}

fn of(catalog: &Catalog) -> Status<'_> {
    let mut tenants: BTreeMap<&str, TenantStatus<'_>> = BTreeMap::new();
    for (tenant, mistakes) in catalog.problems() {
        tenants.entry(tenant).or_default().mistakes = mistakes.len();
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
    ExtensionStatus {
        event: extension.event.name(),
        bindings: bindings
            .map(|((application, _), bound)| of_binding(bound, application.map(|id| id.to_string())))
            .collect(),
    }
}

fn of_binding(bound: &BoundPlugin, application: Option<String>) -> BindingStatus<'_> {
    let plugin = bound.binding.plugin();
    BindingStatus {
        plugin: &bound.name,
        application,
        version: plugin.version().to_string(),
        digest: plugin.digest().to_string(),
        breaker: bound.breaker.state().name(),
        previous: bound
            .previous
            .as_ref()
            .map(|binding| binding.plugin().version().to_string()),
    }
}
