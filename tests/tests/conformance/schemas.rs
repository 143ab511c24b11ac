//! Holding the published JSON Schemas against what the host accepts, refuses and answers, with a validator that others
//! wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jsonschema::{Draft, Validator};
use serde_json::Value;

use crate::Run;
use crate::case::EVENTS;
use crate::check::Answer;

/// Requests that the host refuses as no valid callouts, and a schema cannot: with why.
const BEYOND_SCHEMAS: &[(&str, &str)] = &[
    (
        "tokenIssuanceStart/refused-source-of-another-tenant.json",
        "two members must agree",
    ),
    (
        "attributeCollectionStart/refused-exponent-beyond-double.json",
        "how a number is written is nothing that a schema sees",
    ),
    (
        "emailOtpSend/refused-two-spellings.json",
        "members whose names match a pattern cannot be counted",
    ),
];

/// The schemas of `docs/schemas`, and what the OpenAPI document says of callouts' answers.
pub(crate) struct Schemas {
    validators: BTreeMap<String, Validator>,
    /// By status.
    answers: Value,
}

impl Schemas {
    pub(crate) fn read() -> Self {
        let of_events = EVENTS
            .iter()
            .flat_map(|event| ["request", "response"].map(|body| format!("{event}.{body}")));
        let names = of_events.chain(["error".to_owned()]);
        let document = json_file("openapi");
        Self {
            validators: names
                .map(|name| (name.clone(), validator(&json_file(&format!("schemas/{name}")))))
                .collect(),
            answers: document["paths"]["/tenants/{tenant}/extensions/{extension}"]["post"]["responses"].clone(),
        }
    }

    /// Everything in which a case's request and answer are not as their schemas say.
    pub(crate) fn check(&self, run: &Run, answer: &Answer) -> Vec<String> {
        let event = run.event;
        let mut mismatches = Vec::new();
        let code = run.case.expect.code.as_deref().unwrap_or_default();
        let beyond = BEYOND_SCHEMAS.iter().any(|(name, _)| *name == run.name);
        let valid = match code {
            // Not JSON, repeated members, sizes: nothing that a schema speaks of.
            "malformed_json" | "body_too_large" | "unsupported_media_type" => None,
            "invalid_request" | "event_mismatch" => Some(beyond),
            _ => Some(true),
        };
        if let Some(valid) = valid {
            let request = serde_json::from_slice(&run.body.bytes).unwrap_or_default();
            mismatches.extend(self.mismatch(&format!("{event}.request"), &request, valid));
        }
        let name = match answer.status {
            200 => format!("{event}.response"),
            _ => "error".to_owned(),
        };
        let body = serde_json::from_str(&answer.text).unwrap_or_default();
        mismatches.extend(self.mismatch(&name, &body, true));
        mismatches.extend(self.undocumented(answer));
        mismatches
    }

    /// The headers of an answer that are not as the document says, or that it has no such status.
    fn undocumented(&self, answer: &Answer) -> Vec<String> {
        let documented = &self.answers[answer.status.to_string()];
        let Some(headers) = documented["headers"].as_object() else {
            return vec![format!("openapi: no status {}", answer.status)];
        };
        let wrong = headers.iter().filter(|(name, header)| {
            let value = answer.headers.get(name.as_str()).map(|value| value.to_str().unwrap());
            let value = value.map(|value| serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)));
            !value.is_some_and(|value| validator(&header["schema"]).is_valid(&value))
        });
        wrong.map(|(name, _)| format!("openapi: header {name}")).collect()
    }

    fn mismatch(&self, name: &str, body: &Value, valid: bool) -> Option<String> {
        let error = self.validators[name].validate(body).err();
        match (error, valid) {
            (Some(error), true) => Some(format!("schema {name}: {error} at {}", error.instance_path())),
            (None, false) => Some(format!("schema {name}: accepts what the host refuses")),
            _ => None,
        }
    }
}

fn json_file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .build(schema)
        .unwrap()
}
