//! The page on which a new user fills in attributes.

use serde_json::{Map, Value};

use super::Error;
use super::sign_up::{EMAIL, SignUpRequest};
use crate::callout::{CollectedAttribute, name_on_page};
use crate::config::{AttributeConfig, UserFlowConfig};

/// The page as the user flow has it.
pub(super) fn new_page(flow: &UserFlowConfig, request: &SignUpRequest) -> Vec<CollectedAttribute> {
    let attribute = |attribute: &AttributeConfig| CollectedAttribute {
        name: attribute.name.clone(),
        value_type: attribute.value_type,
        value: if attribute.name == EMAIL {
            Value::String(request.email.clone())
        } else {
            attribute.default.clone().unwrap_or_default()
        },
    };
    flow.attributes.iter().map(attribute).collect()
}

/// What a user fills in must be on the page and fit; null empties a field.
pub(super) fn check(page: &[CollectedAttribute], values: &Map<String, Value>) -> Result<(), Error> {
    for (name, value) in values {
        let refuse = |reason: String| Error::Submission {
            name: name.clone(),
            reason,
        };
        let Some(attribute) = page.iter().find(|attribute| attribute.name == *name) else {
            return Err(refuse("the user flow's page does not have it".to_owned()));
        };
        if !value.is_null() && !attribute.value_type.accepts(value) {
            return Err(refuse(format!("it is not {}", attribute.value_type.expected())));
        }
    }
    Ok(())
}

/// Takes over values that were checked.
pub(super) fn overwrite(page: &mut [CollectedAttribute], values: Map<String, Value>) {
    for (name, value) in values {
        let name = name_on_page(&name);
        if let Some(attribute) = page.iter_mut().find(|attribute| attribute.name == name) {
            attribute.value = value;
        }
    }
}

/// What the page has, without what is empty.
pub(super) fn values_of(page: &[CollectedAttribute]) -> Map<String, Value> {
    page.iter()
        .filter(|attribute| !attribute.value.is_null())
        .map(|attribute| (attribute.name.clone(), attribute.value.clone()))
        .collect()
}
