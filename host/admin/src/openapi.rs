//! `/openapi.json`: an OpenAPI 3.1 description of the admin listener, made of the types that answer.

use std::collections::BTreeMap;

use claimsmith_contract::schema;
use serde_json::{Map, Value, json};

use crate::problem::{Code, Problem};
use crate::view::{
    ActivationAnswer, ActivationRequest, Forgotten, Log, PushAnswer, RollbackRequest, SignAnswer, Status, TenantStatus,
    Versions,
};

/// The OpenAPI 3.1 document of everything that the admin listener answers.
#[must_use]
pub fn document() -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Claimsmith admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Versions of plugins, and which of them serve.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "security": [{ "bearer": [] }],
        "paths": paths(),
        "components": {
            "securitySchemes": { "bearer": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "An access token of the directory in `admin.token`. On the unix socket none is needed.",
            } },
            "schemas": schemas(),
        },
    });
    document.sort_all_objects();
    document
}

/// What is asked for in a request.
#[derive(Clone, Copy)]
enum Sent {
    Nothing,
    Component,
    Signature,
    Json(&'static str),
}

/// What a query may have.
#[derive(Clone, Copy)]
enum Asked {
    Nothing,
    Reason,
    Lines,
}

/// One operation: where, what it is, what it takes, what it answers, and what can be refused besides missing tokens and an
/// unusable store.
struct Operation {
    path: &'static str,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    query: Asked,
    sent: Sent,
    /// The answer's schema, and what each status says.
    answer: &'static str,
    done: &'static [(&'static str, &'static str)],
    refused: &'static [Code],
}

const OPERATIONS: [Operation; 10] = [
    Operation {
        path: "/status",
        method: "get",
        id: "status",
        summary: "What serves of every tenant that one may look at",
        query: Asked::Nothing,
        sent: Sent::Nothing,
        answer: "Status",
        done: &[("200", "What serves")],
        refused: &[],
    },
    Operation {
        path: "/log",
        method: "get",
        id: "log",
        summary: "The admin log of all tenants, the last line first",
        query: Asked::Lines,
        sent: Sent::Nothing,
        answer: "Log",
        done: &[("200", "Lines of the log")],
        refused: &[Code::Forbidden, Code::BadRequest],
    },
    Operation {
        path: "/tenants/{tenant}/status",
        method: "get",
        id: "tenantStatus",
        summary: "What serves of a tenant",
        query: Asked::Nothing,
        sent: Sent::Nothing,
        answer: "TenantStatus",
        done: &[("200", "What serves")],
        refused: &[Code::Forbidden, Code::UnknownTenant],
    },
    Operation {
        path: "/tenants/{tenant}/versions",
        method: "get",
        id: "versions",
        summary: "What was pushed for a tenant",
        query: Asked::Nothing,
        sent: Sent::Nothing,
        answer: "Versions",
        done: &[("200", "The versions")],
        refused: &[Code::Forbidden, Code::UnknownTenant],
    },
    Operation {
        path: "/tenants/{tenant}/log",
        method: "get",
        id: "tenantLog",
        summary: "The admin log of a tenant, the last line first",
        query: Asked::Lines,
        sent: Sent::Nothing,
        answer: "Log",
        done: &[("200", "Lines of the log")],
        refused: &[Code::Forbidden, Code::UnknownTenant, Code::BadRequest],
    },
    Operation {
        path: "/tenants/{tenant}/plugins/{plugin}/versions/{version}",
        method: "put",
        id: "push",
        summary: "Keep a component as a version of a plugin",
        query: Asked::Reason,
        sent: Sent::Component,
        answer: "PushAnswer",
        done: &[
            ("201", "It is kept"),
            ("200", "The same component was pushed as this version before"),
        ],
        refused: PUSH,
    },
    Operation {
        path: "/tenants/{tenant}/plugins/{plugin}/versions/{version}/signature",
        method: "put",
        id: "sign",
        summary: "Keep a version's signature, in place of the one it had",
        query: Asked::Reason,
        sent: Sent::Signature,
        answer: "SignAnswer",
        done: &[("200", "It is kept")],
        refused: SIGN,
    },
    Operation {
        path: "/tenants/{tenant}/activations",
        method: "post",
        id: "activate",
        summary: "Activate versions, all or none",
        query: Asked::Nothing,
        sent: Sent::Json("ActivationRequest"),
        answer: "ActivationAnswer",
        done: &[("200", "They serve, or it was only planned")],
        refused: ACTIVATE,
    },
    Operation {
        path: "/tenants/{tenant}/rollbacks",
        method: "post",
        id: "rollBack",
        summary: "Go back to the version that was active before",
        query: Asked::Nothing,
        sent: Sent::Json("RollbackRequest"),
        answer: "ActivationAnswer",
        done: &[("200", "It serves, or it was only planned")],
        refused: ROLL_BACK,
    },
    Operation {
        path: "/tenants/{tenant}",
        method: "delete",
        id: "forget",
        summary: "Forget the versions of a tenant that was deleted, and what was active of it",
        query: Asked::Reason,
        sent: Sent::Nothing,
        answer: "Forgotten",
        done: &[("200", "It is forgotten")],
        refused: &[
            Code::BadRequest,
            Code::Forbidden,
            Code::UnknownTenant,
            Code::TenantExists,
        ],
    },
];

fn paths() -> Value {
    let mut paths: Map<String, Value> = OPERATIONS
        .iter()
        .map(|operation| {
            (
                operation.path.to_owned(),
                json!({ operation.method: operation.describe() }),
            )
        })
        .collect();
    let document = json!({ "get": {
        "summary": "This document",
        "operationId": "openapi",
        "security": [],
        "responses": { "200": {
            "description": "OpenAPI 3.1",
            "content": { "application/json": { "schema": { "type": "object" } } },
        } },
    } });
    paths.insert("/openapi.json".to_owned(), document);
    paths.into()
}

const PUSH: &[Code] = &[
    Code::BadRequest,
    Code::Forbidden,
    Code::UnknownTenant,
    Code::ManagedByFiles,
    Code::VersionExists,
    Code::TooManyPlugins,
    Code::TooManyBytes,
    Code::Busy,
    Code::TooLarge,
    Code::NotAPlugin,
    Code::Invalid,
];
const SIGN: &[Code] = &[
    Code::BadRequest,
    Code::Forbidden,
    Code::UnknownTenant,
    Code::UnknownVersion,
    Code::ManagedByFiles,
    Code::TooLarge,
    Code::Signature,
    Code::Invalid,
];
const ACTIVATE: &[Code] = &[
    Code::BadRequest,
    Code::Forbidden,
    Code::UnknownTenant,
    Code::UnknownVersion,
    Code::ManagedByFiles,
    Code::Busy,
    Code::RolledBack,
    Code::TooLarge,
    Code::Invalid,
];
const ROLL_BACK: &[Code] = &[
    Code::BadRequest,
    Code::Forbidden,
    Code::UnknownTenant,
    Code::UnknownVersion,
    Code::ManagedByFiles,
    Code::NothingBefore,
    Code::Busy,
    Code::RolledBack,
    Code::TooLarge,
    Code::Invalid,
];

impl Operation {
    fn describe(&self) -> Value {
        let mut described = json!({
            "operationId": self.id,
            "summary": self.summary,
            "parameters": self.parameters(),
            "responses": self.responses(),
        });
        let sent = match self.sent {
            Sent::Nothing => None,
            Sent::Component => Some((
                "application/wasm",
                json!({ "type": "string", "contentMediaType": "application/wasm" }),
            )),
            Sent::Signature => Some((
                "text/plain",
                json!({ "type": "string", "description": "A .minisig file" }),
            )),
            Sent::Json(schema) => Some(("application/json", reference(schema))),
        };
        if let (Some((media_type, schema)), Some(members)) = (sent, described.as_object_mut()) {
            let body = json!({ "required": true, "content": { media_type: { "schema": schema } } });
            members.insert("requestBody".to_owned(), body);
        }
        described
    }

    fn parameters(&self) -> Vec<Value> {
        let names = [("tenant", "The tenant"), ("plugin", "The plugin")];
        let names = names
            .iter()
            .filter(|(known, _)| self.path.contains(&format!("{{{known}}}")));
        let mut parameters: Vec<_> = names.map(|(known, description)| name(known, description)).collect();
        if self.path.contains("{version}") {
            parameters.push(label());
        }
        match self.query {
            Asked::Nothing => {}
            Asked::Reason => parameters.push(query("reason", &json!({ "type": "string" }), true)),
            Asked::Lines => parameters.extend([
                query("before", &json!({ "type": "integer" }), false),
                query(
                    "limit",
                    &json!({ "type": "integer", "minimum": 1, "maximum": 1000 }),
                    false,
                ),
            ]),
        }
        parameters
    }

    fn responses(&self) -> Map<String, Value> {
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in self
            .refused
            .iter()
            .chain(&[Code::Unauthenticated, Code::StoreUnavailable])
        {
            by_status.entry(code.row().0).or_default().push(*code);
        }
        let refused = by_status
            .into_iter()
            .map(|(status, codes)| (status.to_string(), refusal(&codes)));
        let done = self.done.iter().map(|(status, description)| {
            let content = json!({ "application/json": { "schema": reference(self.answer) } });
            (
                (*status).to_owned(),
                json!({ "description": description, "content": content }),
            )
        });
        refused.chain(done).collect()
    }
}

fn refusal(codes: &[Code]) -> Value {
    let meaning = |code: &Code| {
        let (_, code, title) = code.row();
        format!("- `{code}`: {title}")
    };
    let meanings: Vec<_> = codes.iter().map(meaning).collect();
    json!({
        "description": meanings.join("\n"),
        "content": { "application/problem+json": { "schema": reference("Problem") } },
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

fn label() -> Value {
    json!({
        "name": "version",
        "in": "path",
        "required": true,
        "description": "A semantic version",
        "schema": { "type": "string", "maxLength": 64 },
    })
}

fn query(name: &str, schema: &Value, required: bool) -> Value {
    json!({ "name": name, "in": "query", "required": required, "schema": schema })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn schemas() -> Map<String, Value> {
    let schemas = [
        ("ActivationAnswer", schema::of::<ActivationAnswer>()),
        ("ActivationRequest", schema::of::<ActivationRequest>()),
        ("Forgotten", schema::of::<Forgotten>()),
        ("Log", schema::of::<Log>()),
        ("Problem", schema::of::<Problem<'_>>()),
        ("PushAnswer", schema::of::<PushAnswer>()),
        ("RollbackRequest", schema::of::<RollbackRequest>()),
        ("SignAnswer", schema::of::<SignAnswer>()),
        ("Status", schema::of::<Status>()),
        ("TenantStatus", schema::of::<TenantStatus>()),
        ("Versions", schema::of::<Versions>()),
    ];
    let without_dialect = |(name, mut schema): (&str, Value)| {
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
        }
        (name.to_owned(), schema)
    };
    schemas.into_iter().map(without_dialect).collect()
}
