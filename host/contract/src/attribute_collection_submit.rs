//! The answer to attributeCollectionSubmit (contract.md, section 1.3).

use serde::Serialize;

use crate::event::Event;
use crate::guard::{BlockPage, GuardError, MAX_MESSAGE_BYTES, check_text};
use crate::render::{self, Block, Pairs, Plain};
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
    let event = Event::AttributeCollectionSubmit;
    match action {
        Action::Proceed => {
            let odata_type = "microsoft.graph.attributeCollectionSubmit.continueWithDefaultBehavior";
            Ok(render::response(event, &Plain { odata_type }, None))
        }
        Action::Modify(values) => {
            let attributes = guard_values(values, sign_up)?;
            let action = Modify {
                odata_type: "microsoft.graph.attributeCollectionSubmit.modifyAttributeValues",
                attributes: Pairs(&attributes),
            };
            Ok(render::response(event, &action, None))
        }
        Action::ValidationError(error) => {
            let errors = guard_errors(error, sign_up)?;
            let action = ShowValidationError {
                odata_type: "microsoft.graph.attributeCollectionSubmit.showValidationError",
                message: &error.message,
                attribute_errors: Pairs(&errors),
            };
            Ok(render::response(event, &action, None))
        }
        Action::Block(page) => {
            page.guard()?;
            let action = Block::new("microsoft.graph.attributeCollectionSubmit.showBlockPage", page);
            Ok(render::response(event, &action, None))
        }
    }
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

#[derive(Serialize)]
struct Modify<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    attributes: Pairs<'a, WireValue>,
}

#[derive(Serialize)]
struct ShowValidationError<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    message: &'a str,
    #[serde(rename = "attributeErrors")]
    attribute_errors: Pairs<'a, &'a str>,
}
