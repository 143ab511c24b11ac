//! What a passwordSubmit plugin answers with.

use crate::BlockPage;
use crate::events::password_submit::Answer;

/// What happens after a user who is still to be migrated has typed a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSubmit {
    /// The password is right: Entra takes it over, and the user is migrated (`MigratePassword`).
    Migrate,
    /// The password is right but not good enough: the user sets a new one (`UpdatePassword`).
    Update,
    /// The password is wrong: the user tries again (`Retry`).
    Retry,
    /// The user cannot sign in, and reads why (`Block`).
    Block(BlockPage),
}

impl From<PasswordSubmit> for Answer {
    fn from(action: PasswordSubmit) -> Self {
        match action {
            PasswordSubmit::Migrate => Self::Migrate,
            PasswordSubmit::Update => Self::Update,
            PasswordSubmit::Retry => Self::Retry,
            PasswordSubmit::Block(page) => Self::Block(page),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_lowered_to_its_case() {
        let page = || BlockPage::new("Why");
        for (action, lowered) in [
            (PasswordSubmit::Migrate, Answer::Migrate),
            (PasswordSubmit::Update, Answer::Update),
            (PasswordSubmit::Retry, Answer::Retry),
            (PasswordSubmit::Block(page()), Answer::Block(page())),
        ] {
            assert_eq!(Answer::from(action), lowered);
        }
    }
}
