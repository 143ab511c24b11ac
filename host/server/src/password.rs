//! Opening the encrypted password context of passwordSubmit.

use std::sync::Arc;
use std::time::SystemTime;

use claimsmith_catalog::Extension;
use claimsmith_contract::{Callout, EventData, Outcome};
use claimsmith_password::PasswordContext;
use tokio::time::{Instant, timeout_at};

use crate::answer::Refusal;

/// Opens the callout's encrypted password context; `None` for events that have none.
///
/// RSA takes a millisecond or more of CPU time, so it is done off the threads that answer callouts. What is wrong is in
/// the log alone: to whoever sends altered contexts, every failure looks the same.
pub(crate) async fn open(
    extension: &Extension,
    callout: &Callout<'_>,
    deadline: Instant,
) -> Result<Option<PasswordContext>, Refusal> {
    let EventData::EncryptedPassword(encrypted) = &callout.data else {
        return Ok(None);
    };
    let Some(passwords) = extension.passwords.as_ref().map(Arc::clone) else {
        return Err(Refusal::new(
            Outcome::InternalError,
            "the extension has no decryption keys",
        ));
    };
    let encrypted = encrypted.expose().to_owned();
    let opening = tokio::task::spawn_blocking(move || {
        claimsmith_password::open(&encrypted, &passwords.keys, &passwords.accepted, SystemTime::now())
    });
    match timeout_at(deadline, opening).await {
        Ok(Ok(opened)) => opened
            .map(Some)
            .map_err(|error| Refusal::new(Outcome::PasswordContext, error.to_string())),
        Ok(Err(error)) => Err(Refusal::new(Outcome::InternalError, error.to_string())),
        Err(_elapsed) => Err(Refusal::new(
            Outcome::DeadlineExceeded,
            "the deadline came before the password context was decrypted",
        )),
    }
}
