//! The one-time code or password that an invocation is given, which nothing of what its guest says may tell.

use zeroize::Zeroizing;

use crate::bindings::callout::Failure;
use crate::error::InvocationError;
use crate::guest_text::clean;

/// What is logged in place of a text that holds the secret. All of it is left out: where a short secret was cut out, it could
/// be guessed.
pub(crate) const LEFT_OUT: &str = "what the plugin said holds the secret that it was given, and is left out";

/// A secret as a guest that is careless may write it: as it is, or quoted as Rust's `Debug` and JSON quote it. A guest that
/// wants to tell it can write it in other ways. It has no `Debug`.
pub(crate) struct KeptOut(Vec<Zeroizing<String>>);

impl KeptOut {
    pub(crate) fn new(secret: &str) -> Self {
        let mut forms = vec![Zeroizing::new(secret.to_owned())];
        let debug = Zeroizing::new(format!("{secret:?}"));
        let json = Zeroizing::new(serde_json::Value::from(secret).to_string());
        for quoted in [debug, json] {
            let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
            if forms.iter().all(|form| form.as_str() != inner) {
                forms.push(Zeroizing::new(inner.to_owned()));
            }
        }
        // An empty one is in every text, and tells nothing.
        forms.retain(|form| !form.is_empty());
        Self(forms)
    }

    /// Whether a text holds it. The text has to be the guest's own: what was cleaned or cut can hide it in part.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|form| text.contains(form.as_str()))
    }
}

/// What a plugin says of its failure, cleaned, and without its secret.
pub(crate) fn failure(failure: Failure, secret: Option<&KeptOut>) -> InvocationError {
    let said = |message: String| match secret {
        Some(secret) if secret.is_in(&message) => LEFT_OUT.to_owned(),
        _ => clean(&message),
    };
    match failure {
        Failure::Unavailable(message) => InvocationError::Unavailable(said(message)),
        Failure::Rejected(message) => InvocationError::Rejected(said(message)),
        Failure::Internal(message) => InvocationError::Internal(said(message)),
    }
}

#[cfg(test)]
mod tests {
    use super::KeptOut;

    #[test]
    fn a_secret_is_found_as_it_is_and_quoted() {
        let secret = "pa\"ss\t\u{202e}wörd";
        let kept_out = KeptOut::new(secret);
        for text in [
            format!("it is {secret}."),
            format!("{secret:?}"),
            format!("{:?}", Some(secret)),
            serde_json::json!({ "password": secret }).to_string(),
        ] {
            assert!(kept_out.is_in(&text), "{text}");
        }
        assert!(!kept_out.is_in("pa\"ss"));
    }

    #[test]
    fn none_is_in_no_text() {
        assert!(!KeptOut::new("").is_in("anything"));
    }
}
