//! Invoking the plugins of an extension, for each event, and guarding what they answer.

use claimsmith_catalog::{Extension, OnFailure};
use claimsmith_contract::sign_up::SignUp;
use claimsmith_contract::token_issuance_start::Claim;
use claimsmith_contract::verified_id_claim_validation::{Verdict, VerifiedId};
use claimsmith_contract::{
    Callout, Event, EventData, GuardError, Outcome, attribute_collection_start, attribute_collection_submit,
    check_response_size, email_otp_send, password_submit, token_issuance_start, verified_id_claim_validation,
};
use claimsmith_password::PasswordContext;
use claimsmith_runtime::interface as wit;
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::attempt::{self, Attempt};
use crate::audit::Invocations;
use crate::claims::claims;
use crate::convert;
use crate::policy::{Failed, default_behaviour};

/// What the plugins of an extension answered.
pub(crate) enum Action {
    Claims(Vec<Claim>),
    AttributeCollectionStart(attribute_collection_start::Action),
    AttributeCollectionSubmit(attribute_collection_submit::Action),
    OtpSent,
    Password(password_submit::Action),
    Verdict(Verdict),
}

/// An action, and whose it is: what the guard finds in it is for their breakers.
pub(crate) struct Invoked<'e> {
    pub(crate) action: Action,
    pub(crate) from: Vec<Attempt<'e>>,
}

/// Invokes the extension's plugins for a callout, until `deadline` at most, and applies their failure policies. `password`
/// is what the callout carried encrypted.
pub(crate) async fn invoke<'e>(
    extension: &'e Extension,
    callout: &Callout<'_>,
    password: Option<&PasswordContext>,
    invocations: &'e Invocations,
    deadline: Instant,
) -> Result<Invoked<'e>, Refusal> {
    let client = callout.client_service_principal.as_ref();
    let choice = extension.choice(client.and_then(|client| client.app_id.as_deref()));
    if callout.event == Event::TokenIssuanceStart {
        return claims(extension, choice, callout, invocations, deadline).await;
    }
    let additional = convert::additional(callout);
    let context = || convert::context(callout, &additional);
    let Some(bound) = choice.bindings.first() else {
        return Err(Refusal::new(Outcome::InternalError, "the extension has no binding"));
    };
    let covered = |failed| default_behaviour(bound, callout.event, invocations, failed);
    let mut attempt = match Attempt::begin(extension, bound, invocations, (deadline, 1)) {
        Ok(attempt) => attempt,
        Err(failed) => {
            let action = covered(failed)?;
            return Ok(Invoked {
                action,
                from: Vec::new(),
            });
        }
    };
    let answered = match (&callout.data, password, callout.event) {
        (EventData::SignUp(sign_up), _, event) => invoke_sign_up(&mut attempt, event, context(), sign_up).await,
        (EventData::OneTimeCode(code), ..) => {
            let given = wit::email_otp_send::OneTimeCode {
                identifier: &code.identifier,
                code: code.code.expose(),
            };
            let report = attempt.binding.email_otp_send(context(), given, attempt.terms()).await;
            let answered = attempt.ended(report);
            answered.map(|()| Action::OtpSent)
        }
        (EventData::EncryptedPassword(_), Some(password), _) => {
            let credentials = wit::password_submit::Credentials {
                username: &password.username,
                password: &password.password,
            };
            let report = attempt
                .binding
                .password_submit(context(), credentials, attempt.terms())
                .await;
            let answered = attempt.ended(report);
            answered.map(|action| Action::Password(convert::password_action(action)))
        }
        (EventData::VerifiedId(verified_id), ..) => validate(&mut attempt, context(), verified_id).await,
        (EventData::None | EventData::EncryptedPassword(_), _, event) => {
            let detail = format!("{event} cannot be invoked with this data");
            return Err(Refusal::new(Outcome::InternalError, detail));
        }
    };
    let action = match answered {
        Ok(action) => action,
        Err(failed) => covered(failed)?,
    };
    // Only where the plugin may be left out is its answer looked at before the guard does.
    if matches!(bound.on_failure, OnFailure::Omit)
        && let Err(error) = wire_form(&action, callout, password, extension)
    {
        let action = covered(attempt.refused(&error))?;
        let from = Vec::new();
        return Ok(Invoked { action, from });
    }
    Ok(Invoked {
        action,
        from: vec![attempt],
    })
}

async fn invoke_sign_up(
    attempt: &mut Attempt<'_>,
    event: Event,
    context: wit::callout::Context<'_>,
    sign_up: &SignUp<'_>,
) -> Result<Action, Failed> {
    let values = convert::attribute_values(sign_up);
    let given = wit::sign_up::SignUp {
        attributes: &convert::sign_up_attributes(sign_up, &values),
        identities: &convert::identities(&sign_up.identities),
    };
    let (binding, terms) = (attempt.binding, attempt.terms());
    if event == Event::AttributeCollectionStart {
        let report = binding.attribute_collection_start(context, given, terms).await;
        let answered = attempt.ended(report);
        answered.map(|action| Action::AttributeCollectionStart(convert::start_action(action)))
    } else {
        let report = binding.attribute_collection_submit(context, given, terms).await;
        let answered = attempt.ended(report);
        answered.map(|action| Action::AttributeCollectionSubmit(convert::submit_action(action)))
    }
}

async fn validate(
    attempt: &mut Attempt<'_>,
    context: wit::callout::Context<'_>,
    verified_id: &VerifiedId<'_>,
) -> Result<Action, Failed> {
    let given = wit::verified_id_claim_validation::VerifiedId {
        identities: &convert::identities(&verified_id.identities),
        claims: &convert::named_texts(&verified_id.claims),
        additional_info: &convert::named_texts(&verified_id.additional_info),
    };
    let (binding, terms) = (attempt.binding, attempt.terms());
    let report = binding.verified_id_claim_validation(context, given, terms).await;
    let answered = attempt.ended(report);
    answered.map(|verdict| Action::Verdict(convert::verdict(verdict)))
}

/// Holds an action against Entra's rules before Entra does, and gives it its wire form. The breakers learn how it went.
pub(crate) fn guard(
    invoked: Invoked<'_>,
    callout: &Callout<'_>,
    password: Option<&PasswordContext>,
    extension: &Extension,
) -> Result<Vec<u8>, Refusal> {
    if let Action::Claims(claims) = &invoked.action {
        note_unmapped(claims, extension);
    }
    let guarded = wire_form(&invoked.action, callout, password, extension);
    attempt::settle(invoked, guarded.is_ok());
    guarded.map_err(|error: GuardError| Refusal {
        entra_error: Some(error.entra_error()),
        ..Refusal::new(error.outcome(), error.to_string())
    })
}

/// An action's wire form, if Entra accepts it.
fn wire_form(
    action: &Action,
    callout: &Callout<'_>,
    password: Option<&PasswordContext>,
    extension: &Extension,
) -> Result<Vec<u8>, GuardError> {
    let no_sign_up = SignUp::default();
    let sign_up = match &callout.data {
        EventData::SignUp(sign_up) => sign_up,
        _ => &no_sign_up,
    };
    let nonce = password.map_or("", |password| &password.nonce);
    let guarded = match action {
        Action::Claims(claims) => token_issuance_start::respond(claims, extension.max_claim_bytes),
        Action::AttributeCollectionStart(action) => attribute_collection_start::respond(action, sign_up),
        Action::AttributeCollectionSubmit(action) => attribute_collection_submit::respond(action, sign_up),
        Action::OtpSent => Ok(email_otp_send::respond()),
        Action::Password(action) => password_submit::respond(action, nonce),
        Action::Verdict(verdict) => verified_id_claim_validation::respond(verdict),
    };
    guarded.and_then(|body| check_response_size(body, extension.max_response_bytes))
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
