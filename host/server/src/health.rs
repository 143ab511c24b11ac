//! `/healthz` and `/readyz`: for load balancers, without authentication, and without anything a tenant wrote.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::server::App;

/// The process is alive: always 200.
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// The process is alive.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    /// Always `alive`.
    status: &'static str,
}

/// Whether callouts should be sent here.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Readiness {
    /// Whether they should.
    ready: bool,
    /// Which catalog serves: counts up with every change.
    generation: u64,
    /// Why they should not.
    reasons: Vec<String>,
}

/// Whether callouts should be sent here: 200, or 503 with reasons.
///
/// Metadata documents count only until each has been tried once after the start, well or not: later a document is one
/// tenant's matter, and must not take the others out of service. Without the keys of any, and while records have to be kept
/// and cannot, every callout is refused: another host may do better, and if none does, nobody loses an answer.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let catalog = app.catalog.get();
    let mut reasons = Vec::new();
    if app.is_draining() {
        reasons.push("the service is shutting down".to_owned());
    }
    if !catalog.serves() {
        reasons.push("no tenant is configured with valid files".to_owned());
    }
    if app.audit.refuses() {
        reasons.push("the audit store cannot be written, and audit.mode is \"required\"".to_owned());
    }
    let extensions = catalog.extensions();
    let documents = extensions.flat_map(|(_, _, extension)| extension.token_policy.documents());
    let documents: Vec<_> = documents.collect();
    if !documents.is_empty() && !documents.iter().any(|document| document.has_keys()) {
        reasons.push("no keys could be fetched yet to check bearer tokens with".to_owned());
    }
    if !app.was_ready() {
        let unfetched = documents.iter().filter(|document| !document.was_fetched()).count();
        if unfetched > 0 {
            reasons.push(format!(
                "{unfetched} uses of metadata documents wait for their first fetch"
            ));
        } else if catalog.serves() {
            app.note_ready();
        }
    }
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let readiness = Readiness {
        ready,
        generation: catalog.generation(),
        reasons,
    };
    (status, Json(readiness))
}
