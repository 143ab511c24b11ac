//! `/openapi.json`: an OpenAPI 3.1 description of the callout listener, made of the same tables that answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use claimsmith_contract::{Event, Outcome, schema};
use serde_json::{Map, Value, json};

use crate::answer::{header, status_and_title};
use crate::health::{Health, Readiness};
use crate::schema::problem;
use crate::server::App;
use crate::status::Status;
use crate::telemetry;

/// The handler of `/openapi.json`.
pub(crate) async fn render(State(app): State<Arc<App>>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type)], app.openapi.clone()).into_response()
}

/// The OpenAPI 3.1 document of everything that the callout listener answers.
#[must_use]
pub fn document() -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Claimsmith",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Answers the callouts of Microsoft Entra's custom authentication extensions.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": {
            "/tenants/{tenant}/extensions/{extension}": callouts(),
            "/healthz": get("The process is alive", "healthz", &json!({ "200": json_answer("Alive", "health") })),
            "/readyz": get("Whether callouts should be sent here", "readyz", &json!({
                "200": json_answer("They should", "readiness"),
                "503": json_answer("They should not, for the reasons given", "readiness"),
            })),
            "/metrics": get("What is counted, for Prometheus", "metrics", &json!({
                "200": { "description": "In Prometheus's text format", "content": { telemetry::TEXT: text() } },
            })),
            "/status": get("What serves and how it fares", "status", &json!({
                "200": json_answer("Every tenant's extensions, with their plugins and circuit breakers", "status"),
            })),
            "/openapi.json": get("This document", "openapi", &json!({
                "200": { "description": "OpenAPI 3.1", "content": { "application/json": { "schema": { "type": "object" } } } },
            })),
        },
        "components": {
            "securitySchemes": { "entra": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "The access token that Entra sends, of version 1.0 or 2.0.",
            } },
            "schemas": schemas(),
        },
    });
    document.sort_all_objects();
    document
}

fn text() -> Value {
    json!({ "schema": { "type": "string" } })
}

fn get(summary: &str, id: &str, responses: &Value) -> Value {
    json!({ "get": { "summary": summary, "operationId": id, "security": [], "responses": responses } })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn json_answer(description: &str, schema: &str) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": reference(schema) } } })
}

/// Every schema by name. The document has its own dialect, so that none of them names one.
fn schemas() -> Map<String, Value> {
    let of_events = Event::ALL.into_iter().flat_map(|event| {
        let request = (format!("{event}Request"), schema::request(event));
        [request, (format!("{event}Response"), schema::response(event))]
    });
    let others = [
        ("problem", problem()),
        ("health", schema::of::<Health>()),
        ("readiness", schema::of::<Readiness>()),
        ("status", schema::of::<Status<'_>>()),
    ];
    let others = others.map(|(name, schema)| (name.to_owned(), schema));
    let without_dialect = |(name, mut schema): (String, Value)| {
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
        }
        (name, schema)
    };
    of_events.chain(others).map(without_dialect).collect()
}

fn callouts() -> Value {
    let of_events = |what: &str| Event::ALL.map(|event| reference(&format!("{event}{what}")));
    let mapping: BTreeMap<_, _> = Event::ALL
        .iter()
        .map(|event| (event.request_type(), format!("#/components/schemas/{event}Request")))
        .collect();
    let request = json!({
        "oneOf": of_events("Request"),
        "discriminator": { "propertyName": "type", "mapping": mapping },
    });
    let mut responses = refusals();
    let answered = json!({
        "description": "The plugin's action, in the form of the extension's event",
        "headers": headers(Outcome::Answered),
        "content": { "application/json": { "schema": { "oneOf": of_events("Response") } } },
    });
    responses.insert("200".to_owned(), answered);
    json!({
        "parameters": [name("tenant", "The tenant"), name("extension", "The tenant's extension, which answers one event")],
        "post": {
            "summary": "Entra calls an extension",
            "operationId": "callout",
            "description": "Order of members, members that nobody knows, and explicit nulls make no difference. A member \
                that occurs twice is refused. Any other method is answered with 405.",
            "security": [{ "entra": [] }],
            "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
            "responses": responses,
        },
    })
}

fn name(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": description,
        "schema": { "type": "string", "pattern": "^[a-z0-9_-]{1,63}$" },
    })
}

/// The answers to callouts that are refused, by status.
fn refusals() -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Outcome>> = BTreeMap::new();
    for outcome in Outcome::ALL.iter().filter(|outcome| outcome.is_refusal()) {
        let status = status_and_title(*outcome).0.as_u16();
        by_status.entry(status).or_default().push(*outcome);
    }
    let answer = |(status, outcomes): (u16, Vec<Outcome>)| (status.to_string(), refusal(status, &outcomes));
    by_status.into_iter().map(answer).collect()
}

fn refusal(status: u16, outcomes: &[Outcome]) -> Value {
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.code()).collect();
    let meanings: Vec<_> = outcomes
        .iter()
        .map(|outcome| format!("- `{}`: {}", outcome.code(), outcome.meaning()))
        .collect();
    let mut answer = json!({ "description": meanings.join("\n") });
    let Some(members) = answer.as_object_mut() else {
        return answer;
    };
    if let Some(outcome) = outcomes.first() {
        members.insert("headers".to_owned(), headers(*outcome).into());
    }
    if status != 401 {
        let mut schema = reference("problem");
        if let Some(schema) = schema.as_object_mut() {
            let of_status = json!({ "status": { "const": status }, "code": { "enum": codes } });
            schema.insert("properties".to_owned(), of_status);
        }
        let content = json!({ "application/problem+json": { "schema": schema } });
        members.insert("content".to_owned(), content);
    }
    answer
}

/// The headers of an outcome's answer. Those of one status have the same names.
fn headers(outcome: Outcome) -> Map<String, Value> {
    let required =
        |description: &str, schema: Value| json!({ "required": true, "description": description, "schema": schema });
    let mut headers = Map::new();
    headers.insert(
        "Cache-Control".to_owned(),
        required("Answers are for one sign-in", json!({ "const": "no-store" })),
    );
    if let Some((name, value)) = header(outcome) {
        let schema = match name.as_str() {
            "www-authenticate" => json!({ "type": "string", "pattern": "^Bearer error=\"[a-z_]+\"$" }),
            "retry-after" => json!({ "type": "integer", "minimum": 0 }),
            _ => json!({ "const": value }),
        };
        headers.insert(name.to_string(), required(&format!("For example `{value}`"), schema));
    }
    headers
}
