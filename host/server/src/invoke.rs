//! Invoking the plugins of an extension, for each event, and guarding what they answer.

use claimsmith_catalog::{BoundPlugin, Choice, Extension};
use claimsmith_contract::sign_up::SignUp;
use claimsmith_contract::token_issuance_start::Claim;
use claimsmith_contract::verified_id_claim_validation::{Verdict, VerifiedId};
use claimsmith_contract::{
    Callout, Event, EventData, GuardError, Outcome, attribute_collection_start, attribute_collection_submit,
    check_response_size, email_otp_send, password_submit, token_issuance_start, verified_id_claim_validation,
};
use claimsmith_password::PasswordContext;
use claimsmith_runtime::interface as wit;
use claimsmith_runtime::{InvocationError, Report};
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::convert;

/// What the plugins of an extension answered.
pub(crate) enum Action {
    Claims(Vec<Claim>),
    AttributeCollectionStart(attribute_collection_start::Action),
    AttributeCollectionSubmit(attribute_collection_submit::Action),
    OtpSent,
    Password(password_submit::Action),
    Verdict(Verdict),
}

/// Invokes the extension's plugins for a callout, until `deadline` at most. `password` is what the callout carried
/// encrypted.
pub(crate) async fn invoke(
    extension: &Extension,
    callout: &Callout<'_>,
    password: Option<&PasswordContext>,
    deadline: Instant,
) -> Result<Action, Refusal> {
    let client = callout.client_service_principal.as_ref();
    let choice = extension.choice(client.and_then(|client| client.app_id.as_deref()));
    let additional = convert::additional(callout);
    let context = || convert::context(callout, &additional);
    if callout.event == Event::TokenIssuanceStart {
        return claims(choice, context, deadline).await.map(Action::Claims);
    }
    let Some(bound) = choice.bindings.first() else {
        return Err(Refusal::new(Outcome::InternalError, "the extension has no binding"));
    };
    match (&callout.data, password, callout.event) {
        (EventData::SignUp(sign_up), _, event) => invoke_sign_up(bound, event, context(), sign_up, deadline).await,
        (EventData::OneTimeCode(code), ..) => {
            let code = wit::email_otp_send::OneTimeCode {
                identifier: &code.identifier,
                code: code.code.expose(),
            };
            let report = bound.binding.email_otp_send(context(), code, deadline).await;
            answered(bound, report).map(|()| Action::OtpSent)
        }
        (EventData::EncryptedPassword(_), Some(password), _) => {
            let credentials = wit::password_submit::Credentials {
                username: &password.username,
                password: &password.password,
            };
            let report = bound.binding.password_submit(context(), credentials, deadline).await;
            answered(bound, report).map(|action| Action::Password(convert::password_action(action)))
        }
        (EventData::VerifiedId(verified_id), ..) => validate(bound, context(), verified_id, deadline).await,
        (EventData::None | EventData::EncryptedPassword(_), _, event) => Err(Refusal::new(
            Outcome::InternalError,
            format!("{event} cannot be invoked with this data"),
        )),
    }
}

/// Invokes the bindings in order; their claims together are the answer, as far as the application may have them.
async fn claims<'c>(
    choice: &Choice,
    context: impl Fn() -> wit::callout::Context<'c>,
    deadline: Instant,
) -> Result<Vec<Claim>, Refusal> {
    let mut claims = Vec::new();
    for bound in &choice.bindings {
        let report = bound.binding.token_issuance_start(context(), deadline).await;
        claims.extend(answered(bound, report)?.into_iter().map(convert::claim));
    }
    if let Some(allowed) = &choice.claims {
        let before = claims.len();
        claims.retain(|claim| allowed.contains(&claim.id));
        tracing::debug!(
            withheld = before - claims.len(),
            "only the application's claims are answered"
        );
    }
    Ok(claims)
}

async fn invoke_sign_up(
    bound: &BoundPlugin,
    event: Event,
    context: wit::callout::Context<'_>,
    sign_up: &SignUp<'_>,
    deadline: Instant,
) -> Result<Action, Refusal> {
    let values = convert::attribute_values(sign_up);
    let given = wit::sign_up::SignUp {
        attributes: &convert::sign_up_attributes(sign_up, &values),
        identities: &convert::identities(&sign_up.identities),
    };
    if event == Event::AttributeCollectionStart {
        let report = bound.binding.attribute_collection_start(context, given, deadline).await;
        answered(bound, report).map(|action| Action::AttributeCollectionStart(convert::start_action(action)))
    } else {
        let report = bound
            .binding
            .attribute_collection_submit(context, given, deadline)
            .await;
        answered(bound, report).map(|action| Action::AttributeCollectionSubmit(convert::submit_action(action)))
    }
}

async fn validate(
    bound: &BoundPlugin,
    context: wit::callout::Context<'_>,
    verified_id: &VerifiedId<'_>,
    deadline: Instant,
) -> Result<Action, Refusal> {
    let given = wit::verified_id_claim_validation::VerifiedId {
        identities: &convert::identities(&verified_id.identities),
        claims: &convert::named_texts(&verified_id.claims),
        additional_info: &convert::named_texts(&verified_id.additional_info),
    };
    let report = bound
        .binding
        .verified_id_claim_validation(context, given, deadline)
        .await;
    answered(bound, report).map(|verdict| Action::Verdict(convert::verdict(verdict)))
}

/// What an invocation answered, or why it did not.
fn answered<A>(bound: &BoundPlugin, report: Report<A>) -> Result<A, Refusal> {
    let usage = report.usage;
    tracing::debug!(
        plugin = bound.name,
        elapsed_us = usage.elapsed.as_micros(),
        cpu_ms = usage.cpu.as_millis(),
        memory_bytes = usage.memory_bytes,
        "plugin invoked"
    );
    report.result.map_err(|error| {
        let version = bound.binding.plugin().version();
        Refusal::new(outcome(&error), format!("{}@{version}: {error}", bound.name))
    })
}

const fn outcome(error: &InvocationError) -> Outcome {
    match error {
        InvocationError::Unavailable(_) => Outcome::PluginUnavailable,
        InvocationError::Rejected(_) => Outcome::PluginRejected,
        InvocationError::Internal(_) => Outcome::PluginInternal,
        InvocationError::Trapped { .. } => Outcome::PluginTrapped,
        InvocationError::CpuLimit(_) => Outcome::PluginCpuLimit,
        InvocationError::MemoryLimit(_) => Outcome::PluginMemoryLimit,
        InvocationError::TransferLimit(_) => Outcome::PluginTransferLimit,
        InvocationError::DeadlineExceeded => Outcome::DeadlineExceeded,
        InvocationError::Overloaded(_) => Outcome::Overloaded,
        InvocationError::Instantiation(_) => Outcome::PluginInstantiation,
    }
}

/// Holds an action against Entra's rules before Entra does, and gives it its wire form.
pub(crate) fn guard(
    action: &Action,
    callout: &Callout<'_>,
    password: Option<&PasswordContext>,
    extension: &Extension,
) -> Result<Vec<u8>, Refusal> {
    let no_sign_up = SignUp::default();
    let sign_up = match &callout.data {
        EventData::SignUp(sign_up) => sign_up,
        _ => &no_sign_up,
    };
    let nonce = password.map_or("", |password| &password.nonce);
    let guarded = match action {
        Action::Claims(claims) => {
            note_unmapped(claims, extension);
            token_issuance_start::respond(claims, extension.max_claim_bytes)
        }
        Action::AttributeCollectionStart(action) => attribute_collection_start::respond(action, sign_up),
        Action::AttributeCollectionSubmit(action) => attribute_collection_submit::respond(action, sign_up),
        Action::OtpSent => Ok(email_otp_send::respond()),
        Action::Password(action) => password_submit::respond(action, nonce),
        Action::Verdict(verdict) => verified_id_claim_validation::respond(verdict),
    };
    guarded
        .and_then(|body| check_response_size(body, extension.max_response_bytes))
        .map_err(|error: GuardError| Refusal {
            entra_error: Some(error.entra_error()),
            ..Refusal::new(error.outcome(), error.to_string())
        })
}

/// Tells of claims that Entra will drop without a word.
fn note_unmapped(claims: &[Claim], extension: &Extension) {
    let Some(mapped) = &extension.mapped_claims else { return };
    for claim in claims.iter().filter(|claim| !mapped.contains(&claim.id)) {
        // Ids are the plugin's: cut, and without control characters.
        let id: String = claim.id.chars().take(64).flat_map(char::escape_debug).collect();
        tracing::debug!(id, "the extension's mapping does not name the claim: Entra drops it");
    }
}
