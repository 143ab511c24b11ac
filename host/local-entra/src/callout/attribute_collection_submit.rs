//! attributeCollectionSubmit: after a new user has submitted the page. It comes again after a validation error.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Failure;
use super::attributes::{self, BlockPage, CollectedAttribute};
use super::event::Spec;
use super::verdict::{Action, invalid};

const CONTINUE: &str = "microsoft.graph.attributeCollectionSubmit.continueWithDefaultBehavior";
const MODIFY_ATTRIBUTE_VALUES: &str = "microsoft.graph.attributeCollectionSubmit.modifyAttributeValues";
const SHOW_BLOCK_PAGE: &str = "microsoft.graph.attributeCollectionSubmit.showBlockPage";
const SHOW_VALIDATION_ERROR: &str = "microsoft.graph.attributeCollectionSubmit.showValidationError";

/// The event's names on the wire.
pub(super) const SPEC: Spec = Spec {
    name: "attributeCollectionSubmit",
    body_type: "microsoft.graph.authenticationEvent.attributeCollectionSubmit",
    callout_data_type: "microsoft.graph.onAttributeCollectionSubmitCalloutData",
    response_data_type: "microsoft.graph.onAttributeCollectionSubmitResponseData",
    action_types: &[
        CONTINUE,
        MODIFY_ATTRIBUTE_VALUES,
        SHOW_BLOCK_PAGE,
        SHOW_VALIDATION_ERROR,
    ],
    legacy_action_types: &[],
};

/// What the extension wants to happen with what was submitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Submit {
    /// It is taken as it is.
    Continue,
    /// It is taken with these values instead of the submitted ones.
    Modify(Map<String, Value>),
    /// Another page is shown, and the sign-up ends.
    Block(BlockPage),
    /// The page is shown again with what is wrong.
    Invalid(ValidationError),
}

/// What the page says when it is shown again.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ValidationError {
    /// About the page.
    pub message: String,
    /// About attributes, by name.
    pub attribute_errors: Map<String, Value>,
}

/// Reads the action.
pub(super) fn read(action: &mut Action, page: &[CollectedAttribute]) -> Result<Submit, Failure> {
    match action.name {
        MODIFY_ATTRIBUTE_VALUES => Ok(Submit::Modify(attributes::values(action, "attributes", page)?)),
        SHOW_BLOCK_PAGE => Ok(Submit::Block(attributes::block_page(action)?)),
        SHOW_VALIDATION_ERROR => Ok(Submit::Invalid(validation_error(action, page)?)),
        _ => Ok(Submit::Continue),
    }
}

/// Assumed: `attributeErrors` may be absent; names that are not on the page are ignored.
fn validation_error(action: &mut Action, page: &[CollectedAttribute]) -> Result<ValidationError, Failure> {
    let message = action.text("message")?;
    let named = match action.members.get("attributeErrors") {
        None | Some(Value::Null) => Map::new(),
        Some(_) => action.object("attributeErrors")?,
    };
    let mut attribute_errors = Map::new();
    for (name, text) in named {
        if !text.is_string() {
            return Err(invalid(format!("the text for `{name}` is not a string")));
        }
        if page.iter().any(|attribute| attribute.name == name) {
            attribute_errors.insert(name, text);
        } else {
            action
                .warnings
                .push(format!("the attribute `{name}` is not in the request: ignored"));
        }
    }
    Ok(ValidationError {
        message,
        attribute_errors,
    })
}
