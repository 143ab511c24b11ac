//! attributeCollectionStart: before the page is shown on which a new user fills in attributes.

use serde_json::{Map, Value};

use super::Failure;
use super::attributes::{self, BlockPage, CollectedAttribute};
use super::event::Spec;
use super::verdict::Action;

const CONTINUE: &str = "microsoft.graph.attributeCollectionStart.continueWithDefaultBehavior";
const SET_PREFILL_VALUES: &str = "microsoft.graph.attributeCollectionStart.setPrefillValues";
const SHOW_BLOCK_PAGE: &str = "microsoft.graph.attributeCollectionStart.showBlockPage";

/// The event's names on the wire.
pub(super) const SPEC: Spec = Spec {
    name: "attributeCollectionStart",
    body_type: "microsoft.graph.authenticationEvent.attributeCollectionStart",
    callout_data_type: "microsoft.graph.onAttributeCollectionStartCalloutData",
    response_data_type: "microsoft.graph.onAttributeCollectionStartResponseData",
    action_types: &[CONTINUE, SET_PREFILL_VALUES, SHOW_BLOCK_PAGE],
    legacy_action_types: &[],
};

/// What the extension wants to happen with the page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Start {
    /// It is shown.
    Continue,
    /// It is shown with these values filled in.
    Prefill(Map<String, Value>),
    /// Another page is shown, and the sign-up ends.
    Block(BlockPage),
}

/// Reads the action.
pub(super) fn read(action: &mut Action, page: &[CollectedAttribute]) -> Result<Start, Failure> {
    match action.name {
        SET_PREFILL_VALUES => Ok(Start::Prefill(attributes::values(action, "inputs", page)?)),
        SHOW_BLOCK_PAGE => Ok(Start::Block(attributes::block_page(action)?)),
        _ => Ok(Start::Continue),
    }
}
