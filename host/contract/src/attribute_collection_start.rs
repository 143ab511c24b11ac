//! The answer to attributeCollectionStart (contract.md, section 1.2).

use serde::Serialize;

use crate::event::Event;
use crate::guard::{BlockPage, GuardError};
use crate::render::{self, Block, Pairs, Plain};
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
    let event = Event::AttributeCollectionStart;
    match action {
        Action::Proceed => {
            let odata_type = "microsoft.graph.attributeCollectionStart.continueWithDefaultBehavior";
            Ok(render::response(event, &Plain { odata_type }, None))
        }
        Action::Prefill(values) => {
            let inputs = guard_values(values, sign_up)?;
            let action = Prefill {
                odata_type: "microsoft.graph.attributeCollectionStart.setPrefillValues",
                inputs: Pairs(&inputs),
            };
            Ok(render::response(event, &action, None))
        }
        Action::Block(page) => {
            page.guard()?;
            let action = Block::new("microsoft.graph.attributeCollectionStart.showBlockPage", page);
            Ok(render::response(event, &action, None))
        }
    }
}

#[derive(Serialize)]
struct Prefill<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    inputs: Pairs<'a, WireValue>,
}
