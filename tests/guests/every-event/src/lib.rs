//! A plugin that answers every event with what its settings say, right or wrong: what the tests of a host's answers
//! run.
//!
//! # Settings
//!
//! All can be left out.
//!
//! | member | what it does |
//! |---|---|
//! | `action` | what it answers with: see below |
//! | `values` | an object: the claims of `claims`, the values of `prefill` and `modify`. Each value is a string, an integer, a boolean or an array of strings |
//! | `title` | the title of `block`; none when left out |
//! | `message` | the message of `block`, `validation_error` and the failures |
//! | `pad` | so many `x` are put after the message |
//! | `errors` | an object: the messages of `validation_error` beside attributes |
//! | `failed` | an array: the claims of `failed` |
//! | `twice` | `true`: everything of `values`, `errors` and `failed` is answered twice |
//! | `only` | `echo` answers only the members whose path begins with this |
//! | `secret` | `echo` tells whether the one-time code or password is this |
//!
//! Nothing of it is checked, so that a name the request does not have, a value of another type or an empty message
//! reach the host.
//!
//! # Actions
//!
//! | event | the first is the default |
//! |---|---|
//! | tokenIssuanceStart | `claims`, `echo` |
//! | attributeCollectionStart | `proceed`, `prefill`, `block`, `echo` |
//! | attributeCollectionSubmit | `proceed`, `modify`, `validation_error`, `block`, `echo` |
//! | emailOtpSend | `send`, `echo` |
//! | passwordSubmit | `migrate`, `update`, `retry`, `block`, `echo` |
//! | verifiedIdClaimValidation | `pass`, `failed`, `echo` |
//!
//! emailOtpSend and passwordSubmit have `blab`: it tells the code or password to the log, on standard error and on standard
//! output, and panics with it.
//!
//! Every event has the failures `unavailable`, `rejected` and `internal`, and `panic`. An action that the event does
//! not have is an internal failure.
//!
//! # Echo
//!
//! `echo` answers with what the plugin was given, as pairs of path and text: as claims, as the JSON object that is the
//! block page's message, as failed claims (`path=text`), and for emailOtpSend, which has no answer to put it in, as the
//! JSON object that is a log record's message (`info`). What together exceeds a limit can be had in parts, with `only`.
//!
//! The paths of the callout are Entra's (`user.mail`, `client.ip`). Those of the event are:
//!
//! | path | text |
//! |---|---|
//! | `attributes.{name}.value` | the value: a string as it is, others as JSON |
//! | `attributes.{name}.valueType` | `text`, `integer`, `boolean`, `texts` or `other` |
//! | `attributes.{name}.attributeType` | `builtIn`, `directorySchemaExtension` or `other` |
//! | `identities[{index}].signInType`, `….issuer`, `….issuerAssignedId` | as they are |
//! | `mail` | what `SignUp::mail` finds |
//! | `identifier`, `username` | as they are |
//! | `code.bytes`, `password.bytes` | how many bytes of UTF-8 it has: never the secret itself |
//! | `code.matches`, `password.matches` | `true` or `false`, with the setting `secret` |
//! | `claims.{name}`, `additionalInfo.{name}` | as they are |

use std::collections::BTreeMap;

use claimsmith_plugin::{
    AttributeCollectionStart, AttributeCollectionSubmit, AttributeValue, AttributeValues, BlockPage, Callout,
    ClaimValue, Claims, Credentials, Error, OneTimeCode, PasswordSubmit, Result, SignUp, ValidationError, Verdict,
    VerifiedId, log,
};
use serde::Deserialize;

use crate::echo::Echo;

mod echo;

#[claimsmith_plugin::settings]
#[derive(Default)]
#[serde(default)]
struct Settings {
    action: Option<Action>,
    values: BTreeMap<String, Value>,
    title: Option<String>,
    message: Option<String>,
    pad: usize,
    errors: BTreeMap<String, String>,
    failed: Vec<String>,
    twice: bool,
    only: String,
    secret: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Claims,
    Proceed,
    Prefill,
    Modify,
    ValidationError,
    Block,
    Send,
    Migrate,
    Update,
    Retry,
    Pass,
    Failed,
    Echo,
    Unavailable,
    Rejected,
    Internal,
    Panic,
    Blab,
}

#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a string, an integer, a boolean or an array of strings"
)]
enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Texts(Vec<String>),
}

#[claimsmith_plugin::token_issuance_start]
fn token_issuance_start(callout: &Callout, settings: &Settings) -> Result<Claims> {
    match settings.action {
        None | Some(Action::Claims) => Ok(Claims::unchecked(settings.values())),
        Some(Action::Echo) => Ok(settings.echo(callout).into_iter().collect()),
        Some(action) => Err(settings.failure(action)),
    }
}

#[claimsmith_plugin::attribute_collection_start]
fn attribute_collection_start(
    callout: &Callout,
    sign_up: &SignUp,
    settings: &Settings,
) -> Result<AttributeCollectionStart> {
    match settings.action {
        None | Some(Action::Proceed) => Ok(AttributeCollectionStart::Proceed),
        Some(Action::Prefill) => Ok(AttributeCollectionStart::Prefill(settings.attribute_values())),
        Some(Action::Block) => Ok(AttributeCollectionStart::Block(settings.block_page())),
        Some(Action::Echo) => Ok(AttributeCollectionStart::Block(
            settings.echo(callout).sign_up(sign_up).into(),
        )),
        Some(action) => Err(settings.failure(action)),
    }
}

#[claimsmith_plugin::attribute_collection_submit]
fn attribute_collection_submit(
    callout: &Callout,
    sign_up: &SignUp,
    settings: &Settings,
) -> Result<AttributeCollectionSubmit> {
    match settings.action {
        None | Some(Action::Proceed) => Ok(AttributeCollectionSubmit::Proceed),
        Some(Action::Modify) => Ok(AttributeCollectionSubmit::Modify(settings.attribute_values())),
        Some(Action::ValidationError) => Ok(AttributeCollectionSubmit::ValidationError(settings.validation_error())),
        Some(Action::Block) => Ok(AttributeCollectionSubmit::Block(settings.block_page())),
        Some(Action::Echo) => Ok(AttributeCollectionSubmit::Block(
            settings.echo(callout).sign_up(sign_up).into(),
        )),
        Some(action) => Err(settings.failure(action)),
    }
}

#[claimsmith_plugin::email_otp_send]
fn email_otp_send(callout: &Callout, code: &OneTimeCode, settings: &Settings) -> Result<()> {
    match settings.action {
        None | Some(Action::Send) => Ok(()),
        Some(Action::Echo) => {
            let echo = settings.echo(callout).text("identifier", Some(code.identifier()));
            log::info!("{}", echo.secret("code", code.code(), settings.secret.as_deref()));
            Ok(())
        }
        Some(Action::Blab) => blab(code.code()),
        Some(action) => Err(settings.failure(action)),
    }
}

#[claimsmith_plugin::password_submit]
fn password_submit(callout: &Callout, credentials: &Credentials, settings: &Settings) -> Result<PasswordSubmit> {
    match settings.action {
        None | Some(Action::Migrate) => Ok(PasswordSubmit::Migrate),
        Some(Action::Update) => Ok(PasswordSubmit::Update),
        Some(Action::Retry) => Ok(PasswordSubmit::Retry),
        Some(Action::Block) => Ok(PasswordSubmit::Block(settings.block_page())),
        Some(Action::Echo) => {
            let echo = settings.echo(callout).text("username", Some(credentials.username()));
            let echo = echo.secret("password", credentials.password(), settings.secret.as_deref());
            Ok(PasswordSubmit::Block(echo.into()))
        }
        Some(Action::Blab) => blab(credentials.password()),
        Some(action) => Err(settings.failure(action)),
    }
}

#[claimsmith_plugin::verified_id_claim_validation]
fn verified_id_claim_validation(callout: &Callout, verified_id: &VerifiedId, settings: &Settings) -> Result<Verdict> {
    match settings.action {
        None | Some(Action::Pass) => Ok(Verdict::Pass),
        Some(Action::Failed) => Ok(Verdict::Failed(settings.repeated(settings.failed.iter().cloned()))),
        Some(Action::Echo) => {
            let echo = settings.echo(callout).verified_id(verified_id);
            Ok(Verdict::failed(
                echo.into_iter().map(|(path, text)| format!("{path}={text}")),
            ))
        }
        Some(action) => Err(settings.failure(action)),
    }
}

/// Tells a secret wherever a plugin can tell anything.
#[expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is what must not get through"
)]
fn blab(secret: &str) -> ! {
    log::warn!("before {secret} after");
    log::info!(code = secret; "a field");
    println!("to standard output: {secret}");
    eprintln!("to standard error: {secret}");
    panic!("and dies of {secret}");
}

impl Settings {
    fn repeated<T: Clone>(&self, items: impl Iterator<Item = T> + Clone) -> Vec<T> {
        let again = self.twice.then(|| items.clone());
        items.chain(again.into_iter().flatten()).collect()
    }

    fn values<V: From<Value>>(&self) -> Vec<(String, V)> {
        let values = self.repeated(self.values.iter());
        let value = |(name, value): (&String, &Value)| (name.clone(), value.clone().into());
        values.into_iter().map(value).collect()
    }

    fn attribute_values(&self) -> AttributeValues {
        AttributeValues::unchecked(self.values())
    }

    fn message(&self) -> String {
        let message = self.message.as_deref().unwrap_or("The settings say so.");
        format!("{message}{}", "x".repeat(self.pad))
    }

    fn block_page(&self) -> BlockPage {
        BlockPage {
            title: self.title.clone(),
            message: self.message(),
        }
    }

    fn validation_error(&self) -> ValidationError {
        let errors = self
            .errors
            .iter()
            .map(|(name, message)| (name.clone(), message.clone()));
        ValidationError::unchecked(self.message(), self.repeated(errors))
    }

    fn echo(&self, callout: &Callout) -> Echo {
        Echo::new(&self.only).callout(callout)
    }

    /// What is left when the event does not have the action.
    fn failure(&self, action: Action) -> Error {
        match action {
            Action::Unavailable => Error::unavailable(self.message()),
            Action::Rejected => Error::rejected(self.message()),
            Action::Internal => Error::internal(self.message()),
            Action::Panic => panic_on_purpose(),
            _ => Error::internal("the event does not have the action that the settings say"),
        }
    }
}

#[expect(clippy::panic, reason = "a host has to survive it")]
fn panic_on_purpose() -> ! {
    panic!("the settings say so");
}

impl From<Value> for AttributeValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Integer(integer) => Self::Integer(integer),
            Value::Boolean(boolean) => Self::Boolean(boolean),
            Value::Texts(texts) => Self::Texts(texts),
        }
    }
}

impl From<Value> for ClaimValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Integer(integer) => integer.into(),
            Value::Boolean(boolean) => boolean.into(),
            Value::Texts(texts) => Self::Texts(texts),
        }
    }
}

#[cfg(test)]
mod tests;
