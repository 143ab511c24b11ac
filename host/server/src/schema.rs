//! The JSON Schema of refusals, and the OpenAPI document of the whole.

use std::borrow::Cow;

use claimsmith_contract::Outcome;
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::answer::{Problem, status_and_title};
pub use crate::openapi::document as openapi;

/// The schema of the problem document that answers a refused callout, draft 2020-12. Answers with 401 have no body.
#[must_use]
pub fn problem() -> Value {
    let mut schema = of::<Problem<'_>>();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), json!("problem"));
    }
    schema
}

/// The schema of a type that is written, whole in itself.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.contract = Contract::Serialize;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    schema.sort_all_objects();
    schema
}

/// Takes `null` from what a member can be: it is left out instead.
pub(crate) fn without_null(schema: &mut Schema) {
    schema.insert("type".to_owned(), json!("string"));
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
            .filter(|outcome| !matches!(status_and_title(**outcome).0.as_u16(), 200 | 401));
        let codes: Vec<_> = told
            .map(|outcome| json!({ "const": outcome.code(), "description": outcome.meaning() }))
            .collect();
        json_schema!({ "type": "string", "oneOf": codes })
    }
}
