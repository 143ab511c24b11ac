//! JSON Schemas (draft 2020-12) of requests and responses, derived from the types that are read and written.
//!
//! A schema says what this host accepts, and no less: members that nobody names, explicit nulls, and the spellings that
//! Entra varies. What JSON Schema cannot say (sizes in bytes, repeated members, agreement between members) only the
//! readers check.

pub(crate) mod attribute;
pub(crate) mod leaf;
mod request;

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::event::Event;
use crate::render::Response;
use crate::{attribute_collection_start, attribute_collection_submit, email_otp_send};
use crate::{password_submit, token_issuance_start, verified_id_claim_validation};
pub use leaf::without_null;

use leaf::set;

/// The schema of a type as it is written, whole in itself: without references, which tools resolve differently.
#[must_use]
pub fn of<T: JsonSchema>() -> Value {
    derived::<T>(Contract::Serialize)
}

fn derived<T: JsonSchema>(contract: Contract) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.contract = contract;
    });
    let settings = settings.with_transform(RecursiveTransform(unwrapped));
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    // Whether objects keep an order depends on what else is built.
    schema.sort_all_objects();
    schema
}

/// Puts a description, which the source wraps, into one line.
fn unwrapped(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}

/// The schema of an event's request.
#[must_use]
pub fn request(event: Event) -> Value {
    request::schema(event)
}

/// The schema of an event's response: what this host sends, exactly. Entra itself ignores members that it does not know.
#[must_use]
pub fn response(event: Event) -> Value {
    let mut schema = match event {
        Event::TokenIssuanceStart => written::<token_issuance_start::Wire<'_>>(),
        Event::AttributeCollectionStart => written::<attribute_collection_start::Wire<'_>>(),
        Event::AttributeCollectionSubmit => written::<attribute_collection_submit::Wire<'_>>(),
        Event::EmailOtpSend => written::<email_otp_send::Wire>(),
        Event::PasswordSubmit => written::<password_submit::Wire<'_>>(),
        Event::VerifiedIdClaimValidation => written::<verified_id_claim_validation::Wire<'_>>(),
    };
    titled(&mut schema, event, "Response");
    let odata_type = json!({ "const": event.response_data_type() });
    set(&mut schema, "/properties/data/properties", "@odata.type", odata_type);
    let data = schema.pointer_mut("/properties/data").and_then(Value::as_object_mut);
    if let Some(data) = data {
        let (nonce, required) = match event {
            Event::PasswordSubmit => (Some(leaf::text()), json!(["@odata.type", "actions", "nonce"])),
            _ => (None, json!(["@odata.type", "actions"])),
        };
        data.insert("required".to_owned(), required);
        if let Some(properties) = data.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove("nonce");
            properties.extend(nonce.map(|nonce| ("nonce".to_owned(), nonce)));
        }
    }
    schema.sort_all_objects();
    schema
}

/// The schema of a response with this action.
fn written<A: JsonSchema>() -> Value {
    of::<Response<'_, A>>()
}

/// Gives a schema the name that documents call it by.
fn titled(schema: &mut Value, event: Event, what: &str) {
    set(schema, "", "title", json!(format!("{event}{what}")));
}
