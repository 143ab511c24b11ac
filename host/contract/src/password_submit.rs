//! passwordSubmit: its data and its answer (contract.md, section 1.5). Decrypting is not done here.

use crate::event::Event;
use crate::guard::{BlockPage, GuardError};
use crate::reader::{ObjectReader, Problems};
use crate::render::{self, Block, Plain};
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
    let plain = |odata_type| {
        Ok(render::response(
            Event::PasswordSubmit,
            &Plain { odata_type },
            Some(nonce),
        ))
    };
    match action {
        Action::Migrate => plain("microsoft.graph.passwordSubmit.MigratePassword"),
        Action::Update => plain("microsoft.graph.passwordSubmit.UpdatePassword"),
        Action::Retry => plain("microsoft.graph.passwordSubmit.Retry"),
        Action::Block(page) => {
            page.guard()?;
            let action = Block::new("microsoft.graph.passwordSubmit.Block", page);
            Ok(render::response(Event::PasswordSubmit, &action, Some(nonce)))
        }
    }
}
