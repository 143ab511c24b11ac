//! The answer to attributeCollectionStart (contract.md, section 1.2).

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Event;
use crate::guard::{BlockPage, GuardError};
use crate::render::{self, Pairs};
use crate::sign_up::{NamedValue, SignUp, WireValue, guard_values};

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The page is shown as it is.
    Proceed,
    /// The page is shown with these values filled in.
    Prefill(Vec<NamedValue>),
    /// The person cannot sign up, and reads why.
    Block(BlockPage),
}

/// Checks an action against the request, and gives it its wire form.
///
/// # Errors
/// The first rule that the action breaks.
pub fn respond(action: &Action, sign_up: &SignUp<'_>) -> Result<Vec<u8>, GuardError> {
    let inputs;
    let wire = match action {
        Action::Proceed => Wire::Proceed {},
        Action::Prefill(values) => {
            inputs = guard_values(values, sign_up)?;
            Wire::Prefill { inputs: Pairs(&inputs) }
        }
        Action::Block(page) => {
            page.guard()?;
            Wire::Block(page)
        }
    };
    Ok(render::response(Event::AttributeCollectionStart, &wire, None))
}

/// One of the event's actions.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "@odata.type")]
#[schemars(deny_unknown_fields)]
pub(crate) enum Wire<'a> {
    /// The page is shown as it is.
    #[serde(rename = "microsoft.graph.attributeCollectionStart.continueWithDefaultBehavior")]
    Proceed {},
    /// The page is shown with these values filled in.
    #[serde(rename = "microsoft.graph.attributeCollectionStart.setPrefillValues")]
    Prefill {
        /// Values of attributes that the request has, of their types.
        inputs: Pairs<'a, WireValue>,
    },
    /// The person cannot sign up, and reads why.
    #[serde(rename = "microsoft.graph.attributeCollectionStart.showBlockPage")]
    #[schemars(extend("additionalProperties" = false))]
    Block(&'a BlockPage),
}
