//! What plugins are given and must not keep. The values are wiped when they are dropped; `Debug` leaves them out.

use std::fmt;

use zeroize::Zeroizing;

use crate::events::{email_otp_send, password_submit};

/// A one-time code, and where it goes.
///
/// The code is a secret until it is used: it belongs in the message and nowhere else, also not in a log record or an
/// [`Error`](crate::Error). `Debug` leaves it out, and its memory is wiped when this is dropped; what a plugin makes of
/// it, it wipes itself.
#[derive(Default)]
pub struct OneTimeCode {
    identifier: String,
    code: Zeroizing<String>,
}

impl OneTimeCode {
    /// A code and where it goes: for tests.
    #[must_use]
    pub fn new(identifier: impl Into<String>, code: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            code: Zeroizing::new(code.into()),
        }
    }

    /// The mail address.
    #[must_use]
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The code. A secret.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl fmt::Debug for OneTimeCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OneTimeCode")
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}

/// Moves the texts: there is no other copy of them.
impl From<email_otp_send::Input> for OneTimeCode {
    fn from(email_otp_send::Input { identifier, code }: email_otp_send::Input) -> Self {
        Self::new(identifier, code)
    }
}

/// What a user has typed to sign in.
///
/// The password is a secret: it goes to the system that knows whether it is right and nowhere else, also not into a log
/// record or an [`Error`](crate::Error). `Debug` leaves it out, and its memory is wiped when this is dropped; what a
/// plugin makes of it, it wipes itself.
#[derive(Default)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// A sign-in name and a password: for tests.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: Zeroizing::new(password.into()),
        }
    }

    /// The sign-in name.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password. A secret.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Moves the texts: there is no other copy of them.
impl From<password_submit::Input> for Credentials {
    fn from(password_submit::Input { username, password }: password_submit::Input) -> Self {
        Self::new(username, password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_leaves_the_secrets_out_wherever_they_are() {
        let code = OneTimeCode::new("ada@example.org", "40718263");
        let credentials = Credentials::new("ada", "correct horse");
        let shown = format!("{:?} {:#?}", Some((&code, &credentials)), vec![(&code, &credentials)]);
        assert!(
            shown.contains(r#"OneTimeCode { identifier: "ada@example.org", .. }"#),
            "{shown}"
        );
        assert!(shown.contains(r#"Credentials { username: "ada", .. }"#), "{shown}");
        for secret in ["40718263", "correct horse"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn what_the_host_gives_is_moved_and_not_copied() {
        let code = String::from("40718263");
        let place = code.as_ptr();
        let code = OneTimeCode::from(email_otp_send::Input {
            identifier: "ada@example.org".into(),
            code,
        });
        assert_eq!((code.identifier(), code.code()), ("ada@example.org", "40718263"));
        assert_eq!(code.code().as_ptr(), place);

        let password = String::from("correct horse");
        let place = password.as_ptr();
        let credentials = Credentials::from(password_submit::Input {
            username: "ada".into(),
            password,
        });
        assert_eq!(
            (credentials.username(), credentials.password()),
            ("ada", "correct horse")
        );
        assert_eq!(credentials.password().as_ptr(), place);
    }

    #[test]
    fn a_default_is_empty() {
        assert_eq!(OneTimeCode::default().code(), "");
        assert_eq!(Credentials::default().password(), "");
    }
}
