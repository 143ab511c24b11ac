//! Invoking the plugins of an extension, for each event, and guarding what they answer.

use claimsmith_catalog::{BoundPlugin, Choice, Extension, OnFailure};
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
    let additional = convert::additional(callout);
    let context = || convert::context(callout, &additional);
    if callout.event == Event::TokenIssuanceStart {
        return claims(extension, choice, context, invocations, deadline).await;
    }
    let Some(bound) = choice.bindings.first() else {
        return Err(Refusal::new(Outcome::InternalError, "the extension has no binding"));
    };
    let mut attempt = match Attempt::begin(extension, bound, invocations, deadline) {
        Ok(attempt) => attempt,
        Err(refusal) => {
            let action = default_behaviour(bound, callout.event, refusal)?;
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
            let report = attempt.binding.email_otp_send(context(), given, deadline).await;
            let answered = attempt.ended(report);
            let answered = answered.map_err(|refusal| refusal.without(code.code.expose()));
            answered.map(|()| Action::OtpSent)
        }
        (EventData::EncryptedPassword(_), Some(password), _) => {
            let credentials = wit::password_submit::Credentials {
                username: &password.username,
                password: &password.password,
            };
            let report = attempt.binding.password_submit(context(), credentials, deadline).await;
            let answered = attempt.ended(report);
            let answered = answered.map_err(|refusal| refusal.without(&password.password));
            answered.map(|action| Action::Password(convert::password_action(action)))
        }
        (EventData::VerifiedId(verified_id), ..) => validate(&mut attempt, context(), verified_id).await,
        (EventData::None | EventData::EncryptedPassword(_), _, event) => Err(Refusal::new(
            Outcome::InternalError,
            format!("{event} cannot be invoked with this data"),
        )),
    };
    let action = answered.or_else(|refusal| default_behaviour(bound, callout.event, refusal))?;
    Ok(Invoked {
        action,
        from: vec![attempt],
    })
}

/// Invokes the bindings in order; their claims together are the answer, as far as the application may have them.
async fn claims<'c, 'e>(
    extension: &'e Extension,
    choice: &'e Choice,
    context: impl Fn() -> wit::callout::Context<'c>,
    invocations: &'e Invocations,
    deadline: Instant,
) -> Result<Invoked<'e>, Refusal> {
    let mut all = Vec::new();
    let mut from = Vec::with_capacity(choice.bindings.len());
    for bound in &choice.bindings {
        let before = all.len();
        let answered = match Attempt::begin(extension, bound, invocations, deadline) {
            Ok(mut attempt) => {
                let report = attempt.binding.token_issuance_start(context(), deadline).await;
                let answered = attempt.ended(report);
                from.push(attempt);
                answered.map(|claims| claims.into_iter().map(convert::claim).collect())
            }
            Err(refusal) => Err(refusal),
        };
        let claims: Vec<_> = match answered.or_else(|refusal| default_claims(bound, refusal)) {
            Ok(claims) => claims,
            Err(refusal) => {
                from.into_iter().for_each(Attempt::ran);
                return Err(refusal);
            }
        };
        let allowed = |claim: &Claim| choice.claims.as_ref().is_none_or(|allowed| allowed.contains(&claim.id));
        all.extend(claims.into_iter().filter(allowed));
        if let Some(attempt) = from.last_mut().filter(|attempt| std::ptr::eq(attempt.bound, bound)) {
            attempt.claims = before..all.len();
        }
    }
    Ok(Invoked {
        action: Action::Claims(all),
        from,
    })
}

async fn invoke_sign_up(
    attempt: &mut Attempt<'_>,
    event: Event,
    context: wit::callout::Context<'_>,
    sign_up: &SignUp<'_>,
) -> Result<Action, Refusal> {
    let values = convert::attribute_values(sign_up);
    let given = wit::sign_up::SignUp {
        attributes: &convert::sign_up_attributes(sign_up, &values),
        identities: &convert::identities(&sign_up.identities),
    };
    let (binding, deadline) = (attempt.binding, attempt.deadline);
    if event == Event::AttributeCollectionStart {
        let report = binding.attribute_collection_start(context, given, deadline).await;
        let answered = attempt.ended(report);
        answered.map(|action| Action::AttributeCollectionStart(convert::start_action(action)))
    } else {
        let report = binding.attribute_collection_submit(context, given, deadline).await;
        let answered = attempt.ended(report);
        answered.map(|action| Action::AttributeCollectionSubmit(convert::submit_action(action)))
    }
}

async fn validate(
    attempt: &mut Attempt<'_>,
    context: wit::callout::Context<'_>,
    verified_id: &VerifiedId<'_>,
) -> Result<Action, Refusal> {
    let given = wit::verified_id_claim_validation::VerifiedId {
        identities: &convert::identities(&verified_id.identities),
        claims: &convert::named_texts(&verified_id.claims),
        additional_info: &convert::named_texts(&verified_id.additional_info),
    };
    let (binding, deadline) = (attempt.binding, attempt.deadline);
    let report = binding.verified_id_claim_validation(context, given, deadline).await;
    let answered = attempt.ended(report);
    answered.map(|verdict| Action::Verdict(convert::verdict(verdict)))
}

/// The claims of a binding that has failed, by its failure policy.
fn default_claims(bound: &BoundPlugin, refusal: Refusal) -> Result<Vec<Claim>, Refusal> {
    let claims = match &bound.on_failure {
        OnFailure::Fail => return Err(refusal),
        OnFailure::Omit => Vec::new(),
        OnFailure::Default(claims) => claims.to_vec(),
    };
    note_failed(bound, &refusal);
    Ok(claims)
}

/// What Entra would have done without an extension, where a binding that has failed may be left out.
fn default_behaviour(bound: &BoundPlugin, event: Event, refusal: Refusal) -> Result<Action, Refusal> {
    let action = match (&bound.on_failure, event) {
        (OnFailure::Omit, Event::AttributeCollectionStart) => {
            Action::AttributeCollectionStart(attribute_collection_start::Action::Proceed)
        }
        (OnFailure::Omit, Event::AttributeCollectionSubmit) => {
            Action::AttributeCollectionSubmit(attribute_collection_submit::Action::Proceed)
        }
        _ => return Err(refusal),
    };
    note_failed(bound, &refusal);
    Ok(action)
}

/// A failure that Entra does not see must be seen here.
fn note_failed(bound: &BoundPlugin, refusal: &Refusal) {
    tracing::warn!(
        plugin = &*bound.name,
        outcome = refusal.outcome.code(),
        reason = refusal.detail,
        guest_backtrace = refusal.guest_backtrace(),
        guest_stderr = refusal.guest_stderr(),
        guest_stdout = refusal.guest_stdout(),
        "answered without the plugin, by its failure policy"
    );
}

/// Holds an action against Entra's rules before Entra does, and gives it its wire form. The breakers learn how it went.
pub(crate) fn guard(
    invoked: Invoked<'_>,
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
    let guarded = match &invoked.action {
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
    let guarded = guarded.and_then(|body| check_response_size(body, extension.max_response_bytes));
    attempt::settle(invoked, guarded.is_ok(), extension.max_claim_bytes);
    guarded.map_err(|error: GuardError| Refusal {
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
