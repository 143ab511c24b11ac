//! Handing a message over.

use std::time::Duration;

use claimsmith_runtime::CallContext;
use claimsmith_runtime::interface::mail::Error;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Severity;
use tokio::time::{Instant, timeout_at};

use super::MailUpstream;
use super::connection::{Connection, Failed};
use super::message::Letter;

/// A server that did not answer for as long is to blame, whatever time a plugin gives it. Mail servers look at a message
/// before they take it.
const BLAMED_AFTER: Duration = Duration::from_secs(1);

impl MailUpstream {
    /// Hands a message over, until the call's end.
    pub(super) async fn deliver(&self, letter: &Letter, context: CallContext) -> Result<(), Error> {
        let until = context.until.min(Instant::now() + self.timeout);
        let unavailable = |why: &str| Error::Unavailable(why.to_owned());
        let place = timeout_at(until, self.places.acquire()).await;
        let place = place.map_err(|_| Error::DeadlineExceeded)?;
        let _place = place.map_err(|_| unavailable("the service is stopping"))?;
        let permit = self.breaker.permit();
        let permit = permit.ok_or_else(|| unavailable("it has failed too often and is not asked for a while"))?;
        let began = Instant::now();
        match timeout_at(until, self.attempt(letter)).await {
            Ok(Ok(())) => {
                permit.succeeded();
                Ok(())
            }
            Ok(Err(failed)) => {
                if is_of_server(&failed) {
                    permit.failed();
                } else {
                    permit.succeeded();
                }
                Err(self.tell(failed))
            }
            Err(_) => {
                if began.elapsed() >= BLAMED_AFTER.min(self.timeout) {
                    permit.failed();
                }
                Err(Error::DeadlineExceeded)
            }
        }
    }

    /// Offers the message on a connection that is there, or else on a new one, and gives it once to whoever wants it.
    async fn attempt(&self, letter: &Letter) -> Result<(), Failed> {
        let offered = match self.server.idle() {
            Some(connection) => match offer(connection, letter).await {
                // The server has closed it meanwhile.
                Err(failed) if failed.is_of_connection() => None,
                offered => Some(offered?),
            },
            None => None,
        };
        let mut connection = match offered {
            Some(connection) => connection,
            None => offer(self.server.connect().await?, letter).await?,
        };
        hand_over(&mut connection, letter).await?;
        self.server.keep(connection);
        Ok(())
    }

    /// What the plugin is told of a failure, and what the operator is.
    fn tell(&self, failed: Failed) -> Error {
        let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
        match failed {
            Failed::Address(refused) => {
                tracing::warn!(tenant, upstream, %refused, hint = refused.hint(), "egress refused");
                Error::Unavailable("its address is not one that the host connects to".to_owned())
            }
            Failed::Login(why) => {
                tracing::warn!(tenant, upstream, why, "upstream cannot be authenticated to");
                Error::Unavailable("it does not take the host's credentials at the moment".to_owned())
            }
            Failed::Connection(what, cause) => {
                tracing::info!(tenant, upstream, cause, "upstream failed: {what}");
                Error::Unavailable(what.to_owned())
            }
            Failed::Reply(code, reply) => {
                tracing::info!(tenant, upstream, reply, "upstream refused a message");
                if code < 500 {
                    Error::Unavailable(format!("it refused the message for now: {reply}"))
                } else {
                    Error::Refused(format!("it refused the message: {reply}"))
                }
            }
        }
    }
}

/// Whether a failure tells of the server, and not of one message.
fn is_of_server(failed: &Failed) -> bool {
    match failed {
        Failed::Address(_) => false,
        Failed::Login(_) | Failed::Connection(..) => true,
        // Shutting down, no room, no authentication for now (RFC 5321, section 4.2.3; RFC 4954, section 6).
        Failed::Reply(code, _) => matches!(code, 421 | 432 | 452 | 454),
    }
}

/// Says for whom a message is, up to where the server wants its text.
async fn offer(mut connection: Connection, letter: &Letter) -> Result<Connection, Failed> {
    let smtp = &mut connection.smtp;
    let mut parameters = Vec::new();
    if !letter.to.to_string().is_ascii() || !letter.from.to_string().is_ascii() {
        if !smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
            let why = "553 5.6.7 (it takes no addresses outside ASCII)".to_owned();
            return Err(Failed::Reply(553, why));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !letter.content.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let failed = |error| Failed::of(&error, "the connection broke off");
    let from = Mail::new(Some(letter.from.clone()), parameters);
    smtp.command(from).await.map_err(failed)?;
    let to = Rcpt::new(letter.to.clone(), Vec::new());
    smtp.command(to).await.map_err(failed)?;
    let wanted = smtp.command(Data).await.map_err(failed)?;
    if !wanted.has_code(354) {
        return Err(Failed::no_smtp("DATA was answered with success before there was any"));
    }
    Ok(connection)
}

/// Gives the text of a message that was offered. Whatever happens then, it is not given again.
async fn hand_over(connection: &mut Connection, letter: &Letter) -> Result<(), Failed> {
    const WHAT: &str = "the connection broke off after the message was handed over, so that it may have been sent";
    let taken = connection.smtp.message(&letter.content).await;
    let taken = taken.map_err(|error| match Failed::of(&error, WHAT) {
        Failed::Connection(_, cause) => Failed::Connection(WHAT, cause),
        other => other,
    })?;
    if taken.code().severity != Severity::PositiveCompletion {
        return Err(Failed::Connection(WHAT, "a reply that is none".to_owned()));
    }
    Ok(())
}
