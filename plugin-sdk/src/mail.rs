//! Mail through the servers that the binding was granted.
//!
//! The tenant's configuration names an upstream, its address, its credentials and the sender; a plugin knows the name
//! alone.
//!
//! ```no_run
//! use claimsmith_plugin::{Result, mail};
//!
//! fn welcome(address: &str) -> Result<()> {
//!     mail::upstream("post")
//!         .message(address)
//!         .subject("Welcome to Contoso")
//!         .text("Good to have you here.")
//!         .html("<p>Good to have you here.</p>")
//!         .language("en")
//!         .send()?;
//!     Ok(())
//! }
//! ```
//!
//! By `?`, an [`Error`] becomes a failure of the kind it is: a server that does not answer or refuses for now is
//! [`unavailable`](crate::ErrorKind::Unavailable); an address that mail cannot be sent to is
//! [`rejected`](crate::ErrorKind::Rejected), because it comes with the callout; anything else is
//! [`internal`](crate::ErrorKind::Internal).
//!
//! A message is handed over at most once. After [`Error::DeadlineExceeded`], and after some lost connections, nobody knows
//! whether it was. Its texts are wiped from memory when it has been sent; what they were made of, the plugin wipes.

mod error;
#[cfg(not(target_family = "wasm"))]
pub mod test;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
#[cfg(any(target_family = "wasm", test))]
use zeroize::Zeroize as _;
use zeroize::Zeroizing;

pub use self::error::Error;
#[cfg(any(target_family = "wasm", test))]
use crate::bindings::mail as wit;
use crate::grants;

/// A mail server, by its name in the tenant's configuration.
pub fn upstream(name: impl Into<String>) -> Upstream {
    let name = name.into();
    grants::note(&name, grants::Kind::Mail);
    Upstream { name }
}

/// A mail server.
///
/// It can be a member of settings, where it is the upstream's name. The host then says when the binding is loaded that the
/// binding was not granted it, instead of each callout:
///
/// ```
/// use claimsmith_plugin::mail;
///
/// #[claimsmith_plugin::settings]
/// struct Settings {
///     post: mail::Upstream,
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    name: String,
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        grants::deserialize_name(deserializer, grants::Kind::Mail).map(|name| Self { name })
    }
}

impl Upstream {
    /// A message to one mail address.
    pub fn message(&self, to: impl Into<String>) -> MessageBuilder {
        MessageBuilder {
            message: Message {
                upstream: self.name.clone(),
                to: to.into(),
                subject: Zeroizing::default(),
                text: Zeroizing::default(),
                html: None,
                language: None,
                timeout: None,
            },
        }
    }
}

/// A message as it goes to the host; tests get it.
///
/// `Debug` leaves the texts and the address out.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The upstream's name.
    pub upstream: String,
    /// Who gets it.
    pub to: String,
    /// The subject.
    pub subject: Zeroizing<String>,
    /// The text.
    pub text: Zeroizing<String>,
    /// The same as HTML.
    pub html: Option<Zeroizing<String>>,
    /// The language it is written in.
    pub language: Option<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// A message that is being made.
#[derive(Clone, Debug)]
#[must_use = "a message is sent by `send`"]
pub struct MessageBuilder {
    message: Message,
}

impl MessageBuilder {
    /// Sets the subject: one line.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.message.subject = Zeroizing::new(subject.into());
        self
    }

    /// Sets the text.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.message.text = Zeroizing::new(text.into());
        self
    }

    /// Sets the same as HTML, for readers that show it. What is put into it has to be escaped.
    pub fn html(mut self, html: impl Into<String>) -> Self {
        self.message.html = Some(Zeroizing::new(html.into()));
        self
    }

    /// Says which language it is written in (RFC 5646), for example `de` or `pt-BR`.
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.message.language = Some(language.into());
        self
    }

    /// How long the call may take; the callout's remaining time is the most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.message.timeout = Some(timeout);
        self
    }

    /// Hands the message to the server, and returns when the server has taken it.
    ///
    /// # Errors
    /// When it has not, or nobody knows.
    pub fn send(self) -> Result<(), Error> {
        crate::host::send_mail(self.message)
    }
}

/// A message for the host, whose texts are wiped when it is dropped.
#[cfg(any(target_family = "wasm", test))]
pub(crate) struct Lowered(pub(crate) wit::Message);

/// Moves the texts: there is no other copy of them.
#[cfg(any(target_family = "wasm", test))]
impl From<Message> for Lowered {
    fn from(mut message: Message) -> Self {
        let whole = |timeout: Duration| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        Self(wit::Message {
            subject: std::mem::take(&mut *message.subject),
            text: std::mem::take(&mut *message.text),
            html: message.html.as_mut().map(|html| std::mem::take(&mut **html)),
            upstream: message.upstream,
            to: message.to,
            language: message.language,
            timeout_milliseconds: crate::deadline::at_most(message.timeout).map(whole),
        })
    }
}

#[cfg(any(target_family = "wasm", test))]
impl Drop for Lowered {
    fn drop(&mut self) {
        self.0.subject.zeroize();
        self.0.text.zeroize();
        self.0.html.zeroize();
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses are people's, and texts hold codes; a log is no place for either.
        formatter
            .debug_struct("Message")
            .field("upstream", &self.upstream)
            .field("language", &self.language)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_leaves_the_texts_and_the_address_out() {
        let message = upstream("post")
            .message("ada@example.org")
            .subject("40718263")
            .text("40718263")
            .html("40718263");
        let shown = format!("{message:?}");
        assert!(shown.contains("post"), "{shown}");
        assert!(!shown.contains("40718263") && !shown.contains("ada"), "{shown}");
    }

    #[test]
    fn texts_are_moved_on_their_way_to_the_host() {
        let text = String::from("40718263");
        let place = text.as_ptr();
        let builder = upstream("post").message("ada@example.org").text(text).html("<p>");
        let builder = builder.language("en").timeout(Duration::from_millis(1_500));
        let lowered = Lowered::from(builder.message);
        assert_eq!(lowered.0.text.as_ptr(), place);
        assert_eq!(lowered.0.html.as_deref(), Some("<p>"));
        assert_eq!(lowered.0.timeout_milliseconds, Some(1_500));
    }
}
