//! The answer to attributeCollectionSubmit (contract.md, section 1.3).

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Event;
use crate::guard::{BlockPage, GuardError, MAX_MESSAGE_BYTES, check_text};
use crate::render::{self, Pairs};
use crate::schema::leaf::Filled;
use crate::sign_up::{NamedValue, SignUp, WireValue, guard_values};

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The account is made with what was submitted.
    Proceed,
    /// The account is made with these values instead.
    Modify(Vec<NamedValue>),
    /// The page is shown again with what is wrong.
    ValidationError(ValidationError),
    /// The person cannot sign up, and reads why.
    Block(BlockPage),
}

/// What is wrong with what was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    /// What the person reads above the page.
    pub message: String,
    /// What is wrong with single attributes, by name.
    pub attribute_errors: Vec<(String, String)>,
}

/// Checks an action against the request, and gives it its wire form.
///
/// # Errors
/// The first rule that the action breaks.
pub fn respond(action: &Action, sign_up: &SignUp<'_>) -> Result<Vec<u8>, GuardError> {
    let (attributes, errors);
    let wire = match action {
        Action::Proceed => Wire::Proceed {},
        Action::Modify(values) => {
            attributes = guard_values(values, sign_up)?;
            Wire::Modify {
                attributes: Pairs(&attributes),
            }
        }
        Action::ValidationError(error) => {
            errors = guard_errors(error, sign_up)?;
            Wire::ValidationError {
                message: &error.message,
                attribute_errors: Pairs(&errors),
            }
        }
        Action::Block(page) => {
            page.guard()?;
            Wire::Block(page)
        }
    };
    Ok(render::response(Event::AttributeCollectionSubmit, &wire, None))
}

fn guard_errors<'e>(error: &'e ValidationError, sign_up: &SignUp<'_>) -> Result<Vec<(&'e str, &'e str)>, GuardError> {
    check_text("the validation error's message", &error.message, MAX_MESSAGE_BYTES)?;
    let mut guarded: Vec<(&str, &str)> = Vec::with_capacity(error.attribute_errors.len());
    for (name, message) in &error.attribute_errors {
        if !sign_up.attributes.iter().any(|attribute| attribute.name == *name) {
            return Err(GuardError::unknown_attribute(name));
        }
        if guarded.iter().any(|(known, _)| known == name) {
            return Err(GuardError::duplicate_attribute(name));
        }
        check_text("an attribute's error message", message, MAX_MESSAGE_BYTES)?;
        guarded.push((name, message));
    }
    Ok(guarded)
}

/// One of the event's actions.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "@odata.type")]
#[schemars(deny_unknown_fields)]
pub(crate) enum Wire<'a> {
    /// The account is made with what was submitted.
    #[serde(rename = "microsoft.graph.attributeCollectionSubmit.continueWithDefaultBehavior")]
    Proceed {},
    /// The account is made with these values instead.
    #[serde(rename = "microsoft.graph.attributeCollectionSubmit.modifyAttributeValues")]
    Modify {
        /// Values of attributes that the request has, of their types.
        attributes: Pairs<'a, WireValue>,
    },
    /// The page is shown again with what is wrong.
    #[serde(rename = "microsoft.graph.attributeCollectionSubmit.showValidationError")]
    ValidationError {
        /// What the person reads above the page.
        #[schemars(with = "Filled")]
        message: &'a str,
        /// What is wrong with single attributes, by name.
        #[serde(rename = "attributeErrors")]
        #[schemars(with = "Pairs<'_, Filled>")]
        attribute_errors: Pairs<'a, &'a str>,
    },
    /// The person cannot sign up, and reads why.
    #[serde(rename = "microsoft.graph.attributeCollectionSubmit.showBlockPage")]
    #[schemars(extend("additionalProperties" = false))]
    Block(&'a BlockPage),
}
