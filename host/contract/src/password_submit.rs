//! passwordSubmit: its data and its answer (contract.md, section 1.5). Decrypting is not done here.

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Event;
use crate::guard::{BlockPage, GuardError};
use crate::reader::{ObjectReader, Problems};
use crate::render;
use crate::secret::Secret;

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The password is right: Entra takes it over.
    Migrate,
    /// The password is right but not good enough: the user sets a new one.
    Update,
    /// The password is wrong: the user tries again.
    Retry,
    /// The user cannot sign in, and reads why.
    Block(BlockPage),
}

/// Reads `data.encryptedPasswordContext`, a compact JWE.
pub(crate) fn read<'a>(data: &mut ObjectReader<'a>, problems: &mut Problems) -> Option<Secret<'a>> {
    data.required_text("encryptedPasswordContext", problems)
        .map(Secret::new)
}

/// Checks an action, and gives it its wire form with the nonce of the encrypted context.
///
/// # Errors
/// The first rule that the action breaks.
pub fn respond(action: &Action, nonce: &str) -> Result<Vec<u8>, GuardError> {
    let wire = match action {
        Action::Migrate => Wire::Migrate {},
        Action::Update => Wire::Update {},
        Action::Retry => Wire::Retry {},
        Action::Block(page) => {
            page.guard()?;
            Wire::Block(page)
        }
    };
    Ok(render::response(Event::PasswordSubmit, &wire, Some(nonce)))
}

/// One of the event's actions.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "@odata.type")]
#[schemars(deny_unknown_fields)]
pub(crate) enum Wire<'a> {
    /// The password is right: Entra takes it over.
    #[serde(rename = "microsoft.graph.passwordSubmit.MigratePassword")]
    Migrate {},
    /// The password is right but not good enough: the user sets a new one.
    #[serde(rename = "microsoft.graph.passwordSubmit.UpdatePassword")]
    Update {},
    /// The password is wrong: the user tries again.
    #[serde(rename = "microsoft.graph.passwordSubmit.Retry")]
    Retry {},
    /// The user cannot sign in, and reads why.
    #[serde(rename = "microsoft.graph.passwordSubmit.Block")]
    #[schemars(extend("additionalProperties" = false))]
    Block(&'a BlockPage),
}
