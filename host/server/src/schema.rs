//! The JSON Schema of refusals, and the OpenAPI document of the whole.

use std::borrow::Cow;

use claimsmith_contract::{Outcome, schema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::answer::{Problem, status_and_title};
pub use crate::openapi::document as openapi;

/// The schema of the problem document that answers a refused callout, draft 2020-12. Answers with 401 have no body.
#[must_use]
pub fn problem() -> Value {
    let mut schema = schema::of::<Problem<'_>>();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), json!("problem"));
    }
    schema
}

/// The code of an outcome that is told in a problem document.
pub(crate) struct Code;

impl JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let told = Outcome::ALL
            .iter()
            .filter(|outcome| outcome.is_refusal() && status_and_title(**outcome).0.as_u16() != 401);
        let codes: Vec<_> = told
            .map(|outcome| json!({ "const": outcome.code(), "description": outcome.meaning() }))
            .collect();
        json_schema!({ "type": "string", "oneOf": codes })
    }
}
