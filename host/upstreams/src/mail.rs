//! Mail upstreams: the capability `claimsmith:plugin/mail`, by SMTP.
//!
//! A message is handed over at most once: until the server has been given its text a lost connection may be made again,
//! after that never. The texts are wiped when the call ends, and are in no log, error or record.

mod config;
mod connection;
mod delivery;
mod load;
mod message;
mod recipients;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::interface::mail::{Error, Message};
use claimsmith_runtime::{Breaker, CallContext, CapabilityFuture, MailUpstream as Capability};
use tokio::sync::Semaphore;
use zeroize::Zeroize as _;

pub use self::config::{MailAuthentication, MailConfig};
use self::connection::Server;
use self::message::Composer;
use self::recipients::Recipients;

/// A mail server that has been checked, with its connections.
pub struct MailUpstream {
    /// The tenant's and its own name, for the log.
    tenant: String,
    name: String,
    server: Server,
    composer: Composer,
    recipients: Recipients,
    places: Semaphore,
    breaker: Arc<Breaker>,
    /// Of a whole call.
    timeout: Duration,
}

impl Capability for MailUpstream {
    fn send(&self, message: Message, context: CallContext) -> CapabilityFuture<'_, (), Error> {
        let message = Wiped(message);
        Box::pin(async move {
            let to = recipients::address(&message.0.to).map_err(|why| Error::Invalid(why.to_owned()))?;
            if !self.recipients.allow(&to) {
                let why = format!(
                    "upstream `{}` does not send to this address; see its `recipients`",
                    self.name
                );
                return Err(Error::NotAllowed(why));
            }
            let letter = self.composer.compose(&message.0, to, context.trace)?;
            drop(message);
            self.deliver(&letter, context).await
        })
    }
}

/// A message whose texts are wiped when it is dropped, also by the call's end.
struct Wiped(Message);

impl Drop for Wiped {
    fn drop(&mut self) {
        let Message {
            subject, text, html, ..
        } = &mut self.0;
        subject.zeroize();
        text.zeroize();
        html.zeroize();
    }
}

impl fmt::Debug for MailUpstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MailUpstream")
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
