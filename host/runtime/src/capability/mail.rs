//! `claimsmith:plugin/mail`.

use std::fmt;
use std::sync::Arc;

use crate::bindings::mail::{self, Error, Message};
use crate::capability::{Asked, CallContext, CapabilityFuture, CapabilityResult, timeout};
use crate::journal::Digester;
use crate::state::CallState;

/// A mail server: knows its address, its credentials and the sender.
pub trait MailUpstream: fmt::Debug + Send + Sync {
    /// Hands a message over.
    fn send(&self, message: Message, context: CallContext) -> CapabilityFuture<'_, (), Error>;
}

impl mail::Host for CallState {
    async fn send(&mut self, message: Message) -> wasmtime::Result<Result<(), Error>> {
        let grants = Arc::clone(&self.grants);
        let name = message.upstream.clone();
        let asked = Asked {
            function: "mail.send",
            upstream: &name,
            arguments: digester(&message),
            timeout: timeout(message.timeout_milliseconds),
        };
        self.through(asked, |context| async move {
            let upstream = grants.mail(&message.upstream).map_err(Error::NotGranted)?;
            upstream.send(message, context).await
        })
        .await
    }
}

/// Subject and text are left out, but for their length: a one-time code has few digits, and could be guessed from a digest.
fn digester(message: &Message) -> Digester {
    let mut arguments = Digester::default();
    arguments.add(message.upstream.as_bytes());
    arguments.add(message.to.as_bytes());
    arguments.add_option(message.language.as_deref().map(str::as_bytes));
    for text in [Some(&message.subject), Some(&message.text), message.html.as_ref()] {
        arguments.add_secret(text.map_or(&[], |text| text.as_bytes()));
    }
    arguments
}

capability_error!(Error {
    NotGranted(_) => "not_granted",
    NotAllowed(_) => "not_allowed",
    Invalid(_) => "invalid",
    TooLarge(_) => "too_large",
    Refused(_) => "refused",
    Unavailable(_) => "unavailable",
    QuotaExceeded => "quota_exceeded",
    DeadlineExceeded => "deadline_exceeded",
});

impl CapabilityResult for () {
    fn bytes(&self) -> usize {
        0
    }
}
