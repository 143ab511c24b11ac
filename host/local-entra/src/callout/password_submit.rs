//! passwordSubmit: a user who is to be migrated has submitted a password that is not the stored one.

use serde::Serialize;

use super::Failure;
use super::event::Spec;
use super::verdict::{Action, invalid};

const MIGRATE_PASSWORD: &str = "microsoft.graph.passwordSubmit.MigratePassword";
const UPDATE_PASSWORD: &str = "microsoft.graph.passwordSubmit.UpdatePassword";
const RETRY: &str = "microsoft.graph.passwordSubmit.Retry";
const BLOCK: &str = "microsoft.graph.passwordSubmit.Block";

/// The event's names on the wire.
pub(super) const SPEC: Spec = Spec {
    name: "passwordSubmit",
    body_type: "microsoft.graph.authenticationEvent.passwordSubmit",
    callout_data_type: "microsoft.graph.onPasswordSubmitCalloutData",
    response_data_type: "microsoft.graph.onPasswordSubmitResponseData",
    action_types: &[MIGRATE_PASSWORD, UPDATE_PASSWORD, RETRY, BLOCK],
    legacy_action_types: &[],
};

/// What the extension says about the password. Title and message are optional in all but the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PasswordAction {
    /// It is right: take it over.
    Migrate,
    /// It is right, but the user has to choose another one.
    Update(PasswordPage),
    /// It is wrong.
    Retry(PasswordPage),
    /// The user may not sign in.
    Block(PasswordPage),
}

/// What the user is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PasswordPage {
    /// Title.
    pub title: Option<String>,
    /// Text.
    pub message: Option<String>,
}

/// Reads the action. Assumed: a nonce that is missing or differs, in letter case too, is a body of another schema.
pub(super) fn read(action: &mut Action, nonce: &str) -> Result<PasswordAction, Failure> {
    match action.nonce.as_deref() {
        Some(found) if found == nonce => {}
        Some(_) => return Err(invalid("data.nonce is not the nonce of the encrypted password")),
        None => return Err(invalid("data.nonce is missing or not a string")),
    }
    let page = || {
        Ok(PasswordPage {
            title: action.optional_text("title")?,
            message: action.optional_text("message")?,
        })
    };
    match action.name {
        UPDATE_PASSWORD => Ok(PasswordAction::Update(page()?)),
        RETRY => Ok(PasswordAction::Retry(page()?)),
        BLOCK => Ok(PasswordAction::Block(page()?)),
        _ => Ok(PasswordAction::Migrate),
    }
}
