//! Text that must not be shown.

use std::borrow::Cow;
use std::fmt;

use zeroize::Zeroize as _;

/// A one-time code or an encrypted context: never in a log line, an error or a `Debug` output. Text of its own is wiped
/// when it is dropped; text that it borrows is the request body's.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<'a>(Cow<'a, str>);

impl<'a> Secret<'a> {
    pub(crate) fn new(text: Cow<'a, str>) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            text.zeroize();
        }
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
